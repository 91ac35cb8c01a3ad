//! The line of those who wait for a backend, over all threads.
//!
//! A slot that comes free while somebody waits is handed over: it is taken again in the name of whoever is
//! next, and the thread of that one is told. So a newcomer cannot take it in between, and what one has waited
//! for cannot be lost.
//!
//! ```text
//!   who frees a slot:   counts it out, then, if anybody waits, serves the line
//!   who joins the line: is counted in, then serves the line
//! ```
//!
//! Whichever of the two comes second sees what the first has done, so nobody is left waiting at a free slot.
//! Slots change hands only under the line's lock. A grant whose client has gone meanwhile is passed on.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use balancing::{Turn, WaitingLine};

use crate::shared::{ThreadDesk, lock};
use crate::snapshot::BackendRecord;

/// Somebody who waits.
#[derive(Clone, Debug)]
pub struct Waiter {
    /// The thread of its connection.
    pub thread: usize,
    /// Its connection, in the thread's own terms.
    pub client: u64,
    /// Backends that it has tried already.
    pub except: Vec<SocketAddrV4>,
}

/// A slot for somebody who waited. Whoever takes it out of the desk answers for the slot.
#[derive(Debug)]
pub struct Grant {
    /// The connection that waited.
    pub client: u64,
    /// The place that it had in the line.
    pub turn: Turn,
    /// The backend, one of whose slots is taken.
    pub record: Arc<BackendRecord>,
}

/// Those who wait for a backend.
#[derive(Debug, Default)]
pub struct Line {
    waiting: AtomicUsize,
    line: Mutex<WaitingLine<Waiter>>,
}

impl Line {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts one at the end, unless `bound` already wait. The line is to be served afterwards.
    pub fn join(&self, waiter: Waiter, bound: usize) -> Option<Turn> {
        let mut line = lock(&self.line);
        let turn = line.join(waiter, bound);
        self.waiting.store(line.len(), Ordering::SeqCst);
        turn
    }

    /// Puts one back at the place that it had, since it was granted a slot in vain. The line is to be served
    /// afterwards.
    pub fn rejoin(&self, turn: Turn, waiter: Waiter) {
        let mut line = lock(&self.line);
        line.rejoin(turn, waiter);
        self.waiting.store(line.len(), Ordering::SeqCst);
    }

    /// Takes one out that waits no longer; false when it was served before.
    pub fn leave(&self, turn: Turn) -> bool {
        let mut line = lock(&self.line);
        let was_there = line.leave(turn).is_some();
        self.waiting.store(line.len(), Ordering::SeqCst);
        was_there
    }

    /// Passes one slot of the backend on to whoever is next, or counts it out.
    pub fn pass_on(&self, record: &Arc<BackendRecord>, bound: u32, desks: &[ThreadDesk]) {
        if !self.is_empty() && self.hand_over(record, bound, desks) {
            return;
        }
        record.standing.count_out(1);
        self.serve(record, bound, desks);
    }

    /// Grants a slot that somebody has done with; false when nobody may have it.
    fn hand_over(&self, record: &Arc<BackendRecord>, bound: u32, desks: &[ThreadDesk]) -> bool {
        let mut line = lock(&self.line);
        // With a bound that was lowered there may be one too many out.
        !record.standing.is_over(bound) && self.serve_next(&mut line, record, desks)
    }

    /// Gives the backend's free slots to those who are next.
    pub fn serve(&self, record: &Arc<BackendRecord>, bound: u32, desks: &[ThreadDesk]) {
        if !self.is_empty() {
            self.serve_waiting(record, bound, desks);
        }
    }

    fn serve_waiting(&self, record: &Arc<BackendRecord>, bound: u32, desks: &[ThreadDesk]) {
        let mut line = lock(&self.line);
        while !line.is_empty() && record.standing.take_slot(bound) {
            if !self.serve_next(&mut line, record, desks) {
                record.standing.count_out(1);
                return;
            }
        }
    }

    /// Grants a slot that was taken to the first who may go there; false when there is nobody.
    fn serve_next(
        &self,
        line: &mut WaitingLine<Waiter>,
        record: &Arc<BackendRecord>,
        desks: &[ThreadDesk],
    ) -> bool {
        let next = line.serve(|waiter| !waiter.except.contains(&record.address));
        self.waiting.store(line.len(), Ordering::SeqCst);
        let Some((turn, waiter)) = next else {
            return false;
        };
        let Some(desk) = desks.get(waiter.thread) else {
            return false;
        };
        desk.grant(Grant {
            client: waiter.client,
            turn,
            record: Arc::clone(record),
        });
        true
    }
}

#[cfg(test)]
mod interleavings;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Shared;
    use std::time::Instant;

    const THREADS: usize = 6;
    const TURNS: u64 = 30_000;

    /// Threads that take slots and free them as fast as they can. Each must get each of its slots, no more
    /// than the bound may be out at once, and none may be left over.
    #[test]
    fn no_wake_up_is_lost_and_the_bound_holds_over_threads() {
        // With two the line is mostly empty, and each release meets somebody who is about to join.
        for (threads, bound) in [(2, 1), (THREADS, 1), (THREADS, 3)] {
            contend(threads, bound);
        }
    }

    fn contend(threads: usize, bound: u32) {
        let shared = Shared::new(THREADS, String::new()).unwrap();
        let address = SocketAddrV4::new([127, 0, 0, 1].into(), 1);
        let record = Arc::new(BackendRecord::new(address, THREADS, Instant::now()));
        let out = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (shared, record, out) = (&shared, &record, &out);
                scope.spawn(move || {
                    for client in 0..TURNS / threads as u64 {
                        take(shared, record, bound, thread, client);
                        let before = out.fetch_add(1, Ordering::SeqCst);
                        assert!(before < bound as usize, "{before} are out");
                        out.fetch_sub(1, Ordering::SeqCst);
                        shared.line.pass_on(record, bound, &shared.threads);
                    }
                });
            }
        });
        assert!(shared.line.is_empty());
        assert!(record.standing.take_slot(1), "none is left over");
    }

    /// Takes a slot the way that a connection does, or waits until one is granted.
    fn take(shared: &Shared, record: &Arc<BackendRecord>, bound: u32, thread: usize, client: u64) {
        if shared.line.is_empty() && record.standing.take_slot(bound) {
            return;
        }
        let waiter = Waiter {
            thread,
            client,
            except: Vec::new(),
        };
        let turn = shared.line.join(waiter, usize::MAX).unwrap();
        shared.line.serve(record, bound, &shared.threads);
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        let grant = loop {
            if let Some(grant) = shared.threads[thread].take_grants().pop() {
                break grant;
            }
            assert!(Instant::now() < deadline, "a wake-up was lost");
            std::thread::yield_now();
        };
        assert_eq!((grant.client, grant.turn), (client, turn));
    }
}
