//! When each backend is asked, and what follows from the answers.
//!
//! One thread waits for all checks at once. What a turn costs depends on what is due and what has
//! answered, not on how many backends there are.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancing::{Health, Random, Thresholds, jittered_ms, spread_ms};
use model::BackendHealth;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::agenda::Agenda;
use super::answer::Expectation;
use super::probe::{Probe, READ_BYTES};
use super::verdict::Finding;
use crate::control::{Journal, Level};
use crate::shared::Shared;
use crate::snapshot::{BackendRecord, Snapshot};

/// Events taken from the kernel in one turn.
const EVENTS: usize = 256;
/// Checks that are begun in one turn, so that answers do not wait behind a thousand new questions. How
/// many are under way has no bound but the number of backends: each has one at the most.
const BEGUN_AT_ONCE: usize = 64;
/// The longest sleep.
const SLEEP: Duration = Duration::from_secs(60);
/// The token of the descriptor that tells of a new snapshot. No backend's is as large.
const PUBLISHED: u64 = u64::MAX;

struct Check {
    record: Arc<BackendRecord>,
    health: Health,
    /// Whether the next check is asked for at once, beside those of all others that are new.
    is_new: bool,
    probe: Option<Probe>,
}

/// All checks of one balancer.
pub struct Schedule {
    shared: Arc<Shared>,
    journal: Arc<Journal>,
    epoll: OwnedFd,
    snapshot: Arc<Snapshot>,
    expectation: Expectation,
    checks: BTreeMap<SocketAddrV4, Check>,
    agenda: Agenda,
    random: Random,
    scratch: Box<[u8; READ_BYTES]>,
}

