//! How many client connections are open, over all threads. Touched when a connection begins and ends, and
//! only where a configuration bounds their number.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::shared::lock;

/// Parts of the table of clients, so that threads seldom meet.
const SHARDS: usize = 64;

/// What is counted of open connections.
pub struct Connections {
    open: AtomicU32,
    /// A thread that found no room has to be woken when there is some.
    wanted: AtomicBool,
    /// Threads that accept nothing for want of room.
    full: AtomicU32,
    /// No client without a connection is in it, so it has no more entries than there are connections.
    clients: [Mutex<HashMap<Ipv4Addr, u32>>; SHARDS],
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            open: AtomicU32::new(0),
            wanted: AtomicBool::new(false),
            full: AtomicU32::new(0),
            clients: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Connections {
    /// Takes a place for a connection, if fewer than `most` are taken. Where there is none, the next
    /// [`Connections::leave`] says that somebody waits.
    pub fn enter(&self, most: u32) -> bool {
        self.try_enter(most) || {
            self.wanted.store(true, Ordering::SeqCst);
            // One may have become free before that was seen.
            self.try_enter(most)
        }
    }

    fn try_enter(&self, most: u32) -> bool {
        let more = |open: u32| (open < most).then(|| open + 1);
        let entered = self
            .open
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        entered.is_ok()
    }

    /// Counts a connection that is open already.
    pub fn enter_anyway(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    /// Gives a place back. Whether a thread waits for one, and is to be woken.
    #[must_use]
    pub fn leave(&self) -> bool {
        self.open.fetch_sub(1, Ordering::SeqCst);
        self.wanted.load(Ordering::SeqCst) && self.wanted.swap(false, Ordering::SeqCst)
    }

    /// A thread accepts nothing for want of room, or does so again.
    pub fn note_full(&self, full: bool) {
        match full {
            true => self.full.fetch_add(1, Ordering::Relaxed),
            false => self.full.fetch_sub(1, Ordering::Relaxed),
        };
    }

    /// Whether any thread accepts nothing for want of room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed) > 0
    }

    /// Counts a client's connection, if it has fewer than `most`.
    pub fn enter_client(&self, client: Ipv4Addr, most: u32) -> bool {
        let mut clients = lock(self.shard(client));
        let open = clients.entry(client).or_insert(0);
        let enters = *open < most;
        if enters {
            *open += 1;
        } else if *open == 0 {
            clients.remove(&client);
        }
        enters
    }

    /// A client's connection has ended.
    pub fn leave_client(&self, client: Ipv4Addr) {
        let mut clients = lock(self.shard(client));
        if let Some(open) = clients.get_mut(&client) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                clients.remove(&client);
            }
        }
    }

    /// Neighbours in one network are in different parts.
    fn shard(&self, client: Ipv4Addr) -> &Mutex<HashMap<Ipv4Addr, u32>> {
        let [a, b, c, d] = client.octets();
        let at = usize::from(a ^ b ^ c ^ d) % SHARDS;
        self.clients
            .get(at)
            .expect("the remainder is less than the number of parts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_enter_than_there_is_room_for_and_whoever_waits_is_named_once() {
        let connections = Connections::default();
        assert!(connections.enter(2) && connections.enter(2));
        assert!(!connections.enter(2));
        assert!(connections.leave(), "somebody waits");
        assert!(!connections.leave(), "and was named");
        assert!(connections.enter(1) && !connections.enter(1));
    }

    #[test]
    fn many_threads_never_take_more_than_there_is() {
        let connections = Connections::default();
        let most_seen = AtomicU32::new(0);
        let open = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if connections.enter(2) {
                            let now = open.fetch_add(1, Ordering::SeqCst) + 1;
                            most_seen.fetch_max(now, Ordering::SeqCst);
                            open.fetch_sub(1, Ordering::SeqCst);
                            let _ = connections.leave();
                        }
                    }
                });
            }
        });
        assert!((1..=2).contains(&most_seen.into_inner()));
        assert!(connections.enter(1), "all places were given back");
    }

    #[test]
    fn each_client_has_a_bound_of_its_own_and_leaves_nothing_behind() {
        let connections = Connections::default();
        let (one, other) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        assert!(connections.enter_client(one, 2) && connections.enter_client(one, 2));
        assert!(!connections.enter_client(one, 2) && connections.enter_client(other, 2));
        connections.leave_client(one);
        assert!(connections.enter_client(one, 2));
        for client in [one, one, other, other] {
            connections.leave_client(client);
        }
        assert!(!connections.enter_client(one, 0));
        let left: usize = connections
            .clients
            .iter()
            .map(|shard| lock(shard).len())
            .sum();
        assert_eq!(left, 0);
    }
}
