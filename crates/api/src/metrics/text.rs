//! Prometheus' text format, version 0.0.4: a line for each figure, and above each name what it is.
//!
//! Written here and not by a library: it is these lines, of figures that others counted. The libraries for it keep
//! counts of their own, which are to be registered and raised where things happen.

use std::fmt::Write;

use super::family::{Family, Kind, Labels, Value};

/// What the format is called in HTTP.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All families, in their order. A family without samples is left out.
pub(crate) fn encode(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        // Writing to a string cannot fail.
        let _ = write_family(&mut text, family);
    }
    text
}

fn write_family(text: &mut String, family: &Family) -> std::fmt::Result {
    let (name, kind) = (family.name, word(family.kind));
    let help = family.help.replace('\\', r"\\").replace('\n', r"\n");
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
    for sample in &family.samples {
        match &sample.value {
            Value::Number(value) => {
                write_name(text, name, "", &sample.labels, None)?;
                write_number(text, *value)?;
            }
            Value::Times {
                bounds_us,
                parts,
                sum_us,
            } => {
                let count = match family.kind {
                    Kind::Histogram => write_buckets(text, name, &sample.labels, bounds_us, parts)?,
                    _ => sum(parts),
                };
                write_name(text, name, "_sum", &sample.labels, None)?;
                write_number(text, seconds(*sum_us))?;
                write_name(text, name, "_count", &sample.labels, None)?;
                writeln!(text, "{count}")?;
            }
        }
    }
    Ok(())
}

/// Each bucket has all that the ones before have. Returns what the last one has.
fn write_buckets(
    text: &mut String,
    name: &str,
    labels: &Labels,
    bounds_us: &[u64],
    parts: &[u64],
) -> Result<u64, std::fmt::Error> {
    let mut below = 0_u64;
    for (place, part) in parts.iter().enumerate() {
        below = below.saturating_add(*part);
        let bound = bounds_us.get(place);
        let bound = bound.map_or_else(|| "+Inf".to_owned(), |us| seconds(*us).to_string());
        write_name(text, name, "_bucket", labels, Some(&bound))?;
        writeln!(text, "{below}")?;
    }
    Ok(below)
}

/// The name with its labels, and the blank behind it.
fn write_name(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: &Labels,
    bound: Option<&str>,
) -> std::fmt::Result {
    write!(text, "{name}{suffix}")?;
    let mut before = '{';
    for (label, value) in labels.iter().chain(bound.map(|bound| ("le", bound))) {
        write!(text, "{before}{label}=\"")?;
        write_escaped(text, value);
        text.push('"');
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    text.push(' ');
    Ok(())
}

fn write_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str(r"\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str(r"\n"),
            other => text.push(other),
        }
    }
}

fn write_number(text: &mut String, value: f64) -> std::fmt::Result {
    match value {
        f64::INFINITY => writeln!(text, "+Inf"),
        f64::NEG_INFINITY => writeln!(text, "-Inf"),
        // Of no number Rust and the format write the same.
        value => writeln!(text, "{value}"),
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        Kind::Summary => "summary",
    }
}

fn sum(parts: &[u64]) -> u64 {
    parts.iter().copied().fold(0, u64::saturating_add)
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::super::family::Sample;
    use super::*;

    #[test]
    fn each_kind_is_written_as_the_format_has_it() {
        let labels = Labels::none().and("lb", "web");
        let times = |parts: Vec<u64>, bounds_us| Sample {
            labels: labels.clone(),
            value: Value::Times {
                bounds_us,
                parts,
                sum_us: 1_500_000,
            },
        };
        let mut waits = Family::new("waits_seconds", "Waits.", Kind::Histogram);
        waits.samples.push(times(vec![1, 0, 2], &[250, 1_000_000]));
        let mut visits = Family::new("visits_seconds", "Visits.", Kind::Summary);
        visits.samples.push(times(vec![4], &[]));
        let counted = Family::counter("asked_total", "What\nwas \\ asked.")
            .with(Labels::none(), 12.0)
            .with(labels.and("class", "2xx"), 0.0);
        let gauge = Family::gauge("share_ratio", "A share.").with(Labels::none(), 0.125);
        let empty = Family::gauge("nothing", "Nothing.");
        let expected = "\
# HELP asked_total What\\nwas \\\\ asked.
# TYPE asked_total counter
asked_total 12
asked_total{lb=\"web\",class=\"2xx\"} 0
# HELP share_ratio A share.
# TYPE share_ratio gauge
share_ratio 0.125
# HELP waits_seconds Waits.
# TYPE waits_seconds histogram
waits_seconds_bucket{lb=\"web\",le=\"0.00025\"} 1
waits_seconds_bucket{lb=\"web\",le=\"1\"} 1
waits_seconds_bucket{lb=\"web\",le=\"+Inf\"} 3
waits_seconds_sum{lb=\"web\"} 1.5
waits_seconds_count{lb=\"web\"} 3
# HELP visits_seconds Visits.
# TYPE visits_seconds summary
visits_seconds_sum{lb=\"web\"} 1.5
visits_seconds_count{lb=\"web\"} 4
";
        assert_eq!(encode(&[counted, gauge, waits, visits, empty]), expected);
    }

    #[test]
    fn no_name_that_a_user_gives_ends_a_label_or_a_line() {
        for (name, written) in [
            (r#"a"b"#, r#"x{lb="a\"b"} 1"#),
            (r"a\", r#"x{lb="a\\"} 1"#),
            ("a\nb 2", r#"x{lb="a\nb 2"} 1"#),
            ("größe{}", r#"x{lb="größe{}"} 1"#),
        ] {
            let family = Family::gauge("x", "X.").with(Labels::none().and("lb", name), 1.0);
            let text = encode(&[family]);
            assert_eq!(text.lines().nth(2), Some(written));
        }
    }

    #[test]
    fn numbers_of_any_size_are_written_so_that_they_are_read_as_the_same() {
        for (value, written) in [
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (1e-7, "0.0000001"),
        ] {
            let family = Family::gauge("x", "X.").with(Labels::none(), value);
            assert_eq!(
                encode(&[family]).lines().nth(2),
                Some(&*format!("x {written}"))
            );
        }
    }
}
