//! The monitor's role: takes the figures that VMs send, and tells what each has to do.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::monitor::{Intake, Moment};
use model::{Layout, LoadSight, VmId};
use store::layout::{LAYOUT_PREFIX, read_layout};
use store::status::{load_key, put_trouble};
use store::{LeaseId, Store, StoreError, Transaction};
use tokio::net::UdpSocket;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use super::{Shared, Watchdog};

/// This monitor's name among the installation's.
const MONITOR: &str = "local";
/// What a monitor tells is forgotten when it has been silent for this long.
const LOAD_TTL: Duration = Duration::from_secs(5);
/// Between two tellings.
const TELLING: Duration = Duration::from_secs(1);
/// Between two attempts to get hold of the address, which appears with the front bridge.
const BIND_PAUSE: Duration = Duration::from_millis(200);
/// How long that may take before it is a trouble.
const BIND_GRACE: Duration = Duration::from_secs(1);
/// Between two lines of the log about what was refused.
const REFUSALS_PAUSE: Duration = Duration::from_secs(60);
/// The largest datagram that there is.
const DATAGRAM_BYTES: usize = 65_535;

pub(super) async fn run(shared: Shared, watchdog: Watchdog) -> anyhow::Result<()> {
    let shutdown = shared.shutdown();
    tokio::select! {
        () = shutdown => Ok(()),
        ended = take_figures(&shared, &watchdog) => ended,
    }
}

async fn take_figures(shared: &Shared, watchdog: &Watchdog) -> anyhow::Result<()> {
    let mut layouts = shared.store.watch(LAYOUT_PREFIX);
    let socket = bind(shared, watchdog).await;
    let clock = Clock::start();
    let mut intake = Intake::new(shared.keys.clone());
    intake.set_senders(&senders(&read_layout(&shared.store)?.layout));
    let mut teller = Teller::new(shared.status.clone());
    let mut telling = interval(TELLING);
    telling.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                if let Ok((length, from)) = received && let IpAddr::V4(from) = from.ip() {
                    let packet = buffer.get(..length).unwrap_or_default();
                    if let Err(refusal) = intake.take(packet, from, clock.now()) {
                        debug!(%from, %refusal, "figures are refused");
                    }
                }
            }
            () = layouts.changed() => match read_layout(&shared.store) {
                Ok(stored) => intake.set_senders(&senders(&stored.layout)),
                Err(error) => warn!(%error, "cannot read the layout; hearing the VMs that are known"),
            },
            _ = telling.tick() => {
                if let Err(error) = teller.tell(&intake.load(clock.now())) {
                    warn!(%error, "cannot tell what VMs have to do; trying again");
                }
                teller.tell_refusals(intake.refused());
                watchdog.feed();
            }
        }
    }
}

/// Binds with patience: an address that is missing or taken is a trouble that may pass.
async fn bind(shared: &Shared, watchdog: &Watchdog) -> UdpSocket {
    let listen = shared.config.monitor_listen();
    let (began, mut told) = (Instant::now(), None);
    loop {
        match UdpSocket::bind(listen).await {
            Ok(socket) => {
                info!(%listen, "figures are taken in");
                let _ = put_trouble(&shared.status, "monitor", None);
                return socket;
            }
            Err(error) => {
                let words = format!("no figures of VMs are taken in: UDP {listen}: {error}");
                if began.elapsed() > BIND_GRACE && told.as_ref() != Some(&words) {
                    warn!("{words}");
                    let _ = put_trouble(&shared.status, "monitor", Some(&words));
                    told = Some(words);
                }
                watchdog.feed();
                sleep(BIND_PAUSE).await;
            }
        }
    }
}

/// From where each VM sends.
fn senders(layout: &Layout) -> BTreeMap<VmId, Ipv4Addr> {
    let vms = layout.instances.values().flat_map(|i| &i.vms);
    vms.map(|(id, vm)| (*id, vm.front.address)).collect()
}

/// Both clocks of the machine.
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn now(&self) -> Moment {
        Moment {
            monotonic: self.0.elapsed(),
            wall: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }
}

/// Tells the other roles what is known.
struct Teller {
    status: Store,
    lease: Option<LeaseId>,
    refusals: BTreeMap<&'static str, u64>,
    refusals_told: Option<Instant>,
}

impl Teller {
    fn new(status: Store) -> Self {
        Self {
            status,
            lease: None,
            refusals: BTreeMap::new(),
            refusals_told: None,
        }
    }

    /// Writes the loads under a lease, which is renewed or, where it ran out, taken anew.
    fn tell(&mut self, loads: &BTreeMap<VmId, LoadSight>) -> Result<(), StoreError> {
        let held = self.lease.take();
        let renewed = held.filter(|lease| self.status.keep_alive(*lease).is_ok());
        let lease = renewed.map_or_else(|| self.status.grant_lease(LOAD_TTL), Ok)?;
        let told = Transaction::new().put_json_leased(load_key(MONITOR), loads, lease)?;
        self.status.commit(told)?;
        self.lease = Some(lease);
        Ok(())
    }

    /// Says in the log, from time to time, what was refused since the last time.
    fn tell_refusals(&mut self, refused: &BTreeMap<&'static str, u64>) {
        let is_due = self
            .refusals_told
            .is_none_or(|at| at.elapsed() >= REFUSALS_PAUSE);
        if *refused != self.refusals && is_due {
            warn!(packets = ?refused, "figures that came were refused, by reason and in all");
            self.refusals.clone_from(refused);
            self.refusals_told = Some(Instant::now());
        }
    }
}
