//! What VMs send by collectd's protocol: taken from whom it should come, in its time, and no more than is kept.
//!
//! ```text
//!  packet ─▶ whose address? ─▶ not too many ─▶ encrypted by that VM ─▶ in its own name ─▶ new ─▶ series ─▶ load
//!               or refused, at the first of these that does not hold, and counted
//! ```
//!
//! Nothing here waits or opens a socket. A sender that is not among the VMs costs one look-up; one that is may
//! cost what it is allowed to send in a second. All that is kept of one VM has a bound, whatever it sends.

pub(crate) mod clock;
pub(crate) mod kept;
mod keys;
pub(crate) mod reading;
pub(crate) mod series;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use collectd::{Protection, ReadError, SealError, Time, Value, ValueList, open, read};
use model::figures::{
    BALANCER_PLUGIN, CONNECTIONS, CPU_INSTANCE, CPU_PLUGIN, CPU_TYPE, DERIVE_TYPE, GAUGE_TYPE,
    REQUESTS, collectd_host,
};
use model::{LoadSample, LoadSight, VmId};

use ::series::Reading;
use clock::{Last, VmClock, WallClock, is_news};
use kept::Kept;
use reading::{identifier, measured, sample};
use series::{Recent, Series};

pub use clock::Moment;
pub use keys::VmKeys;

/// Figures that are kept of one VM; each value of a list is one. Some 30 are the machine's, 22 the balancer's, 6 of each
/// of 32 backends, and two or three lists of latencies of 28 that there can be of each kind. Those of backends that are
/// gone make room for others.
pub(crate) const MOST_SERIES: usize = 512;
/// Packets that one VM may send in a second.
const MOST_PACKETS: u32 = 50;
/// A VM of which nothing new has come for this long has no load: nobody knows.
const STALE: Duration = Duration::from_secs(10);
/// A figure that is older than the VM's newest by this much is not told with the others.
const BEHIND: Duration = Duration::from_secs(5);

/// The word for packets that the kernel dropped before anybody could read them.
pub(crate) const UNREAD: &str = "unread";

/// Why a packet, or what is in it, was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It came from an address that no VM has.
    #[error("no VM has the address that it came from")]
    Stranger,
    /// Its sender sends too much.
    #[error("VM {0} sends more than {MOST_PACKETS} packets in a second")]
    Flood(VmId),
    /// It was not encrypted, so anybody can have made it.
    #[error("VM {0} does not encrypt what it sends")]
    Plain(VmId),
    /// It was not made with the VM's key, or was altered.
    #[error("what came from VM {0} is not believed: {1}")]
    Sealed(VmId, SealError),
    /// What is in it is malformed.
    #[error("what VM {0} sent cannot be read: {1}")]
    Malformed(VmId, ReadError),
    /// It tells figures of another host.
    #[error("VM {0} tells figures of another host")]
    Misnamed(VmId),
    /// All that is in it was taken before, or is of another time.
    #[error("VM {0} sent nothing new: what it tells was told before, or its clock is minutes off")]
    Stale(VmId),
    /// There was no room for any, or for some, of its figures.
    #[error("VM {0} tells more than {MOST_SERIES} figures")]
    Crowded(VmId),
}

impl Refusal {
    /// All words of [`Self::kind`], and before them the one for packets that were never read.
    pub const KINDS: [&'static str; 9] = [
        UNREAD,
        "stranger",
        "flood",
        "plain",
        "sealed",
        "malformed",
        "misnamed",
        "stale",
        "crowded",
    ];

    /// One word for each kind, by which they are counted.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Flood(_) => "flood",
            Self::Plain(_) => "plain",
            Self::Sealed(..) => "sealed",
            Self::Malformed(..) => "malformed",
            Self::Misnamed(_) => "misnamed",
            Self::Stale(_) => "stale",
            Self::Crowded(_) => "crowded",
        }
    }
}

/// What was taken of a packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Of which VM.
    pub vm: VmId,
    /// What was new in it.
    pub samples: Vec<Sample>,
    /// Those of its lists of which something was, as they came.
    pub lists: Vec<ValueList>,
}