impl Schedule {
    /// Nothing is checked yet.
    ///
    /// # Errors
    /// When the kernel gives no epoll descriptor.
    pub fn new(shared: Arc<Shared>, journal: Arc<Journal>) -> std::io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let data = EventData::new_u64(PUBLISHED);
        epoll::add(&epoll, &shared.published, data, EventFlags::IN)?;
        let snapshot = Arc::new(Snapshot::empty());
        Ok(Self {
            epoll,
            expectation: Expectation::from(&snapshot.health_check),
            snapshot,
            checks: BTreeMap::new(),
            agenda: Agenda::new(Instant::now()),
            random: Random::new(u64::from(std::process::id()) ^ shared.now_ms()),
            scratch: Box::new([0; READ_BYTES]),
            shared,
            journal,
        })
    }

    /// Checks for ever.
    pub fn run(mut self) {
        let none = Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [none; EVENTS];
        loop {
            let count = self.sleep(&mut events);
            let now = Instant::now();
            let mut is_published = false;
            // Answers before anything else: an event is of the socket that was watched when it came.
            for event in events.iter().take(count) {
                match event.data.u64() {
                    PUBLISHED => is_published = true,
                    token => self.take_answer(address(token), now),
                }
            }
            if is_published {
                self.renew(now);
            }
            self.take_due(now);
        }
    }

    /// Waits for an answer, a time, or a new snapshot; returns how many events there are.
    fn sleep(&self, events: &mut [Event; EVENTS]) -> usize {
        let now = Instant::now();
        let until = self.agenda.next_at().unwrap_or(now + SLEEP);
        let sleep = until.saturating_duration_since(now).min(SLEEP);
        let timeout = Timespec {
            tv_sec: i64::try_from(sleep.as_secs()).unwrap_or(0),
            tv_nsec: sleep.subsec_nanos().into(),
        };
        // Nothing but a signal can end the wait with an error, and then there are no events.
        epoll::wait(&self.epoll, &mut events[..], Some(&timeout)).unwrap_or(0)
    }

    /// Takes a new snapshot in: backends that stay keep their verdicts, new ones are asked at once, and
    /// all are when they are to be asked in another way.
    fn renew(&mut self, now: Instant) {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&self.shared.published, &mut count);
        let snapshot = self.shared.snapshot();
        if Arc::ptr_eq(&snapshot, &self.snapshot) {
            return;
        }
        let asks_anew = snapshot.health_check != self.snapshot.health_check
            || snapshot.edge.check_header != self.snapshot.edge.check_header;
        let mut old = std::mem::take(&mut self.checks);
        for target in &snapshot.targets {
            let address = target.record.address;
            if self.checks.contains_key(&address) {
                continue;
            }
            let known = old.remove(&address);
            let known = known.filter(|check| Arc::ptr_eq(&check.record, &target.record));
            let is_new = known.is_none() || asks_anew;
            let health = known.as_ref().map(|check| check.health);
            let check = known.filter(|_| !is_new).unwrap_or_else(|| Check {
                record: Arc::clone(&target.record),
                health: health.unwrap_or_else(|| Health::known(target.record.health())),
                is_new: true,
                probe: None,
            });
            if is_new {
                self.agenda.set(address, now);
            }
            self.checks.insert(address, check);
        }
        for address in old.into_keys() {
            self.agenda.forget(address);
        }
        self.expectation = Expectation::from(&snapshot.health_check);
        self.snapshot = snapshot;
    }

    /// Something has come from a backend.
    fn take_answer(&mut self, address: SocketAddrV4, now: Instant) {
        let probe = self.checks.get_mut(&address).and_then(|c| c.probe.as_mut());
        let Some(probe) = probe else {
            return;
        };
        let began = probe.began();
        if let Some(finding) = probe.advance(&self.expectation, &mut self.scratch) {
            self.conclude(address, &finding, began, now);
        }
    }

    /// Ends checks whose time is over, and begins those whose time has come.
    fn take_due(&mut self, now: Instant) {
        for _ in 0..BEGUN_AT_ONCE {
            let Some(address) = self.agenda.due(now) else {
                return;
            };
            let Some(check) = self.checks.get(&address) else {
                self.agenda.forget(address);
                continue;
            };
            match check.probe.as_ref().map(Probe::began) {
                Some(began) => self.conclude(address, &Finding::Silent, began, now),
                None => self.begin(address, now),
            }
        }
    }

    fn begin(&mut self, address: SocketAddrV4, now: Instant) {
        let check = &self.snapshot.health_check;
        let header = &self.snapshot.edge.check_header;
        let timeout = Duration::from_millis(check.criteria.timeout_ms);
        let begun = Probe::begin(address, check, header, now).and_then(|probe| {
            self.watch(&probe, address).map_err(Finding::Failed)?;
            Ok(probe)
        });
        match begun {
            Ok(probe) => {
                self.agenda.set(address, now + timeout);
                if let Some(check) = self.checks.get_mut(&address) {
                    check.probe = Some(probe);
                }
            }
            Err(finding) => self.conclude(address, &finding, now, now),
        }
    }

    /// Has the kernel tell of the socket until it is closed.
    fn watch(&self, probe: &Probe, address: SocketAddrV4) -> Result<(), Errno> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(token(address));
        epoll::add(&self.epoll, probe, data, flags)
    }

    /// A check has ended: records it, changes the verdict if it is time, and sets the next.
    fn conclude(&mut self, address: SocketAddrV4, finding: &Finding, began: Instant, now: Instant) {
        let asked = &self.snapshot.health_check;
        let criteria = &asked.criteria;
        let Some(check) = self.checks.get_mut(&address) else {
            return;
        };
        // What was asked at one moment would be asked at one moment for ever.
        let wait_ms = match check.is_new {
            true => spread_ms(criteria.interval_ms, &mut self.random),
            false => jittered_ms(criteria.interval_ms, &mut self.random),
        };
        check.is_new = false;
        check.probe = None;
        self.agenda
            .set(address, now.max(began + Duration::from_millis(wait_ms)));
        let took = now.saturating_duration_since(began).as_millis();
        let took_ms = u64::try_from(took).unwrap_or(u64::MAX);
        let words = finding.words(took_ms, criteria.timeout_ms, asked.expected_body.as_deref());
        check.record.set_last_check(words.clone(), now);
        if finding.is_our_own() {
            return;
        }
        let thresholds = Thresholds::from(criteria);
        let changed = check.health.observe(finding.is_good(), thresholds);
        if let Some(health) = changed {
            check.record.set_health(health, now);
            self.shared.announce();
            self.tell(address, health, &words);
        }
    }

    fn tell(&self, address: SocketAddrV4, health: BackendHealth, words: &str) {
        let (level, word) = match health {
            BackendHealth::Up => (Level::Info, "up"),
            BackendHealth::Down => (Level::Warn, "down"),
            BackendHealth::Unknown => (Level::Warn, "unknown"),
        };
        self.journal
            .write(level, format!("backend {address} is {word}: {words}"));
    }
}

/// A backend's address as one number, which the kernel gives back with each event.
fn token(address: SocketAddrV4) -> u64 {
    u64::from(u32::from(*address.ip())) << 16 | u64::from(address.port())
}

/// The address of a token.
fn address(token: u64) -> SocketAddrV4 {
    let port = u16::try_from(token & 0xffff).unwrap_or(0);
    let ip = u32::try_from(token >> 16).unwrap_or(0);
    SocketAddrV4::new(Ipv4Addr::from(ip), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backends_token_is_its_address() {
        for text in ["1.2.3.4:80", "255.255.255.255:65535", "0.0.0.0:0"] {
            let backend: SocketAddrV4 = text.parse().unwrap();
            assert_eq!(address(token(backend)), backend);
            assert_ne!(token(backend), PUBLISHED);
        }
    }
}
