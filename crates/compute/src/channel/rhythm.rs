//! How late a VM's heartbeats come.
//!
//! A heartbeat is late by what it came after its interval, whoever is to blame: the guest, its host, or the
//! listener. Where they are late again and again, silence proves less.

use std::time::{Duration, Instant};

use model::{Heartbeat, RecentMaximum};

/// For how long it is remembered that a heartbeat was late.
const MEMORY: Duration = Duration::from_secs(60);

/// What is remembered of one VM's heartbeats.
#[derive(Debug)]
pub(crate) struct Rhythm {
    /// When the last heartbeat was heard, and the balancer's uptime that it told.
    last: Option<(Instant, u64)>,
    late: RecentMaximum,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            last: None,
            late: RecentMaximum::over(MEMORY),
        }
    }
}

impl Rhythm {
    /// Takes note of a heartbeat. `interval_ms` is what the VM was told, where that is known. The first
    /// heartbeat of a balancer that was started again is not late: there was nobody to send one.
    pub(crate) fn hear(&mut self, heartbeat: &Heartbeat, interval_ms: Option<u64>, now: Instant) {
        let last = self.last.replace((now, heartbeat.uptime_ms));
        let same = last.filter(|(_, uptime_ms)| *uptime_ms <= heartbeat.uptime_ms);
        if let (Some((heard, _)), Some(interval_ms)) = (same, interval_ms) {
            let pause = now.saturating_duration_since(heard);
            let late = pause.saturating_sub(Duration::from_millis(interval_ms));
            self.late.note(late, now);
        }
    }

    /// The longest lateness of late.
    pub(crate) fn longest(&self, now: Instant) -> Duration {
        self.late.longest(now)
    }
}

#[cfg(test)]
mod tests {
    use model::{Counters, Latency};

    use super::*;

    fn beat(uptime_ms: u64) -> Heartbeat {
        Heartbeat {
            sequence: 0,
            uptime_ms,
            generation: None,
            refused: None,
            progress_age_ms: None,
            lag_ms: 0,
            draining: None,
            deserted_ms: None,
            counters: Counters::default(),
            latency: Latency::default(),
            backends: vec![],
        }
    }

    #[test]
    fn what_comes_after_its_interval_is_late_and_this_is_forgotten_in_time() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut rhythm = Rhythm::default();
        let at = |at_ms| start + ms(at_ms);
        for (heard_ms, late_ms) in [
            (0, 0),
            (250, 0),
            (300, 0),
            (900, 350),
            (1_150, 350),
            (1_401, 350),
        ] {
            rhythm.hear(&beat(heard_ms), Some(250), at(heard_ms));
            assert_eq!(rhythm.longest(at(heard_ms)), ms(late_ms), "{heard_ms}");
        }
        assert_eq!(rhythm.longest(at(62_000)), Duration::ZERO);
    }

    #[test]
    fn a_balancer_that_was_started_again_or_has_no_known_interval_is_not_late() {
        let (start, mut rhythm) = (Instant::now(), Rhythm::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        rhythm.hear(&beat(1_000), Some(250), at(0));
        rhythm.hear(&beat(10), Some(250), at(5));
        rhythm.hear(&beat(9_000), None, at(14));
        assert_eq!(rhythm.longest(at(14)), Duration::ZERO);
    }
}
