//! What was counted of everything since the monitor began: what `/metrics` tells.
//!
//! ```text
//!  taken ─▶ by how much did each count rise? ─▶ sum of its instance     gauges: the newest of each VM
//! ```
//!
//! A VM's counts begin anew with its balancer, and end with the VM. Were they told as they are, what a VM did before it
//! was first asked for, and after it was asked for the last time, would be lost to whoever adds up rises, as Prometheus
//! does. So the rises are added up here, where every second is seen. Of a VM that was there before this monitor, the
//! first reading is where it begins: its past was told by the monitor before.
//!
//! Nothing is read from the monitor log, so that this costs the same however much is kept, and works without a log.

mod figure;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::{
    InstanceCounts, InstanceId, IntakeCounts, LatencyTotal, MAX_BACKENDS, Newest, Timestamp,
    VmGauges, VmId,
};
use series::{Histogram, Reading};

use crate::intake::MOST_SERIES;
use crate::intake::kept::SILENCE;
use crate::{Sample, Taken};
use figure::{Figure, Gauge, Latencies};

/// What goes up and down is not told when it is older than this.
const STALE: Duration = Duration::from_secs(10);

/// No gauge is larger, and none is below zero: what one VM says must not make a sum of what others say that is no
/// number.
const LARGEST: f64 = 1e15;

/// Counts what is taken. Its copies are one.
#[derive(Clone, Default)]
pub struct Tally {
    counted: Arc<Mutex<Counted>>,
}

#[derive(Default)]
struct Counted {
    /// Whether VMs that are new are new to the world, and not only to this monitor.
    began: bool,
    /// Of this only what is counted here.
    intake: IntakeCounts,
    vms: BTreeMap<VmId, Vm>,
    instances: BTreeMap<InstanceId, Instance>,
}

/// What is known of one VM. The intake takes a bounded number of figures of each at a time, and others later on.
struct Vm {
    instance: InstanceId,
    /// Whether the first reading of a count is where it begins, and no rise.
    is_inherited: bool,
    last: BTreeMap<String, (Instant, u64)>,
    gauges: BTreeMap<Gauge, (Instant, f64)>,
}

#[derive(Default)]
struct Instance {
    counts: InstanceCounts,
    /// When each backend was last heard of.
    heard: BTreeMap<SocketAddrV4, Instant>,
}

impl Tally {
    /// Counts from a time on.
    #[must_use]
    pub fn beginning(at: Timestamp) -> Self {
        let tally = Self::default();
        tally.lock().intake.began_at = Some(at);
        tally
    }

    /// Counts for these instances, each with the VMs that it has. The first that are told are not new.
    pub fn set_instances(&self, current: &BTreeMap<InstanceId, Vec<VmId>>) {
        let mut counted = self.lock();
        let is_inherited = !std::mem::replace(&mut counted.began, true);
        let Counted { vms, instances, .. } = &mut *counted;
        instances.retain(|id, _| current.contains_key(id));
        let mut known = std::mem::take(vms);
        for (id, of) in current {
            instances.entry(*id).or_default();
            for vm in of {
                let state = known.remove(vm);
                let state = state.unwrap_or_else(|| Vm::new(*id, is_inherited));
                vms.insert(*vm, state);
            }
        }
    }

    /// Counts what was taken at a time.
    pub fn take(&self, taken: &Taken, at: Instant) {
        self.lock().take(taken, at);
    }

    /// Takes over how many packets of VMs were refused in all, by reason.
    pub fn set_refused(&self, refused: &BTreeMap<&'static str, u64>) {
        self.lock().intake.refused_packets = named(refused);
    }

    /// Takes over how many packets of backends' hosts were refused in all, by reason.
    pub fn set_refused_of_hosts(&self, refused: &BTreeMap<&'static str, u64>) {
        self.lock().intake.refused_host_packets = named(refused);
    }

    /// Takes over how many figures of backends' hosts were left out in all.
    pub fn set_unused_of_hosts(&self, figures: u64) {
        self.lock().intake.unused_host_figures = figures;
    }

    /// Counts packets that were sent on to a user's own collectd, and those that were not.
    pub fn note_forwarded(&self, sent: u64, unsent: u64) {
        let intake = &mut self.lock().intake;
        intake.forwarded_packets = intake.forwarded_packets.saturating_add(sent);
        intake.unforwarded_packets = intake.unforwarded_packets.saturating_add(unsent);
    }

    /// Counts lines of access logs that were lost on their way to a syslog server.
    pub fn note_syslog_dropped(&self, lines: u64) {
        let intake = &mut self.lock().intake;
        intake.dropped_syslog_lines = intake.dropped_syslog_lines.saturating_add(lines);
    }

    /// Counts lines of an instance's access log: those that were kept, and those that its VMs dropped or that could not be
    /// written.
    pub fn note_log(&self, instance: InstanceId, records: u64, dropped: u64) {
        if let Some(known) = self.lock().instances.get_mut(&instance) {
            let counts = &mut known.counts;
            counts.log_records = counts.log_records.saturating_add(records);
            counts.log_dropped = counts.log_dropped.saturating_add(dropped);
        }
    }

    /// All of it. What else is told of the intake, whoever keeps the log knows.
    #[must_use]
    pub fn newest(&self, now: Instant) -> Newest {
        let counted = self.lock();
        let instances = counted.instances.iter();
        let mut newest = Newest {
            intake: counted.intake.clone(),
            instances: instances
                .map(|(id, known)| (*id, known.counts.clone()))
                .collect(),
            vms: BTreeMap::new(),
        };
        for (id, vm) in &counted.vms {
            vm.tell(*id, now, &mut newest);
        }
        newest
    }

