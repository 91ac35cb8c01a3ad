//! Pure decisions of the data path: which backend takes the next request, and whether a backend is
//! well.
//!
//! Nothing here reads a clock, draws a random number or does I/O: time and seeds are arguments, so that
//! each decision can be replayed. One algorithm lives in one file, which names its source.

mod circuit_breaker;
mod eligibility;
mod hash;
mod health;
mod jitter;
mod latency;
mod least_connections;
mod maglev;
mod outlier;
mod peak_ewma;
mod picker;
mod retry_budget;
#[cfg(test)]
mod simulation;
mod sliding_window;
mod slow_start;
mod smooth_round_robin;
mod source_hash;
mod waiting_line;
mod weighted_draw;

pub use circuit_breaker::{Admission, Breaker, Circuit, Ended, Switch};
pub use eligibility::{Candidate, eligible};
pub use hash::{hash_address, hash_bytes, identity_of};
pub use health::{Health, Thresholds};
pub use jitter::{Random, jittered_ms, spread_ms};
pub use latency::Latency;
pub use least_connections::LeastConnections;
pub use maglev::{Maglev, MaglevTable};
pub use outlier::{Outlier, may_eject};
pub use peak_ewma::PeakEwma;
pub use picker::{Load, MAX_WEIGHT, Picker, Seat, View};
pub use retry_budget::RetryBudget;
pub use sliding_window::{SlidingWindow, Tally};
pub use slow_start::{next_step_ms, weigh};
pub use smooth_round_robin::SmoothRoundRobin;
pub use source_hash::SourceHash;
pub use waiting_line::{Turn, WaitingLine};
pub use weighted_draw::WeightedDraw;
