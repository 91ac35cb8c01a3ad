//! What is kept of the access logs: for each instance compressed segments with a byte budget, and the newest records.
//!
//! ```text
//!  DIRECTORY/7/0000000000000000.seg    blocks of compressed records; the name is the first record's number
//!              000000000001a2b0.seg
//!              tail                    the newest records as they came, until they make a block
//! ```
//!
//! One process writes, and any number of processes read while it does ([`search`]): files are only ever added to,
//! cut to nothing or removed, and each piece of one carries its length and its checksum. Records have numbers that
//! grow by one, so one that is in the tail and in a block at once is seen once.
//!
//! A writer that is killed loses what it had not flushed, and no more: what stands half-written at a file's end is
//! cut off when the next one opens it. Files are not synced, so a machine that loses its power may lose more: the
//! last half minute or so, by the kernel's own rhythm.
//!
//! What cannot be written, for a disk is full, is lost. How many lines that are is kept in memory, and written as a gap
//! as soon as something can be written again.
//!
//! Compression is LZ4: the crate is in the program for the kernel's image already, is kept well, has no unsafe code in
//! the decoder that is used here, and costs a tenth of what it takes to forward a request.
//!
//! Deliberately not here: who sends records, and what users call them.

mod document;
mod keeper;
mod missing;
mod piece;
mod search;
mod writer;

pub use document::LineDocument;
pub use keeper::{Budget, Debts, Keeper};
pub use search::{Found, Line, Question, SCAN_BYTES, search};
pub use writer::Outcome;
