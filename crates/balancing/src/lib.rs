//! Pure decisions of the data path: which backend takes the next request, and whether a backend is
//! well.
//!
//! Nothing here reads a clock, draws a random number or does I/O: time and seeds are arguments, so that
//! each decision can be replayed. One algorithm lives in one file, which names its source.

mod eligibility;
mod health;
mod jitter;
mod smooth_round_robin;

pub use eligibility::{Candidate, eligible};
pub use health::{Health, Thresholds};
pub use jitter::{Random, jittered_ms};
pub use smooth_round_robin::SmoothRoundRobin;
