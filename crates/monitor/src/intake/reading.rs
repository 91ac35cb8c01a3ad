//! From collectd's lists to what the monitor log keeps: names, and readings.

use collectd::{Value, ValueList};
use model::figures::{
    ANSWERS_TYPE, ANSWERS_VALUES, BACKEND_TYPE, BACKEND_VALUES, LATENCIES_TYPE, LatencyBucket,
};
use series::{Histogram, Reading};

use super::Sample;

/// The values of a list that are figures by themselves. Those of a list of latencies are one figure together.
pub(crate) fn measured(list: &ValueList) -> impl Iterator<Item = (usize, Value)> {
    let all = list.values.iter().copied().enumerate();
    let figures = match is_of_latencies(list) {
        true => 1,
        false => list.values.len(),
    };
    all.take(figures)
}

/// One value of a list as the log keeps it. Nothing where it says nothing: a count below zero, latencies that are none.
pub(crate) fn sample(list: &ValueList, index: usize, value: Value) -> Option<Sample> {
    let reading = match is_of_latencies(list) {
        true => Reading::Latencies(latencies(&list.values)?),
        false => reading(value)?,
    };
    Some(Sample {
        name: name(list, index),
        time: list.time.to_duration(),
        reading,
    })
}

/// What is measured, without the host, which is the VM.
pub(crate) fn identifier(list: &ValueList) -> String {
    let whole = list.to_string();
    let within = whole.strip_prefix(&list.host).unwrap_or(&whole);
    within.trim_start_matches('/').to_owned()
}

fn is_of_latencies(list: &ValueList) -> bool {
    list.kind == LATENCIES_TYPE
}

fn reading(value: Value) -> Option<Reading> {
    match value {
        Value::Gauge(figure) => Some(Reading::Gauge(figure)),
        Value::Counter(count) => Some(Reading::Count(count)),
        Value::Derive(count) => u64::try_from(count).ok().map(Reading::Count),
        // Of a count since the last reading the sum counts, which a gauge has as well.
        Value::Absolute(count) => Some(Reading::Gauge(count as f64)),
    }
}

fn latencies(values: &[Value]) -> Option<Histogram> {
    let mut numbers = values.iter().map(|value| match value {
        Value::Absolute(number) => Some(*number),
        _ => None,
    });
    let sum = numbers.next()??;
    let buckets: Option<Vec<_>> = numbers.collect();
    let buckets = buckets?.into_iter().map(LatencyBucket::from_number);
    let buckets = buckets.filter(|bucket| bucket.count > 0);
    let buckets = buckets.map(|bucket| (bucket.index, bucket.count)).collect();
    Histogram::from_buckets(buckets, sum)
}

/// collectd's identifier and, of a list with several values, collectd's word for this one, or else its place.
pub(crate) fn name(list: &ValueList, index: usize) -> String {
    let name = identifier(list);
    if list.values.len() < 2 || is_of_latencies(list) {
        return name;
    }
    match words(&list.kind).get(index) {
        Some(word) => format!("{name}.{word}"),
        None => format!("{name}.{index}"),
    }
}

/// What the values of a list are called, of the types of which VMs send several values in a list.
fn words(kind: &str) -> &'static [&'static str] {
    match kind {
        "if_octets" | "if_packets" | "if_errors" | "if_dropped" => &["rx", "tx"],
        "load" => &["shortterm", "midterm", "longterm"],
        ANSWERS_TYPE => &ANSWERS_VALUES,
        BACKEND_TYPE => &BACKEND_VALUES,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kind: &str, values: Vec<Value>) -> ValueList {
        ValueList {
            host: "vm-7".into(),
            plugin: "evenkeel".into(),
            kind: kind.into(),
            values,
            ..ValueList::default()
        }
    }

    fn samples(list: &ValueList) -> Vec<(String, Reading)> {
        let measured = measured(list);
        let samples = measured.filter_map(|(index, value)| sample(list, index, value));
        samples
            .map(|sample| (sample.name, sample.reading))
            .collect()
    }

    #[test]
    fn each_value_of_a_list_has_a_name_and_a_kind() {
        use Value::{Absolute, Counter, Derive, Gauge};
        let one = |name: &str, reading| vec![(name.to_owned(), reading)];
        for (list, expected) in [
            (
                list("a", vec![Gauge(1.5)]),
                one("evenkeel/a", Reading::Gauge(1.5)),
            ),
            (
                list("a", vec![Counter(2)]),
                one("evenkeel/a", Reading::Count(2)),
            ),
            (
                list("a", vec![Derive(3)]),
                one("evenkeel/a", Reading::Count(3)),
            ),
            (
                list("a", vec![Absolute(4)]),
                one("evenkeel/a", Reading::Gauge(4.0)),
            ),
            (list("a", vec![Derive(-3)]), vec![]),
        ] {
            assert_eq!(samples(&list), expected);
        }
        let names = |kind, values: usize| {
            let samples = samples(&list(kind, vec![Derive(1); values]));
            samples
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names("if_octets", 2),
            ["evenkeel/if_octets.rx", "evenkeel/if_octets.tx"]
        );
        assert_eq!(names("else", 2), ["evenkeel/else.0", "evenkeel/else.1"]);
        assert_eq!(names(ANSWERS_TYPE, 5)[1], "evenkeel/evenkeel_answers.2xx");
    }

    #[test]
    fn latencies_are_one_figure_and_what_is_none_is_left_out() {
        let mut expected = Histogram::new();
        [5, 5, 70].into_iter().for_each(|us| expected.record(us));
        let number = |index, count| Value::Absolute(LatencyBucket { index, count }.to_number());
        let good = vec![
            Value::Absolute(80),
            number(5, 2),
            number(67, 1),
            Value::Absolute(0),
        ];
        let name = format!("evenkeel/{LATENCIES_TYPE}");
        assert_eq!(
            samples(&list(LATENCIES_TYPE, good)),
            [(name, Reading::Latencies(expected))]
        );
        for bad in [
            vec![],
            vec![Value::Gauge(1.0)],
            vec![Value::Absolute(1), Value::Derive(5)],
            vec![Value::Absolute(1), number(9, 1), number(5, 1)],
        ] {
            assert_eq!(samples(&list(LATENCIES_TYPE, bad)), []);
        }
    }
}
