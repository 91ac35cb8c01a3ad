//! What users' own collectd tells of the hosts that their backends are on.
//!
//! ```text
//!  packet ─▶ not too many ─▶ protected as it must be ─▶ whose project? ─▶ which backend? ─▶ not too many of it
//!     ─▶ one host ─▶ known ─▶ new ─▶ series
//!               or refused, at the first of these that does not hold, and counted; what is not known is left out, and
//!               counted as well
//! ```
//!
//! Addresses of backends are a project's own: two projects may have the same. So whoever signs or encrypts does it as
//! his project, and is taken for the backend whose address his host name is, or else for the one that he sends from.
//! Who does neither has nothing but the address that he sends from, and that must be a backend's in one project alone.
//!
//! Figures of a host decide nothing: they are kept and told. Nothing here waits or opens a socket.

mod known;
mod placing;
mod senders;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use collectd::{Opened, Protection, ReadError, SealError, Value, ValueList, open, read};
use model::ProjectId;
use series::Reading;

use crate::intake::UNREAD;
use crate::intake::clock::{Last, WallClock, is_news};
use crate::intake::kept::Kept;
use crate::intake::reading::{identifier, measured, name};
use crate::intake::series::rate;
use crate::{Moment, Sample};
use placing::Placing;
use senders::{MOST_OPENED, Senders};

/// Figures that are kept of one backend's host.
const MOST_OF_HOST: usize = 128;
/// Packets that are taken of one host in a second.
const MOST_PACKETS: u32 = 50;
/// A host that has called itself so is not believed another name before this has passed: two daemons at one address
/// would be taken for one whose figures jump.
const NAME_REST: Duration = Duration::from_secs(60);
/// The first reading of a figure is not taken if it is of this long before the monitor began, or longer: it may have been
/// taken then, and repeated by somebody since. For hosts' clocks are behind by so much.
const BEFORE_BEGINNING: Duration = Duration::from_secs(2);

/// Who may send, and how what he sends must be protected.
#[derive(Clone)]
pub struct HostRules {
    /// What is protected less is refused.
    pub least: Protection,
    /// The password of each user. A user is a project, by its label.
    pub passwords: BTreeMap<String, Vec<u8>>,
    /// Figures that are kept of all hosts of one project, so that they leave the log to its VMs.
    pub most_of_project: usize,
}

/// A project, as far as its hosts are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostProject {
    /// Its label, as which its hosts sign and encrypt.
    pub label: String,
    /// Where its backends are.
    pub backends: BTreeSet<Ipv4Addr>,
}

/// Why a packet, or what is in it, was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostRefusal {
    /// It was not made with its user's password, or was altered, or nobody has this name.
    #[error("it is not believed: {0}")]
    Sealed(SealError),
    /// It is protected less than it must be.
    #[error("it is not protected as it must be")]
    Plain,
    /// What is in it is malformed.
    #[error("it cannot be read: {0}")]
    Malformed(ReadError),
    /// It is of no backend.
    #[error("it is of no backend of a project that it may speak for")]
    Stranger,
    /// Several projects have a backend at the address that it came from, and nothing says whose it is.
    #[error("several projects have a backend at its address: sign it as one of them")]
    Ambiguous,
    /// Another host told figures from there a moment ago.
    #[error("another host tells figures of this backend")]
    Misnamed,
    /// Its sender sends too much.
    #[error(
        "its host sends more than {MOST_PACKETS} packets in a second, or its address more than {MOST_OPENED}"
    )]
    Flood,
    /// All that is in it was taken before, or is of another time, or is of before the monitor began.
    #[error("nothing in it is new, or its host's clock is off")]
    Stale,
    /// All, or some, of its figures came too late, while later ones of the same came with them.
    #[error("it tells some of what was measured too late")]
    Late,
    /// There was no room for any, or for some, of its figures.
    #[error("its host, or its project, tells too many figures")]
    Crowded,
}

impl HostRefusal {
    /// All words of [`Self::kind`], and before them the one for packets that were never read.
    pub const KINDS: [&'static str; 11] = [
        UNREAD,
        "sealed",
        "plain",
        "malformed",
        "stranger",
        "ambiguous",
        "misnamed",
        "flood",
        "stale",
        "late",
        "crowded",
    ];

