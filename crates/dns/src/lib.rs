//! An authoritative DNS server of immutable zone generations, and a resolver of backends' host names.
//!
//! ```text
//!  ZoneContents ──publish──▶ Zone (immutable, swapped whole) ──answer()──▶ bytes     pure
//!                                                                │
//!  UDP datagram / TCP message ───────────▶ server::{udp,tcp} ────┘                   sockets
//!
//!  set_names ──▶ NameWatch (NameTable: who is due, pure) ──▶ HostResolver ──▶ the host's name servers
//! ```
//!
//! Invariants: one query is answered from one generation; a generation is never followed by an older
//! one; whatever a client sends, the server answers or stays silent, and never panics.
//!
//! What this crate does not do: it decides no name and no record (the planner does), it transfers no
//! zones, it signs nothing, and it resolves nothing for others.

mod answer;
mod resolver;
mod serial;
mod server;
mod zone;

pub use resolver::{
    HostFiles, HostResolver, Lookup, NameWatch, Resolution, ResolveError, ResolvedAddresses,
};
pub use server::{DnsError, DnsServer};
pub use zone::{ZoneContents, ZoneError};
