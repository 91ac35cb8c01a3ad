//! One direction of a TCP session: bytes from a source to a sink.
//!
//! ```text
//!            read some              all written
//!  Flowing ───────────▶ Holding ───────────────▶ Flowing
//!     │ source ended       (nothing is read while bytes wait: backpressure)
//!     ▼
//!  Ending ── sink's half is ended ──▶ Ended
//!
//!  any ── sink is lost ──▶ Discarding ── source ended ──▶ Ended
//! ```
//!
//! A sink that is lost takes nothing more. Its source is read all the same and what it says is thrown away:
//! bytes that nobody has read would turn a close into a reset, which may cost the source what it is being
//! sent the other way.
//!
//! The two directions of a session know nothing of each other: one can end while the other goes on, which
//! is all that a half-close is. The session has ended when both have.

/// What to do next for a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Read from the source and write what came to the sink.
    Read,
    /// Write what is held to the sink.
    Write,
    /// End the sink's half.
    EndSink,
    /// Read from the source and throw away what came.
    Discard,
    /// Nothing, until something is ready.
    Wait,
    /// Nothing any more.
    Nothing,
}

/// One direction's state. The bytes themselves are held by whoever drives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    holding: bool,
    source_ended: bool,
    sink_ended: bool,
    sink_lost: bool,
}

impl Direction {
    /// A direction that begins with bytes to write, or without.
    #[must_use]
    pub fn new(holding: bool) -> Self {
        Self {
            holding,
            ..Self::default()
        }
    }

    /// What to do next, given what is ready.
    #[must_use]
    pub fn next(&self, source_readable: bool, sink_writable: bool) -> Act {
        match self {
            Self {
                sink_ended: true, ..
            } => Act::Nothing,
            Self {
                sink_lost: true, ..
            } if source_readable => Act::Discard,
            Self {
                sink_lost: true, ..
            } => Act::Wait,
            Self { holding: true, .. } if sink_writable => Act::Write,
            Self { holding: true, .. } => Act::Wait,
            Self {
                source_ended: true, ..
            } => Act::EndSink,
            _ if source_readable => Act::Read,
            _ => Act::Wait,
        }
    }

    /// Something was written; `holding` says whether bytes are left.
    pub fn wrote(&mut self, holding: bool) {
        self.holding = holding;
    }

    /// The source will give no more.
    pub fn end_of_source(&mut self) {
        self.source_ended = true;
        self.sink_ended |= self.sink_lost;
    }

    /// The sink will take no more; what is held is lost.
    pub fn lose_sink(&mut self) {
        self.holding = false;
        self.sink_lost = true;
        self.sink_ended |= self.source_ended;
    }

    /// Whether the sink was given all that the source will ever give.
    #[must_use]
    pub fn has_delivered(&self) -> bool {
        self.source_ended && !self.holding
    }

    /// The sink's half was ended.
    pub fn end_of_sink(&mut self) {
        self.sink_ended = true;
    }

    /// Whether everything has passed and the sink knows it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.sink_ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_read_while_bytes_wait() {
        let mut direction = Direction::default();
        direction.wrote(true);
        assert_eq!(direction.next(true, false), Act::Wait);
        assert_eq!(direction.next(true, true), Act::Write);
        direction.wrote(false);
        assert_eq!(direction.next(true, true), Act::Read);
    }

    #[test]
    fn the_sink_is_ended_only_after_its_last_byte() {
        let mut direction = Direction::new(true);
        direction.end_of_source();
        assert_eq!(direction.next(false, true), Act::Write);
        direction.wrote(false);
        assert_eq!(direction.next(false, false), Act::EndSink);
        direction.end_of_sink();
        assert_eq!(direction.next(true, true), Act::Nothing);
    }

    #[test]
    fn a_source_whose_sink_is_lost_is_read_to_its_end() {
        let mut direction = Direction::new(true);
        direction.lose_sink();
        assert_eq!(direction.next(false, true), Act::Wait);
        assert_eq!(direction.next(true, false), Act::Discard);
        assert!(!direction.has_ended());
        direction.end_of_source();
        assert!(direction.has_ended());
        assert_eq!(direction.next(true, true), Act::Nothing);
        let mut ended_before = Direction::default();
        ended_before.end_of_source();
        ended_before.lose_sink();
        assert!(ended_before.has_ended());
    }

    proptest! {
        /// A source of so many bytes and a sink that takes so many at a time, at any readiness.
        #[test]
        fn every_byte_passes_in_order_and_then_the_end(
            source in proptest::collection::vec(any::<u8>(), 0..200),
            turns in proptest::collection::vec((any::<bool>(), any::<bool>(), 1usize..9, 0usize..9), 0..400),
        ) {
            let (mut direction, mut held, mut read) = (Direction::default(), Vec::new(), 0);
            let (mut sink, mut ended) = (Vec::new(), false);
            let drained = (0..1000).map(|_| (true, true, 8, 8));
            for (readable, writable, reads, takes) in turns.into_iter().chain(drained) {
                match direction.next(readable, writable) {
                    Act::Read => {
                        prop_assert!(held.is_empty() && readable);
                        let end = (read + reads).min(source.len());
                        if end == read {
                            direction.end_of_source();
                        } else {
                            held.extend_from_slice(&source[read..end]);
                            read = end;
                            direction.wrote(true);
                        }
                    }
                    Act::Write => {
                        prop_assert!(writable && !ended);
                        let taken = takes.min(held.len());
                        sink.extend(held.drain(..taken));
                        direction.wrote(!held.is_empty());
                    }
                    Act::EndSink => {
                        prop_assert!(held.is_empty() && !ended);
                        ended = true;
                        direction.end_of_sink();
                    }
                    Act::Discard => prop_assert!(false, "no sink was lost"),
                    Act::Wait => prop_assert!(!(readable && writable)),
                    Act::Nothing => prop_assert!(direction.has_ended()),
                }
            }
            prop_assert!(ended);
            prop_assert_eq!(sink, source);
        }
    }
}
