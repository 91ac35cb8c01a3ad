//! One VM as a little machine: NICs, and a process that boots, beats, takes configurations and answers.
//!
//! Nothing here is stepped. What a machine says at a moment is computed from what befell it and when, so an
//! hour in which nothing happens costs nothing.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use model::{
    BackendHealth, BackendStatus, BalancerConfig, Counters, Driver, Generation, Heartbeat,
    HeartbeatSight, InstanceId, Latency, Mac, NicSight, PassiveStatus, ProjectId, SubnetId,
    VmSight,
};

/// Milliseconds between heartbeats.
pub(crate) const HEARTBEAT_MS: u64 = 250;
/// From the first configuration to the hot path's first answer to itself.
const FIRST_ANSWER_MS: u64 = 150;
/// From a configuration to the first result of every backend's check.
const FIRST_CHECK_MS: u64 = 700;
/// For so long after a thaw a balancer still tells the age that it had before.
const WAKING_MS: u64 = 300;

/// The longest that a client stays after it was told to leave: longer than any drain.
const LONGEST_STAY_MS: u64 = 40_000;
/// A step from one process's client to the next one's, which spreads stays over all lengths.
const STAY_STEP_MS: u64 = 13_577;

/// What exists of one VM.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) instance: Option<InstanceId>,
    pub(crate) project: ProjectId,
    pub(crate) subnet: SubnetId,
    pub(crate) front: Option<Ipv4Addr>,
    pub(crate) tenant: Option<Ipv4Addr>,
    pub(crate) macs: Vec<Mac>,
    /// Absent before the NICs are made.
    pub(crate) nics: Option<NicSight>,
    /// Whether its directory is there: it was started once.
    pub(crate) is_made: bool,
    pub(crate) process: Option<Process>,
    pub(crate) exit: Option<String>,
    /// What the host sends whenever the channel is there.
    pub(crate) host_config: Option<BalancerConfig>,
    /// Checkers whose probes of it are lost.
    pub(crate) deaf_to: BTreeSet<usize>,
    /// Whether it is rightly held to be down, by its own state and what the checkers get.
    pub(crate) failing: Stretch,
    /// Whether nothing whatever is wrong with it.
    pub(crate) well: Stretch,
}

/// A process that runs, or stands still.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) started_ms: u64,
    /// When its balancer begins to speak.
    pub(crate) up_ms: u64,
    pub(crate) frozen_ms: Option<u64>,
    pub(crate) thawed_ms: Option<(u64, u64)>,
    pub(crate) hung_ms: Option<u64>,
    pub(crate) channel_cut: bool,
    pub(crate) config: Option<BalancerConfig>,
    pub(crate) configured_ms: u64,
    /// When its clients were told to leave.
    pub(crate) drained_ms: Option<u64>,
    /// When it took its first configuration.
    pub(crate) began_ms: Option<u64>,
    /// The last beat before it fell silent.
    pub(crate) heard_ms: Option<u64>,
}

/// A condition that holds or does not, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stretch {
    pub(crate) since_ms: Option<u64>,
    ended_ms: Option<u64>,
}

impl Stretch {
    pub(crate) fn set(&mut self, holds: bool, now_ms: u64) {
        match (holds, self.since_ms) {
            (true, None) => self.since_ms = Some(now_ms),
            (false, Some(_)) => (self.since_ms, self.ended_ms) = (None, Some(now_ms)),
            _ => {}
        }
    }

    /// For how long it has held.
    pub(crate) fn holds_for_ms(&self, now_ms: u64) -> Option<u64> {
        self.since_ms.map(|ms| now_ms.saturating_sub(ms))
    }

    /// Whether it holds, or did within the last `ms`.
    pub(crate) fn held_within(&self, ms: u64, now_ms: u64) -> bool {
        self.since_ms.is_some()
            || self
                .ended_ms
                .is_some_and(|at| now_ms.saturating_sub(at) <= ms)
    }
}

impl Process {
    pub(crate) fn new(pid: u32, started_ms: u64, up_ms: u64) -> Self {
        Self {
            pid,
            started_ms,
            up_ms,
            frozen_ms: None,
            thawed_ms: None,
            hung_ms: None,
            channel_cut: false,
            config: None,
            configured_ms: 0,
            drained_ms: None,
            began_ms: None,
            heard_ms: None,
        }
    }

    /// Whether its balancer runs.
    pub(crate) fn is_up(&self, now_ms: u64) -> bool {
        now_ms >= self.up_ms && self.frozen_ms.is_none()
    }

    /// Whether its heartbeats reach the host.
    pub(crate) fn is_heard(&self, now_ms: u64) -> bool {
        self.is_up(now_ms) && !self.channel_cut
    }

    pub(crate) fn last_beat_ms(&self, now_ms: u64) -> Option<u64> {
        if self.is_heard(now_ms) {
            let running_ms = now_ms - self.up_ms;
            Some(self.up_ms + running_ms / HEARTBEAT_MS * HEARTBEAT_MS)
        } else {
            self.heard_ms
        }
    }

    /// Must be called before anything changes that makes or ends its silence.
    pub(crate) fn settle(&mut self, now_ms: u64) {
        self.heard_ms = self.last_beat_ms(now_ms);
    }

    pub(crate) fn generation(&self) -> Option<Generation> {
        self.config.as_ref().map(|config| config.generation)
    }

    /// Whether it is frozen, or was just now.
    pub(crate) fn stood_still(&self, now_ms: u64) -> bool {
        let woke_ms = self.thawed_ms.map(|(_, ms)| ms);
        self.frozen_ms.is_some()
            || woke_ms.is_some_and(|ms| now_ms.saturating_sub(ms) < 2 * WAKING_MS + HEARTBEAT_MS)
    }

