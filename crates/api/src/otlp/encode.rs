//! Figures as OpenTelemetry has them: `ExportMetricsServiceRequest` of opentelemetry-proto 1, in binary Protocol Buffers.
//!
//! They have the names and labels that they have for Prometheus, so that one page tells all of them. Counts are
//! cumulative: one that does not arrive is made up for by the next.

use model::Timestamp;

use super::protobuf::Message;
use crate::metrics::{Family, Kind, Labels, Sample, Value};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = 2;
/// Who counts.
const SERVICE: &str = "evenkeel";

/// One request with all families, as they were at `now`, of the installation of this name.
pub(super) fn encode(families: &[Family], installation: &str, now: Timestamp) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let mut request = Message::default();
    request.message(1, |resource_metrics| {
        resource_metrics.message(1, |resource| {
            for (name, value) in [
                ("service.name", SERVICE),
                ("service.version", version),
                ("service.instance.id", installation),
            ] {
                write_attribute(resource, 1, name, value);
            }
        });
        resource_metrics.message(2, |scope_metrics| {
            scope_metrics.message(1, |scope| {
                scope.text(1, SERVICE);
                scope.text(2, version);
            });
            for family in families.iter().filter(|family| !family.samples.is_empty()) {
                scope_metrics.message(2, |metric| write_metric(metric, family, now));
            }
        });
    });
    request.into_bytes()
}

fn write_metric(metric: &mut Message, family: &Family, now: Timestamp) {
    metric.text(1, family.name);
    metric.text(2, family.help);
    metric.text(3, unit(family.name));
    let since = family.since.filter(|_| family.kind != Kind::Gauge);
    let mut points = |field: u32, write: fn(&mut Message, &Sample)| {
        metric.message(field, |data| {
            for sample in &family.samples {
                data.message(1, |point| {
                    if let Some(since) = since {
                        point.fixed(2, nanoseconds(since));
                    }
                    point.fixed(3, nanoseconds(now));
                    write(point, sample);
                });
            }
            if family.kind != Kind::Gauge {
                data.number(2, CUMULATIVE);
            }
            if family.kind == Kind::Counter {
                data.number(3, 1);
            }
        });
    };
    match family.kind {
        Kind::Gauge => points(5, write_number),
        Kind::Counter => points(7, write_number),
        Kind::Histogram | Kind::Summary => points(9, write_times),
    }
}

/// The rest of a `NumberDataPoint`.
fn write_number(point: &mut Message, sample: &Sample) {
    if let Value::Number(value) = sample.value {
        point.double(4, value);
    }
    write_attributes(point, 7, &sample.labels);
}

/// The rest of a `HistogramDataPoint`. What has one part and no bounds is one as well.
fn write_times(point: &mut Message, sample: &Sample) {
    if let Value::Times {
        bounds_us,
        parts,
        sum_us,
    } = &sample.value
    {
        let count = parts.iter().copied().fold(0, u64::saturating_add);
        point.fixed(4, count);
        point.double(5, *sum_us as f64 / 1e6);
        point.packed(6, parts.iter().copied());
        let bounds = bounds_us.iter().map(|us| (*us as f64 / 1e6).to_bits());
        point.packed(7, bounds);
    }
    write_attributes(point, 9, &sample.labels);
}

fn write_attributes(point: &mut Message, field: u32, labels: &Labels) {
    for (name, value) in labels.iter() {
        write_attribute(point, field, name, value);
    }
}

/// A `KeyValue`.
fn write_attribute(message: &mut Message, field: u32, name: &str, value: &str) {
    message.message(field, |pair| {
        pair.text(1, name);
        pair.message(2, |any| any.text(1, value));
    });
}

/// The unit that a name ends with, as UCUM writes it.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "1",
    }
}

fn nanoseconds(at: Timestamp) -> u64 {
    at.0.saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_written_byte_for_byte_as_the_schema_has_it() {
        let family = Family::gauge("g_bytes", "G").with(Labels::none().and("a", "b"), 1.0);
        let bytes = encode(&[family], "i", Timestamp(1));
        let metric = [
            // name, description, unit
            &b"\x0a\x07g_bytes\x12\x01G\x1a\x02By"[..],
            // gauge, its point: time, value, attribute
            b"\x2a\x1e\x0a\x1c\x19\x40\x42\x0f\0\0\0\0\0\x21\0\0\0\0\0\0\xf0\x3f",
            b"\x3a\x08\x0a\x01a\x12\x03\x0a\x01b",
        ]
        .concat();
        let found = bytes.windows(metric.len()).any(|window| window == metric);
        assert!(found, "{bytes:02x?}");
    }

    #[test]
    fn units_follow_from_names() {
        for (name, expected) in [
            ("evenkeel_lb_sent_bytes_total", "By"),
            ("evenkeel_lb_response_duration_seconds", "s"),
            ("evenkeel_vm_cpu_usage_ratio", "1"),
            ("evenkeel_up", "1"),
        ] {
            assert_eq!(unit(name), expected);
        }
    }
}
