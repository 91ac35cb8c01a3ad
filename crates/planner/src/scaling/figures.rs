//! The figures that a decision rests on.
//!
//! They are of the VMs that clients are sent to, and of those that leave and still have clients, which the
//! others are about to get. A VM that is set aside is fenced: its clients are with the others, or will be.

use model::{
    InstanceLayout, LoadSight, Metric, MetricReport, Scaling, Timestamp, Verdict, VmId, VmLayout,
};

use crate::Inputs;

/// Figures that are older say nothing.
const STALE_MS: u64 = 10_000;
/// The processor time of a VM that has served for less than this is that of its own start.
const WARM_UP_MS: u64 = 5_000;
/// By so much figures are behind, at the most, when clients have moved.
const LAG_MS: u64 = 5_000;
/// Why a number of VMs was decided without any.
const NO_FIGURES: &str = "no figures";

/// What each metric asks for, and what is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    asks: Vec<Ask>,
    lack: Option<Lack>,
    oldest_ms: u64,
    settling_ms: u64,
}

/// What one metric asks for.
#[derive(Clone, Debug, PartialEq)]
struct Ask {
    metric: Metric,
    target: u32,
    /// Of the means over the newest samples.
    sum: f64,
    /// Of the newest samples alone.
    newest: f64,
    /// VMs whose figures are in the sums.
    vms: u32,
}

/// Why it is not known whether fewer VMs would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// It does not serve yet, or has hardly begun to.
    Starting(VmId),
    /// It serves, and has no fresh figures of this metric.
    Figures(VmId, Metric),
    /// A VM is down, or was found so just now, and its clients are not with the others yet.
    Down,
    /// VMs were added or sent away just now, and clients are on the move.
    Moving,
    /// No VM is there.
    Vms,
}

impl Figures {
    /// Requests over one VM or more, sampled just now.
    #[cfg(test)]
    pub(super) fn requests(sum: f64, target: u32, lack: Option<Lack>) -> Self {
        let (metric, vms) = (Metric::Requests, 1);
        let ask = Ask {
            metric,
            target,
            sum,
            newest: sum,
            vms,
        };
        Self {
            asks: vec![ask],
            lack,
            oldest_ms: 0,
            settling_ms: 10_000,
        }
    }

    #[cfg(test)]
    pub(super) fn set_oldest_ms(&mut self, oldest_ms: u64) {
        self.oldest_ms = oldest_ms;
    }

    /// VMs, in fractions of one, that would each carry the target of the metric that asks for most.
    pub(super) fn need(&self) -> f64 {
        self.most(Ask::need).map_or(0.0, Ask::need)
    }

    /// The same by the newest samples alone, in which a load that rose is seen whole while the means still have what
    /// was before in them.
    pub(super) fn newest_need(&self) -> f64 {
        self.most(Ask::newest_need).map_or(0.0, Ask::newest_need)
    }

    /// What is not known, of an instance whose number of VMs was last changed at `changed`.
    pub(super) fn lack(&self, changed: Option<Timestamp>, now: Timestamp) -> Option<Lack> {
        let is_moving = changed.is_some_and(|at| now.since_ms(at) < self.settling_ms);
        self.lack.or(is_moving.then_some(Lack::Moving))
    }

    /// The age of the oldest of the figures.
    pub(super) fn oldest_ms(&self) -> u64 {
        self.oldest_ms
    }

    /// Whether any VM has figures.
    pub(super) fn is_empty(&self) -> bool {
        self.asks.iter().all(|ask| ask.vms == 0)
    }

    /// What decides, in words: `requests 412/s over 3 VMs, target 150`.
    pub(super) fn cause(&self) -> String {
        let words = |ask: &Ask| ask.words(ask.sum);
        self.most(Ask::need)
            .map_or_else(|| NO_FIGURES.into(), words)
    }

    /// What decides by the newest samples alone.
    pub(super) fn newest_cause(&self) -> String {
        let words = |ask: &Ask| ask.words(ask.newest);
        let most = self.most(Ask::newest_need);
        most.map_or_else(|| NO_FIGURES.into(), words)
    }

    /// What each metric asks for.
    pub(super) fn reports(&self) -> Vec<MetricReport> {
        self.asks.iter().map(Ask::report).collect()
    }

    /// Adds one VM's figures. Of a VM that leaves, none need be there.
    fn add(&mut self, id: VmId, vm: &VmLayout, fresh: Option<&LoadSight>, is_warming: bool) {
        let age_ms = fresh.map_or(0, |load| load.age_ms);
        self.oldest_ms = self.oldest_ms.max(age_ms);
        for ask in &mut self.asks {
            if ask.metric == Metric::Cpu && is_warming {
                continue;
            }
            match fresh.and_then(|load| figures(load, ask.metric)) {
                Some((mean, newest)) => {
                    ask.sum += mean;
                    ask.newest += newest;
                    ask.vms = ask.vms.saturating_add(1);
                }
                None if vm.is_crew() => self.lack = Some(Lack::Figures(id, ask.metric)),
                None => {}
            }
        }
    }

    /// Of metrics that ask for the same, the first counts.
    fn most(&self, need: impl Fn(&Ask) -> f64) -> Option<&Ask> {
        let counted = self.asks.iter().filter(|ask| ask.vms > 0);
        counted.reduce(|most, ask| match need(ask) > need(most) {
            true => ask,
            false => most,
        })
    }
}

