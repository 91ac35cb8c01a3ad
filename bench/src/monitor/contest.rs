//! One round: each takes the whole trace in an empty directory, answers the same questions, and is gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bench::spread::Spread;
use serde::Serialize;

use crate::server::Server;
use crate::store::{KINDS, Kind, Question, Store};
use crate::trace::{GROUP, Trace, group_of};

/// What all are asked, again and again.
struct Form {
    /// The figure that tells how long it takes.
    figure: &'static str,
    /// About how many series: one, or a group.
    series: usize,
    /// About how long a span; all of the trace if it is shorter.
    seconds: usize,
    /// Seconds between two points.
    step: u32,
    /// How often: less often what takes longer.
    times: usize,
}

const QUESTIONS: [Form; 6] = [
    form("ten_minutes_of_one_ms", 1, 600, 1, 100),
    form("ten_minutes_of_100_ms", GROUP, 600, 1, 20),
    form("whole_of_one_ms", 1, usize::MAX, 1, 50),
    form("whole_of_100_ms", GROUP, usize::MAX, 1, 10),
    form("whole_of_one_by_10_s_ms", 1, usize::MAX, 10, 50),
    form("whole_of_100_by_10_s_ms", GROUP, usize::MAX, 10, 10),
];
/// Of the values that an answer could have, so many may be missing: the first of a count, from which nothing has risen,
/// and means at the ends.
const MOST_MISSING: f64 = 0.01;

const fn form(
    figure: &'static str,
    series: usize,
    seconds: usize,
    step: u32,
    times: usize,
) -> Form {
    Form {
        figure,
        series,
        seconds,
        step,
        times,
    }
}

/// What one of them did in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// From 0.
    pub round: usize,
    /// Which.
    pub store: Kind,
    /// The figures by name.
    pub figures: BTreeMap<&'static str, f64>,
}

/// All of them, one after the other. Each is first in one round of three.
///
/// # Errors
/// Where one fails, or does not take everything.
pub fn round(round: usize, trace: &Trace, directory: &Path) -> Result<Vec<Sample>> {
    let order = KINDS.iter().cycle().skip(round % KINDS.len());
    let samples = order.take(KINDS.len()).map(|kind| {
        let own = directory.join(format!("{}-{round}", kind.name()));
        std::fs::create_dir(&own)?;
        let figures = measure(*kind, trace, &own).with_context(|| kind.name())?;
        std::fs::remove_dir_all(&own)?;
        Ok(Sample {
            round,
            store: *kind,
            figures,
        })
    });
    samples.collect()
}

fn measure(kind: Kind, trace: &Trace, directory: &Path) -> Result<BTreeMap<&'static str, f64>> {
    let mut store = kind.start(directory, trace)?;
    let samples = trace.samples() as f64;
    let mut figures = BTreeMap::new();
    let before = store.keeper().cpu_seconds()?;
    for second in 0..trace.seconds {
        let readings: Vec<_> = trace.readings(second).collect();
        store.take(trace.start + second as u64, &readings)?;
    }
    store.settle()?;
    let cpu_seconds = store.keeper().cpu_seconds()? - before;
    figures.insert("samples_per_cpu_second", samples / cpu_seconds);
    figures.insert("cpu_us_per_sample", cpu_seconds / samples * 1e6);
    figures.insert("peak_mib", store.keeper().peak_mib()?);
    for form in &QUESTIONS {
        let questions = (0..form.times).map(|n| question(trace, form, n));
        figures.insert(form.figure, ask(store.as_mut(), trace, questions)?);
    }
    let reader = store.reader().map_or(Ok(0.0), Server::peak_mib)?;
    figures.insert("peak_mib_when_asked", store.keeper().peak_mib()? + reader);
    let disk = store.disk()?;
    figures.insert("bytes_per_sample", disk.as_it_is as f64 / samples);
    let finest = disk.full_resolution as f64 / samples;
    figures.insert("bytes_per_sample_full_resolution", finest);
    Ok(figures)
}

/// The n-th question of a form. Each is about other series, and another part of the trace, where there is one.
fn question(trace: &Trace, form: &Form, n: usize) -> Question {
    let all = trace.figures().series;
    let seconds = form.seconds.min(trace.seconds);
    let room = trace.seconds - seconds + 1;
    let from = trace.start + (n * 1_009 % room) as u64;
    let group = (form.series > 1).then_some(n % (all / GROUP).max(1));
    let members = match group {
        Some(group) => (0..all)
            .filter(|place| group_of(*place, all) == group)
            .collect(),
        None => vec![n * 37 % all],
    };
    Question {
        series: members,
        group,
        from,
        to: from + seconds as u64,
        step: form.step,
    }
}

/// Milliseconds from a question to the end of its answer: the median.
fn ask(
    store: &mut dyn Store,
    trace: &Trace,
    questions: impl Iterator<Item = Question>,
) -> Result<f64> {
    let mut took = Vec::new();
    for question in questions {
        let began = Instant::now();
        let answer = store.ask(&question)?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        let values = store.values(&answer)?;
        check(&values, &question)?;
        if let Some(told) = told(trace, &question) {
            ensure!(are_same(&values, &told), "{question:?} is answered wrong");
        }
    }
    Ok(Spread::of(took).context("nothing was asked")?.median)
}

/// An answer that lacks values would be told quickly.
fn check(values: &[f64], question: &Question) -> Result<()> {
    let points = (question.to - question.from) / u64::from(question.step);
    let wanted = points as f64 * question.series.len() as f64;
    let least = wanted * (1.0 - MOST_MISSING) - question.series.len() as f64;
    let found = values.len();
    ensure!(
        (least..=wanted).contains(&(found as f64)),
        "{found} values are no answer to {question:?}"
    );
    Ok(())
}

/// What was told of a gauge in the span of a question about it alone. Of counts each makes what it will, and of means as well.
fn told(trace: &Trace, question: &Question) -> Option<Vec<f64>> {
    let [series] = question.series.as_slice() else {
        return None;
    };
    let second = |time: u64| usize::try_from(time - trace.start).ok();
    let seconds = second(question.from)?..second(question.to)?;
    (question.step == 1).then(|| trace.gauge(*series, seconds))?
}

/// To the digits that rrdtool prints.
fn are_same(values: &[f64], told: &[f64]) -> bool {
    let are_near = |(a, b): (&f64, &f64)| (a - b).abs() <= b.abs() * 1e-9;
    values.len() == told.len() && values.iter().zip(told).all(are_near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_lacks_values_is_none() {
        let question = Question {
            series: vec![3],
            group: None,
            from: 1_000,
            to: 1_600,
            step: 1,
        };
        for (values, is_good) in [
            (600, true),
            (599, true),
            (500, false),
            (601, false),
            (0, false),
        ] {
            let answer = vec![1.0; values];
            assert_eq!(check(&answer, &question).is_ok(), is_good, "{values}");
        }
    }
    #[test]
    fn an_answer_is_what_was_told_to_ten_digits() {
        let told = [0.1, 3e9, 0.0];
        for (values, is_good) in [
            (&[0.1, 3e9, 0.0][..], true),
            (&[0.1 + 1e-12, 3e9 + 0.1, 0.0], true),
            (&[0.1, 3e9 + 100.0, 0.0], false),
            (&[0.1, 3e9, 1e-12], false),
            (&[0.1, 3e9], false),
        ] {
            assert_eq!(are_same(values, &told), is_good, "{values:?}");
        }
    }
}