/// One figure at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What is measured: collectd's identifier without the host, and which value of a list that has several.
    pub name: String,
    /// When, since the Unix epoch, by the VM's clock.
    pub time: Duration,
    /// How much.
    pub reading: Reading,
}

/// Everything that was taken of late, by VM.
pub struct Intake {
    keys: VmKeys,
    wall: WallClock,
    vms: BTreeMap<Ipv4Addr, Sender>,
    refused: BTreeMap<&'static str, u64>,
}

/// One VM as it sends.
struct Sender {
    vm: VmId,
    name: String,
    password: String,
    second: u64,
    packets: u32,
    clock: Option<VmClock>,
    /// When the newest of what was taken came, by the monotonic clock.
    heard: Option<Duration>,
    /// The newest time that was told.
    newest: Time,
    series: Kept<(String, usize), Series>,
}

impl Intake {
    /// Takes nothing before it knows from whom ([`Self::set_senders`]).
    #[must_use]
    pub fn new(keys: VmKeys) -> Self {
        Self {
            keys,
            wall: WallClock::default(),
            vms: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Takes figures from these VMs and no others. Of those that stay, what was taken stays.
    pub fn set_senders(&mut self, senders: &BTreeMap<VmId, Ipv4Addr>) {
        self.vms
            .retain(|address, sender| senders.get(&sender.vm) == Some(address));
        for (vm, address) in senders {
            let keys = &self.keys;
            self.vms
                .entry(*address)
                .or_insert_with(|| Sender::new(*vm, keys.of(*vm)));
        }
    }

    /// Takes a packet that came from an address, and returns what was new in it.
    ///
    /// # Errors
    /// Why it was not taken; it is counted as well. A packet is taken in part when some of it is not new, or
    /// more than is kept: the one is told only when nothing of it was taken, the other is counted in any case.
    pub fn take(&mut self, packet: &[u8], from: Ipv4Addr, now: Moment) -> Result<Taken, Refusal> {
        let times_set = self.wall.look(now);
        let sender = self.vms.get_mut(&from).ok_or(Refusal::Stranger);
        let taken = sender.and_then(|sender| sender.take(packet, now, times_set));
        let (taken, refusal) = match taken {
            Ok((taken, refusal)) => (Ok(taken), refusal),
            Err(refusal) => (Err(refusal.clone()), Some(refusal)),
        };
        if let Some(refusal) = refusal {
            let count = self.refused.entry(refusal.kind()).or_default();
            *count = count.saturating_add(1);
        }
        taken
    }

    /// Takes over how many packets were dropped in all before they could be read.
    pub fn set_unread(&mut self, packets: u64) {
        if packets > 0 {
            self.refused.insert(UNREAD, packets);
        }
    }

    /// How many packets were refused, whole or for want of room in part, by one of [`Refusal::KINDS`].
    #[must_use]
    pub fn refused(&self) -> &BTreeMap<&'static str, u64> {
        &self.refused
    }

    /// What each VM has to do, of which something was heard in the last seconds.
    #[must_use]
    pub fn load(&self, now: Moment) -> BTreeMap<VmId, LoadSight> {
        let loads = self.vms.values();
        loads
            .filter_map(|sender| Some((sender.vm, sender.load(now)?)))
            .collect()
    }
}

impl Sender {
    fn new(vm: VmId, password: String) -> Self {
        Self {
            vm,
            name: collectd_host(vm),
            password,
            second: 0,
            packets: 0,
            clock: None,
            heard: None,
            newest: Time(0),
            series: Kept::default(),
        }
    }

