//! Pure decisions of the data path: which backend takes the next request, and whether a backend is
//! well.
//!
//! Nothing here reads a clock, draws a random number or does I/O: time and seeds are arguments, so that
//! each decision can be replayed. One algorithm lives in one file, which names its source.

mod circuit_breaker;
mod eligibility;
mod health;
mod jitter;
mod outlier;
mod retry_budget;
mod sliding_window;
mod smooth_round_robin;
mod waiting_line;

pub use circuit_breaker::{Admission, Breaker, Circuit, Ended, Switch};
pub use eligibility::{Candidate, eligible};
pub use health::{Health, Thresholds};
pub use jitter::{Random, jittered_ms, spread_ms};
pub use outlier::{Outlier, may_eject};
pub use retry_budget::RetryBudget;
pub use sliding_window::{SlidingWindow, Tally};
pub use smooth_round_robin::SmoothRoundRobin;
pub use waiting_line::{Turn, WaitingLine};
