//! Slow start: the share of a backend that came up grows linearly to its weight.
//!
//! Known from HAProxy's `slowstart` and Envoy's slow start mode (with its aggression of 1). Deviations: it
//! holds for a backend's first time up as well, and the share grows in [`STEPS`] steps instead of with each
//! pick, since each step has the algorithm weigh all backends anew.
//!
//! Backends that came up together grow together, so their shares among each other are those of their
//! weights all the while; and one that is alone gets everything at once.

/// Parts of its weight by which a backend's share grows.
pub const STEPS: u32 = 128;

/// The shortest step, in milliseconds.
const SHORTEST_STEP_MS: u64 = 20;

/// The weight of a backend that has been up for `up_ms`, in parts of which [`STEPS`] make one of `weight`; at
/// least one part, unless the weight is 0.
#[must_use]
pub fn weigh(weight: u16, up_ms: u64, slow_start_ms: u64) -> u32 {
    let steps = u64::from(STEPS);
    let grown = up_ms
        .saturating_mul(steps)
        .checked_div(slow_start_ms)
        .unwrap_or(steps)
        .clamp(1, steps);
    u32::from(weight) * u32::try_from(grown).unwrap_or(STEPS)
}

/// Milliseconds until backends are to be weighed again, when one has been up for `up_ms`; nothing when it has
/// grown up.
#[must_use]
pub fn next_step_ms(up_ms: u64, slow_start_ms: u64) -> Option<u64> {
    let step = (slow_start_ms / u64::from(STEPS)).max(SHORTEST_STEP_MS);
    let left = slow_start_ms.checked_sub(up_ms).filter(|&left| left > 0)?;
    Some(step.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_grows_linearly_from_a_trickle_to_the_whole() {
        let of = |up_ms| f64::from(weigh(10, up_ms, 10_000)) / f64::from(10 * STEPS);
        assert!(of(0) > 0.0 && of(0) < 0.01);
        assert_eq!([of(2_500), of(5_000), of(10_000)], [0.25, 0.5, 1.0]);
        assert_eq!(of(u64::MAX), 1.0);
    }

    #[test]
    fn without_slow_start_the_weight_is_whole_at_once() {
        assert_eq!(weigh(3, 0, 0), 3 * STEPS);
        assert_eq!(next_step_ms(0, 0), None);
        assert_eq!(weigh(0, 0, 1_000), 0);
    }

    #[test]
    fn backends_are_weighed_again_until_the_last_has_grown_up() {
        let (mut up_ms, mut steps) = (0, 0);
        while let Some(step_ms) = next_step_ms(up_ms, 60_000) {
            (up_ms, steps) = (up_ms + step_ms, steps + 1);
        }
        assert_eq!(up_ms, 60_000);
        assert!(steps <= STEPS + 1);
        assert_eq!(next_step_ms(0, 5), Some(5));
    }
}
