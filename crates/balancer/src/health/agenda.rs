//! When something is due for which backend: the next check, or the end of one that has no answer yet.
//!
//! Times are rounded up to a grid, so that a thousand checks in a second wake the thread a hundred times
//! and not a thousand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

/// Milliseconds between two lines of the grid.
const GRID_MS: u64 = 10;

/// One time for each backend.
#[derive(Debug)]
pub struct Agenda {
    began: Instant,
    times: BTreeMap<SocketAddrV4, u64>,
    order: BTreeSet<(u64, SocketAddrV4)>,
}

impl Agenda {
    /// Nothing is due.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            times: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }

    /// Puts a backend's time in the place of the one that it had.
    pub fn set(&mut self, backend: SocketAddrV4, due: Instant) {
        self.forget(backend);
        let since = due.saturating_duration_since(self.began).as_micros();
        let lines = since.div_ceil(u128::from(GRID_MS) * 1_000);
        let line = u64::try_from(lines).unwrap_or(u64::MAX);
        self.times.insert(backend, line);
        self.order.insert((line, backend));
    }

    /// Takes a backend off.
    pub fn forget(&mut self, backend: SocketAddrV4) {
        if let Some(line) = self.times.remove(&backend) {
            self.order.remove(&(line, backend));
        }
    }

    /// The first backend whose time has come. It stays until it gets another time.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<SocketAddrV4> {
        let (line, backend) = self.order.first()?;
        (self.time(*line) <= now).then_some(*backend)
    }

    /// When the next one is due.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.order.first().map(|(line, _)| self.time(*line))
    }

    fn time(&self, line: u64) -> Instant {
        let since = Duration::from_millis(line.saturating_mul(GRID_MS));
        self.began.checked_add(since).unwrap_or(self.began)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn backend(last: u8) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(1, 1, 1, last), 80)
    }

    #[test]
    fn backends_are_due_in_the_order_of_their_times_and_never_early() {
        let now = Instant::now();
        let after = |ms| now + Duration::from_millis(ms);
        let mut agenda = Agenda::new(now);
        agenda.set(backend(1), after(31));
        agenda.set(backend(2), after(7));
        agenda.set(backend(3), now);
        assert_eq!(agenda.due(now), Some(backend(3)));
        agenda.set(backend(3), after(1_000));
        assert_eq!(agenda.due(after(6)), None);
        assert_eq!(agenda.next_at(), Some(after(10)));
        assert_eq!(agenda.due(after(10)), Some(backend(2)));
        agenda.forget(backend(2));
        agenda.forget(backend(2));
        assert_eq!(agenda.due(after(39)), None);
        assert_eq!(agenda.due(after(40)), Some(backend(1)));
    }
}