impl Ask {
    fn need(&self) -> f64 {
        self.sum / f64::from(self.target.max(1))
    }

    fn newest_need(&self) -> f64 {
        self.newest / f64::from(self.target.max(1))
    }

    fn words(&self, sum: f64) -> String {
        let vms = match self.vms {
            1 => "1 VM".into(),
            vms => format!("{vms} VMs"),
        };
        let (sum, target) = (sum.round(), self.target);
        match self.metric {
            Metric::Cpu => format!("cpu {sum} % over {vms}, target {target} %"),
            Metric::Connections => format!("connections {sum} over {vms}, target {target}"),
            Metric::Requests => format!("requests {sum}/s over {vms}, target {target}"),
        }
    }

    fn report(&self) -> MetricReport {
        let known = self.vms > 0;
        MetricReport {
            metric: self.metric,
            target: self.target,
            sum: known.then(|| (self.sum * 10.0).round() / 10.0),
            vms: self.vms,
            asks_for: known.then(|| super::asked_vms(self.need())),
        }
    }
}

/// Adds up the figures of an instance's VMs.
pub(super) fn read_figures(
    inputs: Inputs<'_>,
    scaling: &Scaling,
    standing: &InstanceLayout,
) -> Figures {
    let mut figures = Figures {
        asks: asks(scaling),
        lack: lack_of_vms(inputs, standing),
        oldest_ms: 0,
        settling_ms: settling_ms(inputs),
    };
    for (id, vm) in &standing.vms {
        let is_warming = is_new(inputs, vm, WARM_UP_MS);
        let is_new = is_new(inputs, vm, settling_ms(inputs));
        if vm.is_crew() && (vm.verdict == Verdict::Starting || is_new) {
            figures.lack = Some(Lack::Starting(*id));
        }
        if has_clients(vm) {
            let fresh = inputs.observed.load.get(id).filter(is_fresh);
            figures.add(*id, vm, fresh, is_warming);
        }
    }
    figures
}

/// The metrics that have a target.
fn asks(scaling: &Scaling) -> Vec<Ask> {
    let targets = [
        (Metric::Cpu, Some(u32::from(scaling.target_cpu))),
        (Metric::Connections, scaling.target_connections),
        (Metric::Requests, scaling.target_requests),
    ];
    let ask = |(metric, target): (Metric, Option<u32>)| {
        target.map(|target| Ask {
            metric,
            target,
            sum: 0.0,
            newest: 0.0,
            vms: 0,
        })
    };
    targets.into_iter().filter_map(ask).collect()
}

/// Whether there are VMs, and each has its own clients and no other's.
fn lack_of_vms(inputs: Inputs<'_>, standing: &InstanceLayout) -> Option<Lack> {
    let is_recent = |since| inputs.now.since_ms(since) < settling_ms(inputs);
    let asides = standing.vms.values().filter_map(|vm| vm.aside.as_ref());
    let mut downs = asides
        .map(|aside| aside.since)
        .chain(standing.downs.last().copied());
    let mut crew = standing.vms.values().filter(|vm| vm.is_crew()).peekable();
    match crew.peek() {
        None => Some(Lack::Vms),
        Some(_) if downs.any(is_recent) => Some(Lack::Down),
        Some(_) => crew
            .any(|vm| vm.verdict == Verdict::Down)
            .then_some(Lack::Down),
    }
}

/// Whether clients are sent to a VM, or were and may be there still.
fn has_clients(vm: &VmLayout) -> bool {
    let is_up = matches!(vm.verdict, Verdict::Serving | Verdict::Suspect);
    is_up && vm.aside.is_none()
}

/// Whether a young VM began to serve less than a span ago. Its age says that this was the first time.
fn is_new(inputs: Inputs<'_>, vm: &VmLayout, span_ms: u64) -> bool {
    let boot_ms = inputs.settings.windows.boot_ms;
    // A time that lies ahead was written before the clock was set back, and tells nothing.
    let within = |since, span_ms| since <= inputs.now && inputs.now.since_ms(since) < span_ms;
    vm.verdict == Verdict::Serving
        && within(vm.since, span_ms)
        && within(vm.created_at, boot_ms.saturating_add(span_ms))
}

/// The time after which clients have found the VMs that are there, and figures tell of it.
fn settling_ms(inputs: Inputs<'_>) -> u64 {
    inputs.settings.windows.ttl_ms.saturating_add(LAG_MS)
}

fn is_fresh(load: &&LoadSight) -> bool {
    load.age_ms <= STALE_MS
}

/// A figure's mean and its newest sample, which is the mean where it is not told apart. What is no number, or below
/// zero, counts as not reported.
fn figures(load: &LoadSight, metric: Metric) -> Option<(f64, f64)> {
    let newest = &load.newest;
    let (mean, newest) = match metric {
        Metric::Cpu => (load.cpu_percent, newest.cpu_percent),
        Metric::Connections => (load.connections, newest.connections),
        Metric::Requests => (load.requests_per_second, newest.requests_per_second),
    };
    let bounded = |figure: f64| match metric {
        Metric::Cpu => figure.min(100.0),
        Metric::Connections | Metric::Requests => figure,
    };
    let known = |figure: Option<f64>| figure.filter(|figure| figure.is_finite() && *figure >= 0.0);
    let mean = bounded(known(mean)?);
    Some((mean, known(newest).map_or(mean, bounded)))
}
