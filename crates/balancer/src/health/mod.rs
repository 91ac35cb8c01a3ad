//! Active checks: asks each backend how it is, from one thread that waits for all of them at once.
//!
//! [`balancing::Health`] decides what a result means; `answer` reads what an HTTP check gets; `probe` makes
//! one check; `schedule` and its `agenda` say when.

mod agenda;
mod answer;
mod probe;
mod schedule;
mod verdict;

use std::sync::Arc;

pub use verdict::is_our_own;

use crate::control::Journal;
use crate::shared::Shared;

/// Starts the thread. It runs as long as the process.
///
/// # Errors
/// When the thread cannot be started, or the kernel gives no epoll descriptor.
pub fn start(shared: Arc<Shared>, journal: Arc<Journal>) -> std::io::Result<()> {
    let schedule = schedule::Schedule::new(shared, journal)?;
    std::thread::Builder::new()
        .name("health".to_owned())
        .spawn(move || schedule.run())?;
    Ok(())
}
