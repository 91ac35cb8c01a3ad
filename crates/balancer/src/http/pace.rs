//! Whether a client is too slow: by the rate at which it sends a request or takes an answer in.
//!
//! A balance of time, like a token bucket: each moment in which the client alone is waited for is owed,
//! and each byte that it moves pays for as much time as the least rate gives it. A client that owes more
//! than the grace is too slow. Nothing is ever saved up, so what was fast before does not excuse what
//! stalls now; and time in which the balancer waits for somebody else is owed by nobody.

use std::time::Duration;

/// Milliseconds that a client may owe.
pub const GRACE_MS: u64 = 10_000;
/// Milliseconds after which a client that takes nothing in is looked at more closely: the kernel says that
/// there is room again only when a good part of its buffer is free, which takes a slow reader long.
pub const PROBE_MS: u64 = 1_000;

const GRACE_US: u32 = (GRACE_MS * 1_000) as u32;

/// What one client owes, and since when it is waited for. Times are milliseconds of one clock, of which
/// the lower 32 bits are enough: they come round in 49 days, and no wait is that long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    owed_us: u32,
    since: u32,
    waits: bool,
    queued: Option<u32>,
}

impl Pace {
    /// The client alone is waited for, from now on or already.
    pub fn wait(&mut self, now: u64) {
        if !self.waits {
            self.waits = true;
            self.since = now as u32;
            self.queued = None;
        }
    }

    /// The client is not waited for any more: it moved so many bytes at the least `rate` in bytes per
    /// second, or, without any, somebody else has to do something first.
    pub fn moved(&mut self, bytes: usize, rate: u32, now: u64) {
        if !self.waits && self.owed_us == 0 {
            return;
        }
        if self.waits {
            self.charge(now);
            self.waits = false;
        }
        self.pay(bytes as u64, rate);
    }

    /// Takes in how many bytes the kernel still holds for the client. The first time in a wait says
    /// nothing of the time before, which is forgiven.
    pub fn note_queue(&mut self, queued: usize, rate: u32, now: u64) {
        let queued = u32::try_from(queued).unwrap_or(u32::MAX);
        match self.queued.replace(queued) {
            Some(before) => {
                self.charge(now);
                self.pay(u64::from(before.saturating_sub(queued)), rate);
            }
            None => self.since = now as u32,
        }
    }

    /// Whether [`Pace::note_queue`] has been told of this wait.
    #[must_use]
    pub fn knows_queue(&self) -> bool {
        self.queued.is_some()
    }

    /// Milliseconds for which the client has been waited for.
    #[must_use]
    pub fn waited_ms(&self, now: u64) -> u64 {
        u64::from((now as u32).wrapping_sub(self.since))
    }

    /// Milliseconds until the client is too slow, if it moves nothing; 0 when it is.
    #[must_use]
    pub fn left_ms(&self, now: u64) -> u64 {
        let owed_us = u64::from(self.owed_us) + self.waited_ms(now).saturating_mul(1_000);
        u64::from(GRACE_US).saturating_sub(owed_us).div_ceil(1_000)
    }

    fn charge(&mut self, now: u64) {
        let waited_us = self.waited_ms(now).saturating_mul(1_000);
        let owed_us = u64::from(self.owed_us).saturating_add(waited_us);
        self.owed_us = u32::try_from(owed_us).unwrap_or(u32::MAX);
        self.since = now as u32;
    }

    fn pay(&mut self, bytes: u64, rate: u32) {
        let worth_us = worth(bytes, rate).as_micros();
        let worth_us = u32::try_from(worth_us).unwrap_or(u32::MAX);
        self.owed_us = self.owed_us.saturating_sub(worth_us);
    }
}

/// The time that so many bytes may take at the least `rate` in bytes per second; for ever without one.
#[must_use]
pub fn worth(bytes: u64, rate: u32) -> Duration {
    match bytes.saturating_mul(1_000_000).checked_div(rate.into()) {
        Some(micros) => Duration::from_micros(micros),
        None => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Moves so many bytes each so often; returns when it was found too slow.
    fn cut_off_at(bytes: usize, every_ms: u64, rate: u32) -> Option<u64> {
        let (mut pace, mut now) = (Pace::default(), u64::from(u32::MAX) - 5_000);
        let began = now;
        for _ in 0..1_000 {
            pace.wait(now);
            if pace.left_ms(now) < every_ms {
                return Some(now + pace.left_ms(now) - began);
            }
            now += every_ms;
            pace.moved(bytes, rate, now);
        }
        None
    }

    #[test]
    fn a_client_below_the_rate_is_cut_off_after_the_grace_and_one_at_it_never() {
        for (bytes, every_ms, cut) in [
            (0, 100, Some(10_000)),
            (128, 1_000, None),
            (129, 1_000, None),
            (1_280, 9_999, None),
            (64, 1_000, Some(19_500)),
            (1, 1_000, Some(10_078)),
            (1 << 20, 10_001, Some(10_000)),
        ] {
            let at = cut_off_at(bytes, every_ms, 128);
            let near = match (at, cut) {
                (Some(at), Some(cut)) => at.abs_diff(cut) <= 600,
                (at, cut) => at == cut,
            };
            assert!(
                near,
                "{bytes} bytes each {every_ms} ms: {at:?}, not {cut:?}"
            );
        }
    }

    #[test]
    fn time_that_somebody_else_takes_is_owed_by_nobody() {
        let mut pace = Pace::default();
        pace.wait(0);
        pace.moved(0, 128, 4_000);
        assert_eq!(pace.left_ms(4_000), 6_000);
        pace.wait(1_000_000);
        assert_eq!(pace.left_ms(1_000_000), 6_000);
    }

    #[test]
    fn a_reader_is_judged_by_what_it_took_from_the_kernel() {
        let mut pace = Pace::default();
        pace.wait(0);
        pace.note_queue(1_000_000, 128, 1_000);
        assert_eq!(
            pace.left_ms(1_000),
            GRACE_MS,
            "what came before is forgiven"
        );
        pace.note_queue(1_000_000 - 1_280, 128, 11_000);
        assert_eq!(pace.left_ms(11_000), GRACE_MS, "it took enough");
        pace.note_queue(1_000_000 - 1_280, 128, 21_000);
        assert_eq!(pace.left_ms(21_000), 0, "it took nothing");
    }

    proptest! {
        #[test]
        fn nobody_owes_less_than_nothing(
            moves in proptest::collection::vec((0u64..20_000, 0usize..5_000, any::<bool>()), 0..40),
        ) {
            let (mut pace, mut now) = (Pace::default(), 0);
            for (wait, bytes, waits) in moves {
                if waits {
                    pace.wait(now);
                }
                now += wait;
                pace.moved(bytes, 128, now);
                pace.wait(now);
                prop_assert!(pace.left_ms(now) <= GRACE_MS);
                prop_assert!(!waits || bytes > 0 || pace.left_ms(now) <= GRACE_MS - wait.min(GRACE_MS));
                pace.moved(0, 128, now);
            }
        }
    }
}
