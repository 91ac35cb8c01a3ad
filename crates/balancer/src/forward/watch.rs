//! Which events of a socket the kernel is asked for.
//!
//! Each is told once when it comes about (edge-triggered). To ask for one more, or one less, is a call, so
//! what is asked for changes only when it must, or when an event came in vain:
//!
//! - that more can be read, from the beginning on, until an event came in vain, as they do one after the other
//!   while there is something to read that cannot be passed on; and again once all is read;
//! - that more can be written, once a write was refused, until an event came in vain or the connection rests.
//!
//! Ends and failures are always told.

use rustix::event::epoll::EventFlags;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    reads: bool,
    writes: bool,
}

/// What is known of a socket whose events will be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// A read may give something.
    pub readable: bool,
    /// A write may take something.
    pub writable: bool,
    /// The last event said only what was known.
    pub in_vain: bool,
}

impl Watch {
    /// What a connection at rest needs.
    pub const AT_REST: Self = Self {
        reads: true,
        writes: false,
    };

    /// What to ask for, when so far `now` is.
    #[must_use]
    pub fn next(now: Option<Self>, socket: Readiness) -> Self {
        let now = now.unwrap_or(Self::AT_REST);
        Self {
            reads: !socket.readable || (now.reads && !socket.in_vain),
            writes: !socket.writable || (now.writes && !socket.in_vain),
        }
    }

    /// The kernel's words for it.
    #[must_use]
    pub fn events(self) -> EventFlags {
        let mut events = EventFlags::RDHUP | EventFlags::ET;
        events.set(EventFlags::IN, self.reads);
        events.set(EventFlags::OUT, self.writes);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCKED_SINK: Readiness = Readiness {
        readable: true,
        writable: true,
        in_vain: true,
    };

    #[test]
    fn an_event_in_vain_is_the_last_until_all_is_read() {
        let paused = Watch::next(Some(Watch::AT_REST), BLOCKED_SINK);
        assert!(!paused.events().contains(EventFlags::IN));
        assert!(paused.events().contains(EventFlags::RDHUP));
        let drained = Readiness {
            readable: false,
            ..BLOCKED_SINK
        };
        assert_eq!(Watch::next(Some(paused), drained), Watch::AT_REST);
    }

    #[test]
    fn what_was_known_without_an_event_costs_no_call() {
        let known = Readiness {
            in_vain: false,
            ..BLOCKED_SINK
        };
        assert_eq!(Watch::next(Some(Watch::AT_REST), known), Watch::AT_REST);
    }

    proptest! {
        #[test]
        fn whatever_is_missing_is_asked_for(
            now in proptest::option::of((any::<bool>(), any::<bool>())),
            readable: bool,
            writable: bool,
            in_vain: bool,
        ) {
            let now = now.map(|(reads, writes)| Watch { reads, writes });
            let socket = Readiness { readable, writable, in_vain };
            let next = Watch::next(now, socket);
            prop_assert!(readable || next.reads);
            prop_assert!(writable || next.writes);
            prop_assert_eq!(Watch::next(Some(next), socket), next, "it stays as it is");
        }
    }
}
