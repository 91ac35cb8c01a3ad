//! Which figure a sample's name means, of those that are counted.

use std::net::SocketAddrV4;

use model::figures::{
    ANSWERS_TYPE, ANSWERS_VALUES, BALANCER_PLUGIN, CONNECTIONS, CPU_INSTANCE, CPU_PLUGIN, CPU_TYPE,
    DERIVE_TYPE, FIRST_BYTE, GAUGE_TYPE, LATENCIES_TYPE, WHOLE,
};

use crate::keeper::of_backend;

/// What a sample is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure<'a> {
    /// One of the balancer's counts.
    Count(&'a str),
    /// Answers of a class, by its place among [`ANSWERS_VALUES`].
    Class(usize),
    /// A count of a backend.
    Backend(SocketAddrV4, &'a str),
    /// Latencies since the reading before.
    Latencies(Latencies),
    /// What goes up and down.
    Gauge(Gauge),
}

/// Until when latencies are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Latencies {
    /// Until the answer was whole.
    Whole,
    /// Until it began.
    FirstByte,
}

/// What goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gauge {
    /// Client connections that are open.
    Connections,
    /// Requests that wait for a backend.
    Waiting,
    /// The processors' share in use, in percent.
    Cpu,
    /// Bytes of memory in use.
    Memory,
    /// Requests or sessions under way at a backend.
    Active(SocketAddrV4),
}

impl<'a> Figure<'a> {
    /// The figure of this name, which is collectd's without the host; nothing where it is not counted.
    pub(super) fn of(name: &'a str) -> Option<Self> {
        if let Some((backend, value)) = of_backend(name) {
            let backend = backend.parse().ok()?;
            return Some(match value {
                "active" => Self::Gauge(Gauge::Active(backend)),
                value => Self::Backend(backend, value),
            });
        }
        let (plugin, rest) = name.split_once('/')?;
        match plugin {
            BALANCER_PLUGIN => of_balancer(rest),
            CPU_PLUGIN => {
                let share = instance_of(rest, CPU_TYPE)?;
                (share == CPU_INSTANCE).then_some(Self::Gauge(Gauge::Cpu))
            }
            "memory" => (rest == "memory-used").then_some(Self::Gauge(Gauge::Memory)),
            _ => None,
        }
    }
}

fn of_balancer(rest: &str) -> Option<Figure<'_>> {
    if let Some(count) = instance_of(rest, DERIVE_TYPE) {
        return Some(Figure::Count(count));
    }
    if let Some(class) = rest.strip_prefix(ANSWERS_TYPE) {
        let class = class.strip_prefix('.')?;
        let place = ANSWERS_VALUES.iter().position(|known| *known == class)?;
        return Some(Figure::Class(place));
    }
    if let Some(which) = instance_of(rest, LATENCIES_TYPE) {
        let (which, _list) = which.rsplit_once('-')?;
        return match which {
            WHOLE => Some(Figure::Latencies(Latencies::Whole)),
            FIRST_BYTE => Some(Figure::Latencies(Latencies::FirstByte)),
            _ => None,
        };
    }
    match instance_of(rest, GAUGE_TYPE)? {
        CONNECTIONS => Some(Figure::Gauge(Gauge::Connections)),
        "waiting" => Some(Figure::Gauge(Gauge::Waiting)),
        _ => None,
    }
}

/// The type's instance, where it is of that type.
fn instance_of<'a>(rest: &'a str, kind: &str) -> Option<&'a str> {
    rest.strip_prefix(kind)?.strip_prefix('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_vms_send_are_known_and_others_are_not() {
        let backend = "1.1.1.10:80".parse().unwrap();
        for (name, figure) in [
            ("evenkeel/derive-requests", Some(Figure::Count("requests"))),
            ("evenkeel/evenkeel_answers.2xx", Some(Figure::Class(1))),
            ("evenkeel/evenkeel_answers.6xx", None),
            (
                "evenkeel-1.1.1.10:80/evenkeel_backend.errors",
                Some(Figure::Backend(backend, "errors")),
            ),
            (
                "evenkeel-1.1.1.10:80/evenkeel_backend.active",
                Some(Figure::Gauge(Gauge::Active(backend))),
            ),
            ("evenkeel-nowhere/evenkeel_backend.errors", None),
            (
                "evenkeel/evenkeel_latencies-whole-0",
                Some(Figure::Latencies(Latencies::Whole)),
            ),
            (
                "evenkeel/evenkeel_latencies-first_byte-12",
                Some(Figure::Latencies(Latencies::FirstByte)),
            ),
            (
                "evenkeel/gauge-connections",
                Some(Figure::Gauge(Gauge::Connections)),
            ),
            ("cpu/percent-active", Some(Figure::Gauge(Gauge::Cpu))),
            ("cpu/percent-idle", None),
            ("memory/memory-used", Some(Figure::Gauge(Gauge::Memory))),
            ("memory/memory-free", None),
            ("evenkeel", None),
        ] {
            assert_eq!(Figure::of(name), figure, "{name}");
        }
    }
}