    /// One word for each kind, by which they are counted.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sealed(_) => "sealed",
            Self::Plain => "plain",
            Self::Malformed(_) => "malformed",
            Self::Stranger => "stranger",
            Self::Ambiguous => "ambiguous",
            Self::Misnamed => "misnamed",
            Self::Flood => "flood",
            Self::Stale => "stale",
            Self::Late => "late",
            Self::Crowded => "crowded",
        }
    }
}

/// What was taken of one backend's host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTaken {
    /// Whose backend.
    pub project: ProjectId,
    /// Where it is.
    pub address: Ipv4Addr,
    /// What was new. Counts are told as their rise in a second, for hosts do not tell each second.
    pub samples: Vec<Sample>,
}

/// Takes what hosts send.
pub struct HostIntake {
    rules: HostRules,
    wall: WallClock,
    /// When it began, by the monotonic clock.
    began: Duration,
    senders: Senders,
    projects: BTreeMap<ProjectId, Project>,
    refused: BTreeMap<&'static str, u64>,
    unused: u64,
}

/// When a packet came.
#[derive(Clone, Copy)]
struct Arrival {
    now: Moment,
    /// How often the wall clock had been set.
    times_set: u32,
    /// Before this time nothing is taken of which nothing later is known.
    since: Duration,
}

struct Project {
    label: String,
    hosts: BTreeMap<Ipv4Addr, Host>,
}

/// One backend's host as it sends.
#[derive(Default)]
struct Host {
    name: String,
    /// When it was last heard, by the monotonic clock.
    heard: Duration,
    second: u64,
    packets: u32,
    /// What was read last of each figure.
    series: Kept<(String, usize), Option<(Last, Value)>>,
}

impl HostIntake {
    /// Takes nothing before it knows which backends there are ([`Self::set_projects`]), and nothing that is of a time
    /// before the monitor began, which is told by the monotonic clock.
    #[must_use]
    pub fn new(rules: HostRules, began: Duration) -> Self {
        Self {
            rules,
            wall: WallClock::default(),
            began,
            senders: Senders::new(),
            projects: BTreeMap::new(),
            refused: BTreeMap::new(),
            unused: 0,
        }
    }

    /// Goes by other rules from now on.
    pub fn set_rules(&mut self, rules: HostRules) {
        self.rules = rules;
    }

    /// Takes figures of these projects' backends and no others. Of those that stay, what was taken stays.
    pub fn set_projects(&mut self, projects: &BTreeMap<ProjectId, HostProject>) {
        let mut known = std::mem::take(&mut self.projects);
        for (id, project) in projects {
            let hosts = known.remove(id).map_or_else(BTreeMap::new, |of| of.hosts);
            let mut hosts: BTreeMap<_, _> = hosts
                .into_iter()
                .filter(|(address, _)| project.backends.contains(address))
                .collect();
            for address in &project.backends {
                hosts.entry(*address).or_default();
            }
            let label = project.label.clone();
            self.projects.insert(*id, Project { label, hosts });
        }
    }

    /// Takes over how many packets were dropped in all before they could be read.
    pub fn set_unread(&mut self, packets: u64) {
        if packets > 0 {
            self.refused.insert(UNREAD, packets);
        }
    }

