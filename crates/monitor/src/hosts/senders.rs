//! How much is looked at of what comes from one address, before anything in it is believed.
//!
//! To open a packet takes processor time, whoever made it, and the port is open to whoever reaches it. So of each address
//! no more packets are opened in a second than some hundred hosts would send who go by way of one server.
//! Addresses share a fixed number of counts, by their hash: nothing grows with how many there are. Two that share one
//! share its bound. Whoever makes up addresses gets past this, and finds the bound of a single thread, whose
//! time is taken from no figure of VMs.

use std::net::Ipv4Addr;
use std::time::Duration;

/// Packets that are opened of one address in a second.
pub(super) const MOST_OPENED: u16 = 500;
/// Counts that addresses share.
const COUNTS: usize = 1_024;
/// Multiplicative hashing (Knuth, The Art of Computer Programming, volume 3, section 6.4), by the golden ratio.
const GOLDEN: u32 = 0x9e37_79b9;

/// Counts packets by where they come from.
pub(super) struct Senders {
    second: u64,
    opened: Box<[u16; COUNTS]>,
}

impl Senders {
    pub(super) fn new() -> Self {
        Self {
            second: 0,
            opened: Box::new([0; COUNTS]),
        }
    }

    /// Whether one more may be opened that came from there, by the monotonic clock.
    pub(super) fn may_send(&mut self, from: Ipv4Addr, now: Duration) -> bool {
        if now.as_secs() != self.second {
            self.second = now.as_secs();
            self.opened.fill(0);
        }
        let hash = u32::from(from).wrapping_mul(GOLDEN) >> (u32::BITS - COUNTS.ilog2());
        // There is a count for each value that so many bits have.
        let Some(count) = self.opened.get_mut(hash as usize) else {
            return false;
        };
        *count = count.saturating_add(1);
        *count <= MOST_OPENED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_bound_in_each_second() {
        let mut senders = Senders::new();
        let (one, two) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        for second in [5, 6] {
            let now = Duration::from_secs(second);
            let mut opened = |from| (0..2_000).filter(|_| senders.may_send(from, now)).count();
            assert_eq!(opened(one), usize::from(MOST_OPENED));
            assert_eq!(opened(one), 0);
            assert_eq!(opened(two), usize::from(MOST_OPENED));
        }
    }

    #[test]
    fn no_address_is_without_a_count() {
        let mut senders = Senders::new();
        let every = (0..=u32::MAX).step_by(99_991);
        assert!(every.map(Ipv4Addr::from).all(|from| {
            senders.second += 1;
            senders.may_send(from, Duration::ZERO)
        }));
    }
}
