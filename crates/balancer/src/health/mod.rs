//! Active checks: asks each backend how it is, from one thread that waits for all of them at once.
//!
//! [`balancing::Health`] decides what a result means; [`probe`](self) makes one check; the schedule here says when.

mod probe;
mod schedule;
mod verdict;

use std::sync::Arc;

use crate::control::Journal;
use crate::shared::Shared;

/// Starts the thread. It runs as long as the process.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(shared: Arc<Shared>, journal: Arc<Journal>) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("health".to_owned())
        .spawn(move || schedule::Schedule::new(shared, journal).run())?;
    Ok(())
}
