//! From a configuration to traffic: records for its backends, sockets that listen, and the snapshot.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use balancing::{Maglev, identity_of};
use model::{Algorithm, BackendHealth, BalancerConfig, Generation, Refusal};
use rustix::io::Errno;

use super::journal::{Journal, Level};
use super::validate::validate;
use crate::edge::Edge;
use crate::forward::listen;
use crate::shared::{Shared, lock};
use crate::snapshot::{BackendRecord, Snapshot, Target};

/// The first wait before listening is tried again.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// The longest.
const LAST_RETRY: Duration = Duration::from_secs(2);

/// What became of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It runs.
    Taken,
    /// It is sound, and runs as soon as its port can be listened on.
    Waiting,
    /// It is not newer than the one that runs or waits.
    Ignored,
    /// It is not sound; the old one goes on.
    Refused,
}

struct Pending {
    config: BalancerConfig,
    wait: Duration,
    retry_at: Instant,
}

/// The configuration that runs, and the one that wants to.
pub struct Deployment {
    shared: Arc<Shared>,
    front: Option<Ipv4Addr>,
    records: BTreeMap<SocketAddrV4, Weak<BackendRecord>>,
    listening: Option<SocketAddrV4>,
    /// Listening sockets that no thread has yet, one for each.
    listeners: Vec<OwnedFd>,
    inherited: Vec<(SocketAddrV4, OwnedFd)>,
    verdicts: BTreeMap<SocketAddrV4, BackendHealth>,
    running: Option<BalancerConfig>,
    pending: Option<Pending>,
    refused: Option<Refusal>,
}

