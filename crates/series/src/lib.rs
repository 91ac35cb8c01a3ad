//! The monitor log: time series of bounded size in several resolutions.
//!
//! ```text
//!  samples ─▶ window: the last seconds, ─▶ levels: 1 s, 10 s, 5 min ─▶ segments: files that go as a whole
//!     │       in any order                 rolled up as they come          ▲
//!     └─▶ write-ahead log, checkpoints: what a restart begins from         └── query: the coarsest level that serves
//! ```
//!
//! What it takes of memory and disk is bounded by the number of series, whatever comes; no sample, clock or full disk
//! makes it lose what is there. `docs/explanation/monitor-log.md` tells the structure with its reasons. It does not know what the
//! series mean, opens no socket, has no thread, and reads no clock.

mod blocks;
mod bucket;
mod checkpoint;
mod coding;
mod disk;
mod error;
mod files;
mod frozen;
#[doc(hidden)]
pub mod fuzzing;
mod histogram;
mod job;
mod log;
mod one_series;
mod options;
mod query;
mod question;
mod reading;
mod reads;
mod segment;
mod snapshot;
mod state;
mod step;
mod track;
mod wal;
mod window;

pub use bucket::{Bucket, Cell};
pub use disk::{Disk, Operation};
pub use error::LogError;
pub use histogram::{Histogram, RELATIVE_ERROR};
pub use job::{Job, Outcome, Spent};
pub use log::{Figures, MonitorLog};
pub use options::{BadOptions, DEFAULT_LEVELS, FLUSH_INTERVAL, Level, Options};
pub use query::MOST_POINTS;
pub use question::{Across, Answer, Query, QueryError, Row, Statistic};
pub use reading::{Kind, Reading, Refusal, SeriesId};
pub use reads::{MOST_CHUNKS, Reads};
pub use snapshot::{MOST_SERIES, Snapshot};