    /// How many packets were refused, whole or, for want of room or since it was late, in part, by
    /// one of [`HostRefusal::KINDS`].
    #[must_use]
    pub fn refused(&self) -> &BTreeMap<&'static str, u64> {
        &self.refused
    }

    /// How many figures were left out, since nothing is told of them here.
    #[must_use]
    pub fn unused(&self) -> u64 {
        self.unused
    }

    /// Takes a packet that came from an address, and returns what was new in it, by backend.
    ///
    /// # Errors
    /// Why it was not taken; it is counted as well. A packet is taken in part when some of it is not new, is late, or
    /// is more than is kept: the first is told only when nothing of it was taken, the others are counted in any case.
    pub fn take(
        &mut self,
        packet: &[u8],
        from: Ipv4Addr,
        now: Moment,
    ) -> Result<Vec<HostTaken>, HostRefusal> {
        let (taken, refusal) = match self.weigh(packet, from, now) {
            Ok((taken, refusal)) => (Ok(taken), refusal),
            Err(refusal) => (Err(refusal.clone()), Some(refusal)),
        };
        if let Some(refusal) = refusal {
            let count = self.refused.entry(refusal.kind()).or_default();
            *count = count.saturating_add(1);
        }
        taken
    }

    /// What was new, and why some of it was refused that was to be kept.
    fn weigh(
        &mut self,
        packet: &[u8],
        from: Ipv4Addr,
        now: Moment,
    ) -> Result<(Vec<HostTaken>, Option<HostRefusal>), HostRefusal> {
        let arrival = Arrival::of(now, self.wall.look(now), self.began);
        if !self.senders.may_send(from, now.monotonic) {
            return Err(HostRefusal::Flood);
        }
        let passwords = &self.rules.passwords;
        let opened = open(packet, |user| passwords.get(user).map(Vec::as_slice));
        let opened = opened.map_err(HostRefusal::Sealed)?;
        if opened.protection < self.rules.least {
            return Err(HostRefusal::Plain);
        }
        let lists = read(&opened.parts).map_err(HostRefusal::Malformed)?;
        let id = self.project_of(&opened, from)?;
        let project = self.projects.get_mut(&id).ok_or(HostRefusal::Stranger)?;
        let may_name = opened.protection > Protection::Plain;
        let most = self.rules.most_of_project;
        let by_host = project.sort(&lists, from, may_name)?;
        let (mut taken, mut refusal) = (Vec::new(), None);
        for (address, lists) in by_host {
            let outcome = project.take(address, &lists, arrival, most);
            if outcome.is_ok() {
                let left_out = lists.iter().filter(|list| !known::is_known(list));
                let figures: usize = left_out.map(|list| list.values.len()).sum();
                self.unused = self.unused.saturating_add(figures as u64);
            }
            match outcome {
                Ok((samples, why)) => {
                    taken.push(HostTaken {
                        project: id,
                        address,
                        samples,
                    });
                    refusal = why.or(refusal);
                }
                Err(why) => refusal = Some(why),
            }
        }
        match refusal {
            Some(refusal) if taken.is_empty() => Err(refusal),
            partly => Ok((taken, partly.filter(|why| *why != HostRefusal::Stale))),
        }
    }

    /// The project that a sender speaks for.
    fn project_of(&self, opened: &Opened, from: Ipv4Addr) -> Result<ProjectId, HostRefusal> {
        let is_meant = |project: &Project| match &opened.user {
            Some(user) => project.label == *user,
            None => project.hosts.contains_key(&from),
        };
        let mut meant = self
            .projects
            .iter()
            .filter(|(_, project)| is_meant(project));
        match (meant.next(), meant.next()) {
            (Some((id, _)), None) => Ok(*id),
            (None, _) => Err(HostRefusal::Stranger),
            (Some(_), Some(_)) => Err(HostRefusal::Ambiguous),
        }
    }
}

impl Arrival {
    /// The beginning is told by today's wall clock, which may have been set since.
    fn of(now: Moment, times_set: u32, began: Duration) -> Self {
        let ago = now.monotonic.saturating_sub(began);
        Self {
            now,
            times_set,
            since: now.wall.saturating_sub(ago + BEFORE_BEGINNING),
        }
    }
}