    /// What was new, and why some of it was refused that was to be kept.
    fn take(
        &mut self,
        packet: &[u8],
        now: Moment,
        times_set: u32,
    ) -> Result<(Taken, Option<Refusal>), Refusal> {
        let vm = self.vm;
        if !self.may_send(now) {
            return Err(Refusal::Flood(vm));
        }
        let password = |user: &str| (user == self.name).then_some(self.password.as_bytes());
        let opened = open(packet, password).map_err(|error| Refusal::Sealed(vm, error))?;
        if opened.protection != Protection::Encrypted {
            return Err(Refusal::Plain(vm));
        }
        let lists = read(&opened.parts).map_err(|error| Refusal::Malformed(vm, error))?;
        if lists.iter().any(|list| list.host != self.name) {
            return Err(Refusal::Misnamed(vm));
        }
        // Against what was known before this packet: its own lists come in no order of time.
        let clock = self.clock;
        let (mut samples, mut taken, mut refusal) = (Vec::new(), Vec::new(), None);
        for list in lists {
            let mut is_taken = false;
            for (index, value) in measured(&list) {
                match self.keep(&list, index, value, clock, now, times_set) {
                    Ok(()) => {
                        is_taken = true;
                        samples.extend(sample(&list, index, value));
                    }
                    // Of two reasons, that there is no room for more.
                    Err(Refusal::Stale(_)) if refusal.is_some() => {}
                    Err(why) => refusal = Some(why),
                }
            }
            taken.extend(is_taken.then_some(list));
        }
        let lists = taken;
        match refusal {
            Some(refusal) if samples.is_empty() => Err(refusal),
            partly => {
                let crowded = partly.filter(|why| *why == Refusal::Crowded(vm));
                Ok((Taken { vm, samples, lists }, crowded))
            }
        }
    }

    /// Whether this packet is not one too many in its second.
    fn may_send(&mut self, now: Moment) -> bool {
        let second = now.monotonic.as_secs();
        if second != self.second {
            (self.second, self.packets) = (second, 0);
        }
        self.packets = self.packets.saturating_add(1);
        self.packets <= MOST_PACKETS
    }

    fn keep(
        &mut self,
        list: &ValueList,
        index: usize,
        value: Value,
        clock: Option<VmClock>,
        now: Moment,
        times_set: u32,
    ) -> Result<(), Refusal> {
        let key = (identifier(list), index);
        let last = self.series.get(&key).and_then(Series::last);
        if !is_news(list.time, last, clock, now, times_set) {
            return Err(Refusal::Stale(self.vm));
        }
        if self.series.get(&key).is_none() && !self.has_room(now.monotonic) {
            return Err(Refusal::Crowded(self.vm));
        }
        let time = list.time;
        self.series
            .hear(key, now.monotonic)
            .add(Last { time, times_set }, value, now.monotonic);
        self.heard = Some(now.monotonic);
        let is_set_back = last.is_some_and(|last| last.time >= time);
        if time > self.newest || is_set_back {
            self.newest = time;
            self.clock = Some(VmClock::at(time, now));
        }
        Ok(())
    }

    /// Whether one more figure can be kept, in the place of some that are not told any more if need be.
    fn has_room(&mut self, now: Duration) -> bool {
        self.series.len() < MOST_SERIES || self.series.forget_silent(now)
    }

    fn load(&self, now: Moment) -> Option<LoadSight> {
        let age = now.monotonic.saturating_sub(self.heard?);
        if age > STALE {
            return None;
        }
        let oldest = self.newest.to_duration().saturating_sub(BEHIND);
        let oldest = Time::from_duration(oldest);
        let recent = |plugin: &str, kind: &str, instance: &str| {
            let identifier = format!("{plugin}/{kind}-{instance}");
            self.series.get(&(identifier, 0))?.recent(oldest)
        };
        let cpu = recent(CPU_PLUGIN, CPU_TYPE, CPU_INSTANCE);
        let connections = recent(BALANCER_PLUGIN, GAUGE_TYPE, CONNECTIONS);
        let requests = recent(BALANCER_PLUGIN, DERIVE_TYPE, REQUESTS);
        let told = [cpu, connections, requests].into_iter().flatten();
        let heard = told.map(|figure| figure.heard).min()?;
        let age = now.monotonic.saturating_sub(heard);
        let mean = |figure: Option<Recent>| figure.map(|figure| to_tenths(figure.mean));
        let newest = |figure: Option<Recent>| figure.map(|figure| to_tenths(figure.newest));
        Some(LoadSight {
            cpu_percent: mean(cpu),
            connections: mean(connections),
            requests_per_second: mean(requests),
            newest: LoadSample {
                cpu_percent: newest(cpu),
                connections: newest(connections),
                requests_per_second: newest(requests),
            },
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

fn to_tenths(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests;
