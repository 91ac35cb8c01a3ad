//! Loads that vary around a mean, over hours of virtual time.

use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

const HOUR_S: u64 = 3_600;

/// How a load varies, as a part of its mean between -1 and 1.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Uniform,
    Sinusoid,
    Square,
    /// A first-order autoregressive process, cut off at its bounds.
    Autoregressive,
    /// All of them, one after the other.
    Mixed,
}

#[derive(Clone, Copy, Debug)]
struct Noise {
    shape: Shape,
    /// A period, or the time after which a third of a deviation is left.
    span_s: f64,
    amplitude: f64,
    seed: u64,
    drift: f64,
}

impl Noise {
    /// The load at a second, around a mean of 1.
    fn at(&mut self, second: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "days have few seconds")]
        let turn = second as f64 / self.span_s;
        let shape = match (self.shape, second / 600 % 4) {
            (Shape::Mixed, 0) => Shape::Uniform,
            (Shape::Mixed, 1) => Shape::Sinusoid,
            (Shape::Mixed, 2) => Shape::Square,
            (Shape::Mixed, _) => Shape::Autoregressive,
            (shape, _) => shape,
        };
        let part = match shape {
            Shape::Uniform => self.draw(),
            Shape::Sinusoid => (turn * TAU).sin(),
            Shape::Square if turn.fract() < 0.5 => 1.0,
            Shape::Square => -1.0,
            Shape::Autoregressive | Shape::Mixed => {
                let kept = (-1.0 / self.span_s).exp();
                let push = (1.0 - kept * kept).sqrt() * self.draw();
                self.drift = (kept * self.drift + push).clamp(-1.0, 1.0);
                self.drift
            }
        };
        1.0 + self.amplitude * part
    }

    /// Uniform between -1 and 1, by SplitMix64 (Steele, Lea, Flood, 2014).
    fn draw(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
        let part = (bits >> 11) as f64 / (1_u64 << 53) as f64;
        2.0 * part - 1.0
    }
}

/// Noise whose period, or memory, is up to `longest_s`.
fn noise(longest_s: f64, amplitude: impl Strategy<Value = f64>) -> impl Strategy<Value = Noise> {
    let shape = prop::sample::select(vec![
        Shape::Uniform,
        Shape::Sinusoid,
        Shape::Square,
        Shape::Autoregressive,
        Shape::Mixed,
    ]);
    let spans = (0.0..longest_s.ln()).prop_map(|log| 2.0_f64.max(log.exp()));
    (shape, spans, amplitude, any::<u64>()).prop_map(|(shape, span_s, amplitude, seed)| Noise {
        shape,
        span_s,
        amplitude,
        seed,
        drift: 0.0,
    })
}

fn up_to_a_fifth() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.2), 0.0..0.2]
}

/// As many cases as a developer asks for, or enough.
fn cases(enough: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let cases = asked.and_then(|asked| asked.parse().ok()).unwrap_or(enough);
    ProptestConfig::with_cases(cases)
}

