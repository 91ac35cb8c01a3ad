//! A small seeded generator, and the spreading of periodic work with it.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
/// For spreading load, never for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, uniform over all of `u64`.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Returns `interval_ms` moved by up to a tenth either way, at least 1: many balancers that check one
/// backend, started by one change, drift apart instead of knocking together.
#[must_use]
pub fn jittered_ms(interval_ms: u64, random: &mut Random) -> u64 {
    let tenth = interval_ms / 10;
    let spread = tenth.saturating_mul(2).saturating_add(1);
    let moved = random.next_u64() % spread;
    interval_ms
        .saturating_sub(tenth)
        .saturating_add(moved)
        .max(1)
}

/// Returns a random time from half of `interval_ms` to all of it, at least 1: what began at one moment, such
/// as the first checks of a thousand backends, does not come back at one moment.
pub fn spread_ms(interval_ms: u64, random: &mut Random) -> u64 {
    let half = interval_ms / 2;
    (interval_ms - random.next_u64() % (half + 1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth_and_keeps_the_mean() {
        let mut random = Random::new(7);
        let drawn: Vec<u64> = (0..10_000)
            .map(|_| jittered_ms(5_000, &mut random))
            .collect();
        assert!(drawn.iter().all(|ms| (4_500..=5_500).contains(ms)));
        let mean = drawn.iter().sum::<u64>() / 10_000;
        assert!((4_970..=5_030).contains(&mean), "{mean}");
    }

    #[test]
    fn what_is_spread_falls_anywhere_in_the_intervals_second_half_alike() {
        let mut random = Random::new(1);
        let mut tenths = [0u32; 10];
        for _ in 0..10_000 {
            let ms = spread_ms(1_999, &mut random);
            assert!((1_000..=1_999).contains(&ms));
            tenths[usize::try_from((ms - 1_000) / 100).expect("below ten")] += 1;
        }
        assert!(
            tenths.iter().all(|count| (900..=1_100).contains(count)),
            "{tenths:?}"
        );
        assert_eq!(spread_ms(0, &mut random), 1);
    }

    #[test]
    fn jitter_of_nothing_is_still_a_wait() {
        let mut random = Random::new(1);
        assert_eq!(jittered_ms(0, &mut random), 1);
        assert!(jittered_ms(u64::MAX, &mut random) > 0);
    }
}
