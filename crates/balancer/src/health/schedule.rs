//! When each backend is asked, and what follows from the answers.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancing::{Health, Random, Thresholds, jittered_ms};
use model::{BackendHealth, HealthCheck};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::probe::Probe;
use super::verdict::Finding;
use crate::control::{Journal, Level};
use crate::shared::Shared;
use crate::snapshot::{BackendRecord, Snapshot};

/// Checks that are under way at once; the rest wait for their turn.
const AT_ONCE: usize = 256;
/// The longest sleep.
const SLEEP: Duration = Duration::from_secs(60);

struct Check {
    record: Arc<BackendRecord>,
    health: Health,
    next_at: Instant,
    probe: Option<Probe>,
}

/// All checks of one balancer.
pub struct Schedule {
    shared: Arc<Shared>,
    journal: Arc<Journal>,
    snapshot: Arc<Snapshot>,
    checks: BTreeMap<SocketAddrV4, Check>,
    random: Random,
}

impl Schedule {
    /// Nothing is checked yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>, journal: Arc<Journal>) -> Self {
        Self {
            random: Random::new(u64::from(std::process::id()) ^ shared.now_ms()),
            snapshot: Arc::new(Snapshot::empty()),
            checks: BTreeMap::new(),
            shared,
            journal,
        }
    }

    /// Checks for ever.
    pub fn run(mut self) {
        loop {
            let ready = self.sleep();
            let now = Instant::now();
            self.renew(now);
            self.advance(&ready, now);
            self.begin_due(now);
        }
    }

    /// Waits for an answer, a time, or a new snapshot; returns whose sockets are ready.
    fn sleep(&self) -> Vec<SocketAddrV4> {
        let now = Instant::now();
        let mut addresses = Vec::new();
        let mut descriptors = vec![PollFd::new(&self.shared.published, PollFlags::IN)];
        for (address, check) in &self.checks {
            if let Some(probe) = &check.probe {
                addresses.push(*address);
                descriptors.push(PollFd::from_borrowed_fd(probe.as_fd(), probe.interest()));
            }
        }
        let sleep = self.wake_at(now).saturating_duration_since(now);
        let timeout = Timespec {
            tv_sec: i64::try_from(sleep.as_secs()).unwrap_or(0),
            tv_nsec: sleep.subsec_nanos().into(),
        };
        // Interrupted or not, what is ready is seen by its flags.
        let _ = poll(&mut descriptors, Some(&timeout));
        let answered = descriptors.iter().skip(1).map(|d| !d.revents().is_empty());
        addresses
            .into_iter()
            .zip(answered)
            .filter_map(|(address, answered)| answered.then_some(address))
            .collect()
    }

    fn wake_at(&self, now: Instant) -> Instant {
        let full = self.under_way() >= AT_ONCE;
        let due = self.checks.values().filter_map(|check| match &check.probe {
            Some(probe) => Some(probe.deadline()),
            None if full => None,
            None => Some(check.next_at),
        });
        due.min().unwrap_or(now + SLEEP).min(now + SLEEP)
    }

    fn under_way(&self) -> usize {
        self.checks
            .values()
            .filter(|check| check.probe.is_some())
            .count()
    }

    /// Takes a new snapshot in: backends that stay keep their verdicts, new ones are asked at once.
    fn renew(&mut self, now: Instant) {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&self.shared.published, &mut count);
        let snapshot = self.shared.snapshot();
        if Arc::ptr_eq(&snapshot, &self.snapshot) {
            return;
        }
        let asks_anew = snapshot.health_check != self.snapshot.health_check;
        let mut old = std::mem::take(&mut self.checks);
        for target in &snapshot.targets {
            let address = target.record.address;
            let known = old
                .remove(&address)
                .filter(|check| Arc::ptr_eq(&check.record, &target.record));
            let mut check = known.unwrap_or_else(|| Check {
                record: Arc::clone(&target.record),
                health: Health::known(target.record.health()),
                next_at: now,
                probe: None,
            });
            if asks_anew {
                check.probe = None;
                check.next_at = now;
            }
            self.checks.entry(address).or_insert(check);
        }
        self.snapshot = snapshot;
    }

    fn advance(&mut self, ready: &[SocketAddrV4], now: Instant) {
        let addresses: Vec<_> = self.checks.keys().copied().collect();
        for address in addresses {
            let is_ready = ready.contains(&address);
            let found = self
                .checks
                .get_mut(&address)
                .and_then(|check| check.probe.as_mut())
                .and_then(|probe| {
                    let finding = probe.advance(is_ready, now)?;
                    Some((finding, probe.began()))
                });
            if let Some((finding, began)) = found {
                self.conclude(address, &finding, began, now);
            }
        }
    }

    fn begin_due(&mut self, now: Instant) {
        let mut room = AT_ONCE.saturating_sub(self.under_way());
        let due: Vec<_> = self
            .checks
            .iter()
            .filter(|(_, check)| check.probe.is_none() && check.next_at <= now)
            .map(|(address, _)| *address)
            .collect();
        for address in due {
            if room == 0 {
                return;
            }
            let header = &self.snapshot.edge.check_header;
            match Probe::begin(address, &self.snapshot.health_check, header, now) {
                Ok(probe) => {
                    room -= 1;
                    if let Some(check) = self.checks.get_mut(&address) {
                        check.probe = Some(probe);
                    }
                }
                Err(finding) => self.conclude(address, &finding, now, now),
            }
        }
    }

    /// A check has ended: records it, changes the verdict if it is time, and sets the next.
    fn conclude(&mut self, address: SocketAddrV4, finding: &Finding, began: Instant, now: Instant) {
        let HealthCheck { criteria, .. } = &self.snapshot.health_check;
        let Some(check) = self.checks.get_mut(&address) else {
            return;
        };
        let interval_ms = jittered_ms(criteria.interval_ms, &mut self.random);
        check.probe = None;
        check.next_at = now.max(began + Duration::from_millis(interval_ms));
        let took = now.saturating_duration_since(began).as_millis();
        let took_ms = u64::try_from(took).unwrap_or(u64::MAX);
        let words = finding.words(took_ms, criteria.timeout_ms);
        let thresholds = Thresholds::from(criteria);
        let changed = check.health.observe(finding.is_good(), thresholds);
        check.record.set_last_check(words.clone(), now);
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
