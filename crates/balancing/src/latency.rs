//! How long a backend takes to answer, as a peak-sensitive moving average.
//!
//! Source: the peak EWMA of Twitter's Finagle (`PeakEwma`, 2015), also in Linkerd. An answer that took longer
//! than the estimate becomes the estimate at once; one that was quicker draws it down by the weight
//! 1 - e^(-t/τ), t since the last answer. So trouble is believed at once and recovery only bit by bit.
//!
//! Deviation: without answers, Finagle's estimate decays towards zero, so that a backend that was left alone
//! is in the end preferred to all others. Here it decays towards what is usual among the backends, and one
//! without any figures is taken for usual: a backend that nothing is known of gets its share, not a flood.

/// τ: after so many microseconds without an answer 37 % of what set a backend apart is left.
const DECAY_US: f64 = 10e6;

/// One backend's estimate, or that there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    /// Microseconds; 0 when no answer has come.
    estimate_us: f64,
    at_us: u64,
}

impl Latency {
    /// Takes in that an answer took `took_us`.
    pub fn observe(&mut self, took_us: u64, now_us: u64) {
        let took = took_us.max(1) as f64;
        if took >= self.estimate_us {
            self.estimate_us = took;
        } else {
            self.estimate_us = took + (self.estimate_us - took) * self.left(now_us);
        }
        self.at_us = now_us;
    }

    /// The estimate in microseconds, where `usual_us` is usual.
    #[must_use]
    pub fn at(&self, now_us: u64, usual_us: f64) -> f64 {
        match self.known() {
            Some(estimate) => usual_us + (estimate - usual_us) * self.left(now_us),
            None => usual_us,
        }
    }

    /// The estimate in microseconds when the last answer came, where one has come.
    #[must_use]
    pub fn known(&self) -> Option<f64> {
        (self.estimate_us > 0.0).then_some(self.estimate_us)
    }

    /// What is left of the estimate's weight.
    fn left(&self, now_us: u64) -> f64 {
        (-(now_us.saturating_sub(self.at_us) as f64) / DECAY_US).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_slow_answer_counts_at_once_and_quick_ones_bit_by_bit() {
        let mut latency = Latency::default();
        latency.observe(1_000, 0);
        latency.observe(9_000, SECOND);
        assert_eq!(latency.at(SECOND, 1_000.0), 9_000.0);
        latency.observe(1_000, 2 * SECOND);
        let estimate = latency.at(2 * SECOND, 1_000.0);
        assert!((8_000.0..8_500.0).contains(&estimate), "{estimate}");
        for second in 3..60 {
            latency.observe(1_000, second * SECOND);
        }
        assert!(latency.at(60 * SECOND, 1_000.0) < 1_050.0);
    }

    #[test]
    fn who_is_not_asked_becomes_usual_from_either_side() {
        for took in [100_000, 10] {
            let mut latency = Latency::default();
            latency.observe(took, 0);
            let estimate = latency.at(120 * SECOND, 1_000.0);
            assert!((estimate - 1_000.0).abs() < 10.0, "{estimate}");
        }
        assert_eq!(Latency::default().at(SECOND, 700.0), 700.0);
    }
}