/// The most changes within any hour, from `from` on.
fn most_in_an_hour(changes: &[(Timestamp, u32)], from: Timestamp) -> usize {
    let late: Vec<_> = changes.iter().filter(|(at, _)| *at >= from).collect();
    let within = |first: Timestamp| {
        let hour = late.iter().filter(|(at, _)| *at >= first);
        hour.filter(|(at, _)| at.since_ms(first) < HOUR_S * 1_000)
            .count()
    };
    late.iter().map(|(at, _)| within(*at)).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(cases(40))]

    /// When it has come to rest from whatever was before, and wherever the load lies.
    #[test]
    fn under_a_constant_load_the_number_is_constant(
        before in 0.0..12.0_f64, load in 0.0..31.0_f64, max in 2u32..=32,
    ) {
        let mut scaler = Scaler::new(1, max);
        scaler.seconds(5, before);
        scaler.seconds(HOUR_S + 2 * WINDOW_MS / 1_000, load);
        let (settled, writes, changes) = (scaler.vms(), scaler.writes, scaler.changes.len());
        prop_assert!(changes <= 3, "{:?}", scaler.changes);
        prop_assert_eq!(scaler.seconds(2 * HOUR_S, load), settled);
        prop_assert_eq!((scaler.changes.len(), scaler.writes), (changes, writes));
        prop_assert!(load <= TOLERANCE * f64::from(settled) || settled == max);
    }

    /// When it has shown for an hour how it varies.
    #[test]
    fn under_noise_of_a_fifth_the_number_changes_at_most_once_an_hour(
        mean in 0.2..26.0_f64, mut noise in noise(2_400.0, up_to_a_fifth()),
    ) {
        let mut scaler = Scaler::new(1, 32);
        let from = Timestamp(scaler.now.0 + HOUR_S * 1_000);
        for second in 0..5 * HOUR_S {
            scaler.second(mean * noise.at(second));
        }
        let most = most_in_an_hour(&scaler.changes, from);
        prop_assert!(most <= 1, "{most} changes: {:?}", scaler.changes);
    }

    /// However slowly it varies, and from the first second on: this is what the headroom is for.
    #[test]
    fn under_noise_of_a_fifth_a_vm_that_was_sent_away_is_never_missed(
        mean in 0.2..26.0_f64, mut noise in noise(40_000.0, up_to_a_fifth()),
    ) {
        let mut scaler = Scaler::new(1, 32);
        let mut fell = None;
        for second in 0..6 * HOUR_S {
            let before = scaler.vms();
            let vms = scaler.second(mean * noise.at(second));
            prop_assert!(vms <= before || fell.is_none(), "fell at {fell:?}, rose at {second}");
            fell = fell.or((vms < before).then_some(second));
        }
    }

    /// Not a proof, but what is to be expected: a variation three times as large moves VMs now and then.
    #[test]
    fn under_wild_noise_a_vm_is_kept_for_a_window_at_least(
        mean in 1.0..20.0_f64, mut noise in noise(4_000.0, 0.2..0.9_f64),
    ) {
        let mut scaler = Scaler::new(1, 32);
        for second in 0..2 * HOUR_S {
            scaler.second(mean * noise.at(second));
        }
        for pair in scaler.changes.windows(2) {
            if let [(made, more), (gone, fewer)] = pair && fewer < more {
                let rose = scaler.changes.iter().rev().find(|(at, vms)| at <= made && vms == more);
                prop_assert!(rose.is_some());
                let kept_ms = gone.since_ms(*made);
                let fell_before = scaler.changes.iter().any(|(at, vms)| at < made && vms > more);
                prop_assert!(kept_ms >= WINDOW_MS || fell_before, "{:?}", scaler.changes);
            }
        }
    }
}

/// A variation that has no bound: its standard deviation is a fifth, and each sample's is its own. A load
/// is seen as the mean of two samples.
#[test]
fn under_a_normal_deviation_of_a_fifth_the_number_changes_less_than_once_an_hour() {
    const HOURS: u64 = 5;
    let mut changes = 0;
    let means = [
        0.6, 1.3, 2.2, 3.1, 4.7, 6.4, 8.0, 10.4, 12.5, 14.8, 17.1, 19.9,
    ];
    for (seed, mean) in (1..).zip(means) {
        let mut scaler = Scaler::new(1, 32);
        let mut noise = Noise {
            shape: Shape::Uniform,
            span_s: 1.0,
            amplitude: 0.0,
            seed,
            drift: 0.0,
        };
        // The sum of twelve draws, each of variance 1/3, has a standard deviation of 2 (Irwin and Hall).
        let mut normal = || (0..12).map(|_| noise.draw()).sum::<f64>() / 2.0;
        let mut last = 1.0;
        let from = Timestamp(scaler.now.0 + HOUR_S * 1_000);
        for _ in 0..(HOURS + 1) * HOUR_S {
            let sample = f64::max(0.0, 1.0 + 0.2 * normal());
            scaler.second(mean * (sample + last) / 2.0);
            last = sample;
        }
        let late = scaler.changes.iter().filter(|(at, _)| *at >= from);
        changes += late.count();
    }
    let hours = means.len() * HOURS as usize;
    assert!(changes < hours, "{changes} changes in {hours} hours");
}