impl Project {
    /// The lists by the backend that each is of.
    fn sort<'a>(
        &self,
        lists: &'a [ValueList],
        from: Ipv4Addr,
        may_name: bool,
    ) -> Result<BTreeMap<Ipv4Addr, Vec<&'a ValueList>>, HostRefusal> {
        let mut by_host: BTreeMap<Ipv4Addr, Vec<&ValueList>> = BTreeMap::new();
        for list in lists {
            let named = list.host.parse().ok().filter(|_| may_name);
            let named = named.filter(|address| self.hosts.contains_key(address));
            by_host.entry(named.unwrap_or(from)).or_default().push(list);
        }
        let is_known = |address: &Ipv4Addr| self.hosts.contains_key(address);
        match by_host.keys().all(is_known) {
            true => Ok(by_host),
            false => Err(HostRefusal::Stranger),
        }
    }

    /// How many more figures may be kept of all hosts. Where these lists may be too many, for their host or all of
    /// them, those make room that are not told any more.
    fn room(&mut self, address: Ipv4Addr, lists: &[&ValueList], now: Moment, most: usize) -> usize {
        let kept = |project: &Self| project.hosts.values().map(|host| host.series.len()).sum();
        let room = most.saturating_sub(kept(self));
        let of_host = self.hosts.get(&address).map_or(0, |host| host.series.len());
        let values: usize = lists.iter().map(|list| list.values.len()).sum();
        if values <= room.min(MOST_OF_HOST.saturating_sub(of_host)) {
            return room;
        }
        for host in self.hosts.values_mut() {
            host.series.forget_silent(now.monotonic);
        }
        most.saturating_sub(kept(self))
    }

    /// What is new of one host, and why some of it was refused.
    fn take(
        &mut self,
        address: Ipv4Addr,
        lists: &[&ValueList],
        arrival: Arrival,
        most: usize,
    ) -> Result<(Vec<Sample>, Option<HostRefusal>), HostRefusal> {
        let now = arrival.now;
        let mut room = self.room(address, lists, now, most);
        let host = self.hosts.get_mut(&address).ok_or(HostRefusal::Stranger)?;
        host.admit(lists, now)?;
        let placing = Placing::of(lists, now);
        let (mut samples, mut refusal, mut is_taken) = (Vec::new(), None, false);
        for list in lists.iter().filter(|list| known::is_known(list)) {
            for (index, value) in measured(list) {
                match host.keep(list, index, value, arrival, &mut room) {
                    Ok(figure) => {
                        is_taken = true;
                        match placing.place(list) {
                            Some(time) => samples.extend(figure.map(|figure| Sample {
                                name: name(list, index),
                                time,
                                reading: Reading::Gauge(figure),
                            })),
                            None => refusal = graver(refusal, HostRefusal::Late),
                        }
                    }
                    Err(why) => refusal = graver(refusal, why),
                }
            }
        }
        match refusal {
            Some(refusal) if !is_taken => Err(refusal),
            refusal => Ok((samples, refusal)),
        }
    }
}

impl Host {
    /// Whether this packet is not one too many in its second, and of the host that is known.
    fn admit(&mut self, lists: &[&ValueList], now: Moment) -> Result<(), HostRefusal> {
        let second = now.monotonic.as_secs();
        if second != self.second {
            (self.second, self.packets) = (second, 0);
        }
        self.packets = self.packets.saturating_add(1);
        if self.packets > MOST_PACKETS {
            return Err(HostRefusal::Flood);
        }
        let rests = now.monotonic.saturating_sub(self.heard) < NAME_REST && !self.name.is_empty();
        let name = lists.first().map_or("", |list| &*list.host);
        let is_another = rests && self.name != name;
        if is_another || lists.iter().any(|list| list.host != name) {
            return Err(HostRefusal::Misnamed);
        }
        name.clone_into(&mut self.name);
        self.heard = now.monotonic;
        Ok(())
    }

    /// Takes note of a value. It gives no figure where it says nothing yet: of a count that is read for the first time.
    fn keep(
        &mut self,
        list: &ValueList,
        index: usize,
        value: Value,
        arrival: Arrival,
        room: &mut usize,
    ) -> Result<Option<f64>, HostRefusal> {
        let Arrival {
            now,
            times_set,
            since,
        } = arrival;
        let key = (identifier(list), index);
        let known = self.series.get(&key);
        let is_known = known.is_some();
        let before = known.copied().flatten();
        let last = before.map(|(last, _)| last);
        let is_of_before = last.is_none() && list.time.to_duration() < since;
        if is_of_before || !is_news(list.time, last, None, now, times_set) {
            return Err(HostRefusal::Stale);
        }
        if !is_known {
            if self.series.len() >= MOST_OF_HOST || *room == 0 {
                return Err(HostRefusal::Crowded);
            }
            *room -= 1;
        }
        let time = list.time;
        let read = (Last { time, times_set }, value);
        *self.series.hear(key, now.monotonic) = Some(read);
        let figure = match (value, before) {
            (Value::Gauge(figure), _) => Some(figure),
            (_, Some((last, old))) => rate(time, value, last.time, old),
            (_, None) => None,
        };
        Ok(figure.filter(|figure| figure.is_finite()))
    }
}

/// Which of two reasons is told of a packet that was taken in part.
fn graver(known: Option<HostRefusal>, other: HostRefusal) -> Option<HostRefusal> {
    let weight = |refusal: &HostRefusal| match refusal {
        HostRefusal::Stale => 0,
        HostRefusal::Late => 1,
        _ => 2,
    };
    known
        .into_iter()
        .chain([other])
        .max_by_key(|refusal| weight(refusal))
}
