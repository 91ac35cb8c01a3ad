//! Passive outlier ejection: a backend whose requests fail one after the other is left alone for a while.
//!
//! ```text
//!            consecutive_failures in a row              n × ejection_ms have passed
//!   taking traffic ─────────────────────▶ ejected ───────────────────────────────▶ taking traffic
//!                  if not too many are
//! ```
//!
//! Source: Envoy's consecutive-5xx and consecutive-gateway-failure detection ("Outlier detection", Envoy's
//! documentation). Deviation: what counts as in a row. There the multiplier falls by one in each interval
//! without an ejection; here it begins anew once the backend was back for longer than its last ejection took.

use model::OutlierEjection;

/// The most that an ejection grows by.
const LONGEST: u64 = 10;

/// One backend's ejections. How many failures are in a row is counted by the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlier {
    in_a_row: u64,
    began: u64,
    until: u64,
}

impl Outlier {
    /// Ejects the backend at `now` milliseconds; returns until when.
    pub fn eject(&mut self, settings: &OutlierEjection, now: u64) -> u64 {
        let lasted = self.until.saturating_sub(self.began);
        let is_relapse = self.until > 0 && now.saturating_sub(self.until) <= lasted;
        self.in_a_row = if is_relapse { self.in_a_row + 1 } else { 1 };
        let times = self.in_a_row.min(LONGEST);
        self.began = now;
        self.until = now.saturating_add(settings.ejection_ms.max(1).saturating_mul(times));
        self.until
    }
}

/// Whether one more of `backends` may be ejected while `ejected` are: at most `max_ejected_percent` of
/// them, yet one in any case, and never the only one.
#[must_use]
pub fn may_eject(backends: usize, ejected: usize, max_ejected_percent: u8) -> bool {
    let share = (ejected + 1).saturating_mul(100);
    let bound = backends.saturating_mul(usize::from(max_ejected_percent));
    backends >= 2 && ejected < backends && (ejected == 0 || share <= bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: OutlierEjection = OutlierEjection {
        consecutive_failures: 5,
        ejection_ms: 1_000,
        max_ejected_percent: 50,
    };

    #[test]
    fn a_relapse_lasts_longer_up_to_ten_times() {
        let (mut outlier, mut now) = (Outlier::default(), 0);
        let lasted: Vec<u64> = (0..12)
            .map(|_| {
                let until = outlier.eject(&SETTINGS, now);
                let lasted = until - now;
                now = until + 10;
                lasted
            })
            .collect();
        assert_eq!(lasted[..4], [1_000, 2_000, 3_000, 4_000]);
        assert_eq!(lasted[9..], [10_000, 10_000, 10_000]);
    }

    #[test]
    fn a_backend_that_held_out_begins_anew() {
        let mut outlier = Outlier::default();
        assert_eq!(outlier.eject(&SETTINGS, 0), 1_000);
        assert_eq!(outlier.eject(&SETTINGS, 2_000), 4_000);
        assert_eq!(outlier.eject(&SETTINGS, 6_001), 7_001);
    }

    #[test]
    fn the_share_that_is_ejected_has_a_bound() {
        for (backends, ejected, percent, may) in [
            (0, 0, 100, false),
            (1, 0, 100, false),
            (2, 0, 0, true),
            (2, 1, 50, false),
            (2, 1, 100, true),
            (4, 1, 50, true),
            (4, 2, 50, false),
            (10, 0, 5, true),
            (10, 1, 5, false),
        ] {
            assert_eq!(
                may_eject(backends, ejected, percent),
                may,
                "{ejected} of {backends} at {percent} %"
            );
        }
    }

    proptest! {
        #[test]
        fn never_more_than_the_share_or_one_is_ejected(backends in 0usize..200, percent in 0u8..=100) {
            let mut ejected = 0;
            while may_eject(backends, ejected, percent) {
                ejected += 1;
            }
            prop_assert!(ejected <= (backends * usize::from(percent) / 100).max(1));
            prop_assert_eq!(ejected >= 1, backends >= 2);
        }

        #[test]
        fn an_ejection_ends_within_ten_times_its_length(
            waits in proptest::collection::vec(0u64..20_000, 1..50),
        ) {
            let (mut outlier, mut now) = (Outlier::default(), 0);
            for wait in waits {
                let until = outlier.eject(&SETTINGS, now);
                prop_assert!((now + 1_000..=now + 10_000).contains(&until));
                now = until + wait;
            }
        }
    }
}