    /// What is behind it is whole after each step.
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts by reason, in words of their own.
fn named(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    let counts = counts.iter();
    counts
        .map(|(reason, count)| ((*reason).to_owned(), *count))
        .collect()
}

impl Counted {
    fn take(&mut self, taken: &Taken, at: Instant) {
        let samples = taken.samples.len() as u64;
        self.intake.samples = self.intake.samples.saturating_add(samples);
        let Some(vm) = self.vms.get_mut(&taken.vm) else {
            return;
        };
        let Some(instance) = self.instances.get_mut(&vm.instance) else {
            return;
        };
        for sample in &taken.samples {
            let Some(figure) = Figure::of(&sample.name) else {
                continue;
            };
            match (&sample.reading, figure) {
                (Reading::Gauge(value), Figure::Gauge(gauge)) if !value.is_nan() => {
                    vm.show(gauge, at, value.clamp(0.0, LARGEST));
                }
                (Reading::Latencies(latencies), Figure::Latencies(which)) => {
                    instance.add(which, latencies);
                }
                (Reading::Count(count), figure) => {
                    let rise = vm.rise(sample, *count, at);
                    instance.rise(figure, rise, at);
                }
                _ => {}
            }
        }
    }
}

impl Vm {
    fn new(instance: InstanceId, is_inherited: bool) -> Self {
        Self {
            instance,
            is_inherited,
            last: BTreeMap::new(),
            gauges: BTreeMap::new(),
        }
    }

    /// By how much a count rose. One that is less than before began anew.
    fn rise(&mut self, sample: &Sample, count: u64, at: Instant) -> u64 {
        if let Some(last) = self.last.get_mut(&sample.name) {
            let (_, before) = std::mem::replace(last, (at, count));
            return count.checked_sub(before).unwrap_or(count);
        }
        if self.last.len() >= MOST_SERIES {
            let before = self.last.len();
            self.last
                .retain(|_, (heard, _)| at.saturating_duration_since(*heard) < SILENCE);
            // What is new from now on may be what was forgotten: counted once more, it would be counted twice.
            self.is_inherited |= self.last.len() < before;
        }
        if self.last.len() >= MOST_SERIES {
            return 0;
        }
        self.last.insert(sample.name.clone(), (at, count));
        if self.is_inherited { 0 } else { count }
    }

    /// Takes note of what goes up and down. What would not be told any more makes room.
    fn show(&mut self, gauge: Gauge, at: Instant, value: f64) {
        if self.gauges.len() >= MOST_SERIES {
            self.gauges
                .retain(|_, (heard, _)| at.saturating_duration_since(*heard) <= STALE);
        }
        self.gauges.insert(gauge, (at, value));
    }

    fn tell(&self, id: VmId, now: Instant, newest: &mut Newest) {
        let mut told = VmGauges::default();
        for (gauge, (at, value)) in &self.gauges {
            if now.saturating_duration_since(*at) > STALE {
                continue;
            }
            let place = match gauge {
                Gauge::Connections => &mut told.connections,
                Gauge::Waiting => &mut told.waiting,
                Gauge::Cpu => &mut told.cpu_percent,
                Gauge::Memory => &mut told.memory_bytes,
                Gauge::Active(backend) => {
                    let instance = newest.instances.get_mut(&self.instance);
                    let known = instance.and_then(|known| known.backends.get_mut(backend));
                    if let Some(known) = known {
                        known.active += value;
                    }
                    continue;
                }
            };
            *place = Some(*value);
        }
        if told != VmGauges::default() {
            newest.vms.insert(id, told);
        }
    }
}

impl Instance {
    fn rise(&mut self, figure: Figure<'_>, rise: u64, at: Instant) {
        let counts = &mut self.counts;
        let count = match figure {
            Figure::Count(name) => counts.counts.named(name),
            Figure::Class(class) => counts.answers.get_mut(class),
            Figure::Backend(backend, name) => {
                self.make_room(backend);
                self.heard.insert(backend, at);
                let known = self.counts.backends.entry(backend).or_default();
                known.named(name)
            }
            Figure::Gauge(_) | Figure::Latencies(_) => None,
        };
        if let Some(count) = count {
            *count = count.saturating_add(rise);
        }
    }

    fn add(&mut self, which: Latencies, latencies: &Histogram) {
        let total: &mut LatencyTotal = match which {
            Latencies::Whole => &mut self.counts.whole,
            Latencies::FirstByte => &mut self.counts.first_byte,
        };
        latencies
            .lengths()
            .for_each(|(us, times)| total.add(us, times));
        total.sum_us = total.sum_us.saturating_add(latencies.sum());
    }

    /// Forgets the backend that was not heard of for longest, where a new one would be one too many.
    fn make_room(&mut self, backend: SocketAddrV4) {
        if self.heard.contains_key(&backend) || self.heard.len() < MAX_BACKENDS {
            return;
        }
        let oldest = self.heard.iter().min_by_key(|(_, at)| **at);
        if let Some((oldest, _)) = oldest.map(|(oldest, at)| (*oldest, *at)) {
            self.heard.remove(&oldest);
            self.counts.backends.remove(&oldest);
        }
    }
}