impl Deployment {
    /// Nothing runs yet, and the front address is not known.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            front: None,
            records: BTreeMap::new(),
            listening: None,
            listeners: Vec::new(),
            inherited: Vec::new(),
            verdicts: BTreeMap::new(),
            running: None,
            pending: None,
            refused: None,
        }
    }

    /// What another process had: sockets that listen, and how the backends were.
    pub fn inherit(
        &mut self,
        listeners: Vec<(SocketAddrV4, OwnedFd)>,
        verdicts: Vec<(SocketAddrV4, BackendHealth)>,
    ) {
        self.inherited.extend(listeners);
        self.verdicts.extend(verdicts);
    }

    /// The sockets that the threads are to listen on from now on, in the place of those before.
    pub fn take_listeners(&mut self) -> Vec<OwnedFd> {
        self.inherited.clear();
        self.verdicts.clear();
        std::mem::take(&mut self.listeners)
    }

    /// Says where to listen. A configuration that waited for it is tried at once.
    pub fn set_front(&mut self, front: Ipv4Addr, now: Instant, journal: &Journal) {
        self.front = Some(front);
        *lock(&self.shared.own_address) = Some(front);
        if let Some(pending) = &mut self.pending {
            pending.retry_at = now;
        }
        self.retry(now, journal);
    }

    /// The address that is listened on.
    #[must_use]
    pub fn listening(&self) -> Option<SocketAddrV4> {
        self.listening
    }

    /// The configuration that runs.
    #[must_use]
    pub fn running(&self) -> Option<&BalancerConfig> {
        self.running.as_ref()
    }

    /// The newest refusal, as long as nothing newer runs. One that waits is told as well, with what it
    /// waits for.
    #[must_use]
    pub fn refused(&self) -> Option<Refusal> {
        self.refused.clone()
    }

    fn newest(&self) -> Option<Generation> {
        let pending = self
            .pending
            .as_ref()
            .map(|pending| pending.config.generation);
        let running = self.running.as_ref().map(|config| config.generation);
        pending.max(running)
    }

    /// Takes a configuration, whole, or refuses it.
    pub fn offer(&mut self, config: BalancerConfig, now: Instant, journal: &Journal) -> Offer {
        if self
            .newest()
            .is_some_and(|newest| config.generation <= newest)
        {
            return Offer::Ignored;
        }
        if let Err(refusal) = validate(&config) {
            return self.refuse(refusal, journal);
        }
        self.pending = Some(Pending {
            config,
            wait: FIRST_RETRY,
            retry_at: now,
        });
        if self.retry(now, journal) {
            Offer::Taken
        } else {
            Offer::Waiting
        }
    }

    /// Remembers a refusal, to be told with each heartbeat.
    pub fn refuse(&mut self, refusal: Refusal, journal: &Journal) -> Offer {
        if self.refused.as_ref() == Some(&refusal) {
            return Offer::Ignored;
        }
        journal.write(
            Level::Error,
            format!(
                "configuration {} is refused: {}: {}",
                refusal.generation, refusal.path, refusal.message
            ),
        );
        self.refused = Some(refusal);
        Offer::Refused
    }

    /// When [`Deployment::retry`] has something to do.
    #[must_use]
    pub fn retry_at(&self) -> Option<Instant> {
        self.front?;
        self.pending.as_ref().map(|pending| pending.retry_at)
    }

    /// Tries to run the configuration that waits. Says whether it now runs.
    pub fn retry(&mut self, now: Instant, journal: &Journal) -> bool {
        let Some(front) = self.front else {
            return false;
        };
        let Some(mut pending) = self.pending.take_if(|pending| pending.retry_at <= now) else {
            return false;
        };
        let address = SocketAddrV4::new(front, pending.config.port);
        match self.listeners(address) {
            Ok(listeners) => {
                self.run(pending.config, address, listeners, now, journal);
                true
            }
            Err(error) => {
                let wait_ms = pending.wait.as_millis();
                let message =
                    format!("cannot listen on {address}: {error}; trying again in {wait_ms} ms");
                if pending.wait == FIRST_RETRY || pending.wait == LAST_RETRY {
                    journal.write(Level::Warn, message.clone());
                }
                self.refused = Some(Refusal {
                    generation: pending.config.generation,
                    path: "port".to_owned(),
                    message,
                });
                pending.retry_at = now + pending.wait;
                pending.wait = (pending.wait * 2).min(LAST_RETRY);
                self.pending = Some(pending);
                false
            }
        }
    }

    /// One socket for each thread, when the address is not the one that is listened on already. Sockets
    /// of another process come first: connections may wait in them, so they are kept for the next time when
    /// the others cannot be had.
    fn listeners(&mut self, address: SocketAddrV4) -> Result<Vec<OwnedFd>, Errno> {
        if self.listening == Some(address) {
            return Ok(Vec::new());
        }
        let fits = |(there, _): &(SocketAddrV4, OwnedFd)| *there == address;
        let inherited = self.inherited.iter().filter(|entry| fits(entry)).count();
        let missing = self.shared.threads.len().saturating_sub(inherited);
        let opened: Vec<_> = (0..missing)
            .map(|_| listen(address))
            .collect::<Result<_, _>>()?;
        let inherited = std::mem::take(&mut self.inherited).into_iter();
        let fitting = inherited.filter(fits).map(|(_, socket)| socket);
        Ok(fitting.chain(opened).collect())
    }

    fn run(
        &mut self,
        config: BalancerConfig,
        address: SocketAddrV4,
        listeners: Vec<OwnedFd>,
        now: Instant,
        journal: &Journal,
    ) {
        let snapshot = self.snapshot(&config, address, now);
        self.shared.publish(Arc::new(snapshot));
        if !listeners.is_empty() {
            self.listeners = listeners;
            journal.write(Level::Info, format!("listening on {address}"));
        }
        self.listening = Some(address);
        self.running = Some(config);
        self.refused = None;
    }

    fn snapshot(
        &mut self,
        config: &BalancerConfig,
        address: SocketAddrV4,
        now: Instant,
    ) -> Snapshot {
        let targets: Vec<_> = config
            .backends
            .iter()
            .map(|backend| Target {
                record: self.record(SocketAddrV4::new(backend.address, backend.port), now),
                weight: backend.weight,
                backup: backend.backup,
                max_connections: backend.max_connections,
            })
            .collect();
        self.forget_standings(config);
        // Records that nobody holds any more are of backends whose last exchange has ended.
        self.records.retain(|_, record| record.strong_count() > 0);
        Snapshot {
            generation: Some(config.generation),
            traffic: config.traffic,
            timeouts: config.timeouts.clone(),
            own_host: address.to_string().into_bytes(),
            health_check: config.health_check.clone(),
            maglev: Arc::new(tables(&config.policy.algorithm, &targets)),
            targets,
            policy: config.policy.clone(),
            edge: Edge::new(&config.policy, address, config.checker),
        }
    }

    /// What is no longer asked for does not go on.
    fn forget_standings(&self, config: &BalancerConfig) {
        let now_ms = self.shared.now_ms();
        for record in self.records.values().filter_map(Weak::upgrade) {
            if config.policy.outlier_ejection.is_none() {
                record.standing.pardon();
            }
            if config.policy.circuit_breaker.is_none() {
                record.standing.close_circuit(now_ms);
            }
        }
    }

    /// The backend's record, also when it was taken out and an exchange with it still goes on.
    fn record(&mut self, address: SocketAddrV4, now: Instant) -> Arc<BackendRecord> {
        if let Some(record) = self.records.get(&address).and_then(Weak::upgrade) {
            return record;
        }
        let record = Arc::new(BackendRecord::new(address, self.shared.threads.len(), now));
        if let Some(&verdict) = self.verdicts.get(&address) {
            record.set_health(verdict, now);
        }
        self.records.insert(address, Arc::downgrade(&record));
        record
    }
}

/// The algorithm's tables. They take a few milliseconds to fill, so that is done here, once for all threads.
fn tables(algorithm: &Algorithm, targets: &[Target]) -> Maglev {
    if !matches!(algorithm, Algorithm::Maglev { .. }) {
        return Maglev::default();
    }
    let mut backends: Vec<(u64, u16, bool)> = Vec::with_capacity(targets.len());
    let mut seats = BTreeMap::new();
    for (position, target) in targets.iter().enumerate() {
        let identity = identity_of(target.record.address);
        backends.push((identity, 0, target.backup));
        // One that is named twice has one seat, with the weight of both.
        let seat = *seats.entry(identity).or_insert(position);
        if let Some((_, weight, _)) = backends.get_mut(seat) {
            *weight = weight.saturating_add(target.weight);
        }
    }
    Maglev::new(&backends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    #[test]
    fn sockets_of_another_process_outlive_a_port_that_cannot_be_listened_on() {
        // It lets no other socket listen beside it.
        let alone = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = alone.local_addr().unwrap() else {
            panic!("bound to IPv4");
        };
        let shared = Arc::new(Shared::new(2, String::new()).unwrap());
        let mut deployment = Deployment::new(shared);
        deployment.inherit(vec![(address, alone.into())], Vec::new());
        for _ in 0..2 {
            assert_eq!(deployment.listeners(address).err(), Some(Errno::ADDRINUSE));
            TcpStream::connect(address).expect("a connection waits in it");
        }
    }
}
