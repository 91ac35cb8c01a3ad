//! What the rounds come to. Pure: figures in, verdicts out.

use std::collections::BTreeMap;

use bench::spread::Spread;
use serde::Serialize;

use crate::cases::Case;
use crate::proxies::Kind;

/// What one proxy did in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// From 0.
    pub round: usize,
    /// Which proxy.
    pub proxy: Kind,
    /// The figures by name; none when the round is worth nothing.
    pub figures: BTreeMap<&'static str, f64>,
    /// Why it is worth nothing.
    pub error: Option<String>,
}

/// Whether a line of the table is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Better than the target by more than the noise.
    Met,
    /// Worse than the target by more than the noise.
    Missed,
    /// As far from the target as two runs of the same program lie apart, or less.
    Tie,
    /// Some rounds are worth nothing.
    Invalid,
}

/// Ours in relation to another.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Which figure.
    pub figure: &'static str,
    /// The other.
    pub with: Kind,
    /// Ours divided by theirs, round by round; none without valid rounds.
    pub ratio: Option<Spread>,
    /// The largest ratio that is good enough, where there is one.
    pub target: Option<f64>,
    /// What it means, where there is a target.
    pub verdict: Option<Verdict>,
    /// Whether ours and theirs lie no further apart than two runs of the same program.
    pub alike: bool,
}

/// What a case came to.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Of each proxy, by figure.
    pub figures: BTreeMap<&'static str, BTreeMap<&'static str, Spread>>,
    /// Ours divided by ours, round by round: the noise. Of the figure that is compared.
    pub noise: Option<Spread>,
    /// Ours beside the others.
    pub comparisons: Vec<Comparison>,
    /// Rounds that are worth nothing.
    pub invalid: usize,
}

/// Sums a case's rounds up.
pub fn summarise(case: &Case, samples: &[Sample]) -> Summary {
    let mut figures: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for sample in samples {
        for figure in sample.figures.keys() {
            let values = samples
                .iter()
                .filter(|other| other.proxy == sample.proxy)
                .filter_map(|other| other.figures.get(figure).copied());
            if let Some(spread) = Spread::of(values) {
                let of_proxy = figures.entry(sample.proxy.name()).or_default();
                of_proxy.insert(*figure, spread);
            }
        }
    }
    let noise = ratio(samples, case.figure, Kind::EvenkeelAgain);
    let targets = [
        (Kind::Haproxy, case.haproxy_target),
        (Kind::Nginx, case.nginx_target),
        (Kind::HaproxyPipes, None),
        (Kind::EvenkeelBefore, None),
    ];
    let mut comparisons = Vec::new();
    for figure in std::iter::once(&case.figure).chain(case.also) {
        for (with, target) in targets {
            if samples.iter().any(|sample| sample.proxy == with) {
                let target = target.filter(|_| *figure == case.figure);
                comparisons.push(compare(samples, figure, with, target));
            }
        }
    }
    Summary {
        figures,
        noise,
        comparisons,
        invalid: samples.iter().filter(|s| s.error.is_some()).count(),
    }
}

fn compare(
    samples: &[Sample],
    figure: &'static str,
    with: Kind,
    target: Option<f64>,
) -> Comparison {
    let ratio_with = ratio(samples, figure, with);
    let noise = ratio(samples, figure, Kind::EvenkeelAgain);
    let concerned = [Kind::Evenkeel, Kind::EvenkeelAgain, with];
    let invalid = samples
        .iter()
        .any(|sample| sample.error.is_some() && concerned.contains(&sample.proxy));
    Comparison {
        figure,
        with,
        ratio: ratio_with,
        target,
        verdict: target.map(|target| match (ratio_with, noise) {
            (Some(ratio), Some(noise)) if !invalid => judge(ratio.median, noise, target),
            _ => Verdict::Invalid,
        }),
        alike: ratio_with
            .zip(noise)
            .is_some_and(|(ratio, noise)| judge(ratio.median, noise, 1.0) == Verdict::Tie),
    }
}

/// Ours divided by another's in the same round.
fn ratio(samples: &[Sample], figure: &str, with: Kind) -> Option<Spread> {
    let value = |round: usize, proxy: Kind| {
        let sample = samples
            .iter()
            .find(|sample| sample.round == round && sample.proxy == proxy)?;
        sample.figures.get(figure).copied()
    };
    let rounds = samples.iter().map(|sample| sample.round).max()?;
    Spread::of((0..=rounds).filter_map(|round| {
        let (ours, theirs) = (value(round, Kind::Evenkeel)?, value(round, with)?);
        (theirs > 0.0).then_some(ours / theirs)
    }))
}

/// Compares a ratio with its target, given how far ours lay from itself.
fn judge(ratio: f64, noise: Spread, target: f64) -> Verdict {
    let factor = noise.max.max(1.0 / noise.min).max(1.0);
    if ratio > target * factor {
        Verdict::Missed
    } else if ratio < target / factor {
        Verdict::Met
    } else {
        Verdict::Tie
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::{CASES, CPU_PER_REQUEST};

    fn samples(figures: &[(Kind, [f64; 3])]) -> Vec<Sample> {
        let of = |(proxy, values): &(Kind, [f64; 3])| {
            let proxy = *proxy;
            values.map(|value| (proxy, value)).into_iter().enumerate()
        };
        figures
            .iter()
            .flat_map(of)
            .map(|(round, (proxy, value))| Sample {
                round,
                proxy,
                figures: [(CPU_PER_REQUEST, value)].into(),
                error: None,
            })
            .collect()
    }

    /// Ours and its noise of 10 %, beside a peer.
    fn beside_haproxy(theirs: [f64; 3]) -> Vec<Sample> {
        samples(&[
            (Kind::Evenkeel, [10.0, 10.0, 10.0]),
            (Kind::EvenkeelAgain, [10.0, 9.5, 11.0]),
            (Kind::Haproxy, theirs),
        ])
    }

    fn verdict(samples: &[Sample]) -> Option<Verdict> {
        let summary = summarise(&CASES[0], samples);
        let comparison = &summary.comparisons[0];
        assert_eq!(
            (comparison.with, comparison.figure),
            (Kind::Haproxy, CPU_PER_REQUEST)
        );
        comparison.verdict
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied()).map(|s| s.median);
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some(3.0));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_ratio_is_of_the_same_round() {
        let samples = samples(&[
            (Kind::Evenkeel, [1.0, 10.0, 100.0]),
            (Kind::Haproxy, [2.0, 20.0, 200.0]),
        ]);
        let ratio = ratio(&samples, CPU_PER_REQUEST, Kind::Haproxy).unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max), (0.5, 0.5, 0.5));
    }

    #[test]
    fn a_line_within_the_noise_is_a_tie() {
        // The target is 0.75, the noise a factor of 1.1.
        assert_eq!(verdict(&beside_haproxy([20.0; 3])), Some(Verdict::Met));
        assert_eq!(verdict(&beside_haproxy([14.0; 3])), Some(Verdict::Tie));
        assert_eq!(verdict(&beside_haproxy([12.5; 3])), Some(Verdict::Tie));
        assert_eq!(verdict(&beside_haproxy([11.0; 3])), Some(Verdict::Missed));
    }

    #[test]
    fn a_round_that_failed_is_no_victory() {
        let mut samples = beside_haproxy([20.0; 3]);
        let failed = samples.last_mut().unwrap();
        failed.figures.clear();
        failed.error = Some("an answer begins with `HTTP/1.1 503`".to_owned());
        assert_eq!(verdict(&samples), Some(Verdict::Invalid));
    }
}