    /// When its last client goes, where it was told to: each serves one that has a stay of its own.
    fn deserted_at_ms(&self) -> Option<u64> {
        let stay_ms = u64::from(self.pid).wrapping_mul(STAY_STEP_MS) % LONGEST_STAY_MS;
        self.drained_ms.map(|ms| ms + stay_ms)
    }

    /// Whether a client is on it.
    pub(crate) fn has_clients(&self, now_ms: u64) -> bool {
        self.began_ms.is_some() && self.deserted_at_ms().is_none_or(|ms| now_ms < ms)
    }

    fn progress_age_ms(&self, now_ms: u64) -> Option<u64> {
        let serving_ms = now_ms.saturating_sub(self.began_ms?);
        if let Some(since_ms) = self.hung_ms {
            return Some(now_ms.saturating_sub(since_ms));
        }
        match self.thawed_ms {
            Some((frozen_ms, thawed_ms)) if now_ms.saturating_sub(thawed_ms) < WAKING_MS => {
                Some(now_ms.saturating_sub(frozen_ms))
            }
            _ => (serving_ms >= FIRST_ANSWER_MS).then_some(serving_ms % 400),
        }
    }

    fn heartbeat(&self, now_ms: u64, reaches_backends: bool) -> Heartbeat {
        let checked = now_ms.saturating_sub(self.configured_ms) >= FIRST_CHECK_MS;
        let health = match (checked, reaches_backends) {
            (false, _) => BackendHealth::Unknown,
            (true, true) => BackendHealth::Up,
            (true, false) => BackendHealth::Down,
        };
        let backends = self.config.iter().flat_map(|config| &config.backends);
        let backends = backends.map(|backend| BackendStatus {
            address: backend.address,
            port: backend.port,
            health,
            health_age_ms: 1,
            last_check: checked.then(|| "200 OK".into()),
            last_check_age_ms: checked.then_some(1),
            requests: 0,
            errors: 0,
            active: 0,
            passive: PassiveStatus::default(),
        });
        Heartbeat {
            sequence: now_ms.saturating_sub(self.up_ms) / HEARTBEAT_MS,
            uptime_ms: now_ms.saturating_sub(self.up_ms),
            generation: self.generation(),
            refused: None,
            progress_age_ms: self.progress_age_ms(now_ms),
            lag_ms: 0,
            draining: Some(self.drained_ms.is_some()),
            deserted_ms: self.deserted_at_ms().and_then(|ms| now_ms.checked_sub(ms)),
            counters: Counters {
                open_connections: u64::from(self.has_clients(now_ms)),
                ..Counters::default()
            },
            latency: Latency::default(),
            backends: backends.collect(),
        }
    }
}

impl Machine {
    /// Whether the hot path would answer a request that reaches the front address.
    pub(crate) fn answers(&self, now_ms: u64) -> bool {
        let front = self.nics.is_some_and(|nics| nics.front);
        let process = self.process.as_ref();
        let runs = process
            .is_some_and(|p| p.is_up(now_ms) && p.hung_ms.is_none() && p.generation().is_some());
        front && runs
    }

    /// Whether clients that come get answers.
    pub(crate) fn serves(&self, now_ms: u64) -> bool {
        self.answers(now_ms) && !self.is_fenced()
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.nics.is_some_and(|nics| nics.fenced != Some(false))
    }

    pub(crate) fn generation(&self) -> Option<Generation> {
        self.process.as_ref().and_then(Process::generation)
    }

    /// The host's configuration reaches the balancer, unless that runs a newer one.
    pub(crate) fn deliver(&mut self, now_ms: u64) {
        let (Some(process), Some(config)) = (&mut self.process, &self.host_config) else {
            return;
        };
        if process.is_heard(now_ms) && process.generation() < Some(config.generation) {
            process.config = Some(config.clone());
            process.configured_ms = now_ms;
            process.began_ms.get_or_insert(now_ms);
        }
    }

    /// Its process ends, as the host sees.
    pub(crate) fn die(&mut self, how: &str) {
        self.process = None;
        self.exit = Some(how.into());
        self.host_config = None;
    }

    /// What an observer sees that began to watch at `watching_since_ms`. `late_ms` is how late heartbeats are
    /// delivered at present.
    pub(crate) fn sight(&self, now_ms: u64, watching_since_ms: u64, late_ms: u64) -> VmSight {
        let process = self.process.as_ref();
        let began_ms = watching_since_ms.max(process.map_or(0, |p| p.started_ms));
        let last_ms = process.and_then(|p| p.last_beat_ms(now_ms));
        let last_ms = last_ms.map(|ms| match process.is_some_and(|p| p.is_heard(now_ms)) {
            true => ms.saturating_sub(late_ms).max(began_ms),
            false => ms,
        });
        let heard = process.zip(last_ms.filter(|ms| *ms >= began_ms));
        let reaches_backends = self.nics.is_some_and(|nics| nics.tenant);
        VmSight {
            driver: Driver::Process,
            pid: process.map(|p| p.pid),
            accelerator: "process".into(),
            watched_ms: now_ms.saturating_sub(began_ms),
            heartbeat: heard.map(|(process, heard_ms)| HeartbeatSight {
                age_ms: now_ms.saturating_sub(heard_ms),
                late_ms,
                heartbeat: process.heartbeat(heard_ms.max(process.configured_ms), reaches_backends),
            }),
            exit: self.exit.clone(),
        }
    }
}
