//! The monitor's role: takes the figures that VMs send, keeps them and the VMs' access logs, and tells what each has to
//! do. VMs send to one address, so an installation has one monitor: whoever comes second is refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::monitor::{Intake, Moment, Tally, answer_questions, bind_questions};
use anyhow::{Context, anyhow, ensure};
use model::{InstanceId, Layout, LoadSight, Timestamp, VmId};
use store::Store;
use store::layout::{LAYOUT_PREFIX, read_layout};
use store::status::{load_key, put_trouble};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use super::forward::Outbox;
use super::keeping::Keeping;
use super::place::{Place, Told};
use super::receiver::Receiver;
use super::refusals::Refusals;
use super::{Shared, Watchdog, access_log, forward, hosts};

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
/// Whose packets are refused, in what is told of it.
const SENDERS: &str = "vms";
/// How long another monitor may be there: for longer than one that died stays known.
const PLACE_PATIENCE: Duration = Duration::from_secs(7);
/// Between two attempts to take the place.
const PLACE_PAUSE: Duration = Duration::from_millis(250);
/// The largest datagram that there is.
pub(super) const DATAGRAM_BYTES: usize = 65_535;

pub(super) async fn run(shared: Shared, watchdog: Watchdog) -> anyhow::Result<()> {
    let shutdown = shared.shutdown();
    let mut teller = Teller::new(shared.status.clone());
    tokio::pin!(shutdown);
    tokio::select! {
        () = &mut shutdown => return Ok(()),
        taken = take_place(&mut teller) => taken?,
    }
    let mut keeping = Keeping::start(&shared)?;
    let socket = shared.config.monitor_socket();
    let questions = bind_questions(&socket);
    let questions = questions.with_context(|| format!("cannot listen on {}", socket.display()))?;
    let tally = Tally::beginning(began_at());
    let asker = keeping.asker(tally.clone());
    // Tasks of their own, so that whoever floods the one, and what the others have to do, holds up no figures of VMs; nor
    // does a flood of those hold up the others.
    let mut others = JoinSet::new();
    others.spawn(hosts::take(shared.clone(), keeping.hosts(), tally.clone()));
    let (outbox, waiting) = Outbox::new(&shared);
    others.spawn(forward::send_on(shared.clone(), waiting, tally.clone()));
    others.spawn(answer_questions(questions, asker));
    let (logs, counts) = (shared.clone(), tally.clone());
    others.spawn(async move { access_log::keep(&logs, &counts).await });
    let outcome = tokio::select! {
        () = shutdown => Ok(()),
        Some(ended) = others.join_next() => Err(anyhow!("a task beside the figures of VMs ended: {ended:?}")),
        ended = take_figures(&shared, &watchdog, teller, &mut keeping, &tally, &outbox) => ended,
    };
    others.shutdown().await;
    keeping.close().await;
    outcome
}

async fn take_figures(
    shared: &Shared,
    watchdog: &Watchdog,
    mut teller: Teller,
    keeping: &mut Keeping,
    tally: &Tally,
    outbox: &Outbox,
) -> anyhow::Result<()> {
    let mut layouts = shared.store.watch(LAYOUT_PREFIX);
    let mut receiver = bind(shared, watchdog, &mut teller).await;
    let clock = Clock::start();
    let mut intake = Intake::new(shared.keys.clone());
    let mut refusals = Refusals::new(shared.status.clone(), SENDERS);
    let layout = read_layout(&shared.store)?.layout;
    intake.set_senders(&senders(&layout));
    keeping.set_origins(&layout);
    tally.set_instances(&vms_by_instance(&layout));
    let mut telling = interval(TELLING);
    telling.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        // One packet for each turn, and of those that are due any, by lot: a flood puts off the telling by some packets.
        tokio::select! {
            received = receiver.receive(&mut buffer) => {
                if let Ok((length, from)) = received && let IpAddr::V4(from) = from.ip() {
                    let packet = buffer.get(..length).unwrap_or_default();
                    match intake.take(packet, from, clock.now()) {
                        Ok(taken) => {
                            tally.take(&taken, Instant::now());
                            outbox.put(&taken);
                            keeping.keep(taken);
                        }
                        Err(refusal) => debug!(%from, %refusal, "figures are refused"),
                    }
                }
            }
            () = layouts.changed() => match read_layout(&shared.store) {
                Ok(stored) => {
                    intake.set_senders(&senders(&stored.layout));
                    keeping.set_origins(&stored.layout);
                    tally.set_instances(&vms_by_instance(&stored.layout));
                }
                Err(error) => warn!(%error, "cannot read the layout; hearing the VMs that are known"),
            },
            _ = telling.tick() => {
                teller.tell(intake.load(clock.now()));
                intake.set_unread(receiver.dropped());
                tally.set_refused(intake.refused());
                refusals.tell(intake.refused());
                keeping.look();
                watchdog.feed();
            }
        }
    }
}

/// Takes the monitor's place, for which one that has died is waited out.
async fn take_place(teller: &mut Teller) -> anyhow::Result<()> {
    let began = Instant::now();
    while !teller.tell(BTreeMap::new()) {
        ensure!(
            began.elapsed() < PLACE_PATIENCE,
            "another monitor is at work in this installation, which needs one: end either"
        );
        sleep(PLACE_PAUSE).await;
    }
    Ok(())
}

/// Binds with patience: an address that is missing or taken is a trouble that may pass. The place is kept meanwhile.
async fn bind(shared: &Shared, watchdog: &Watchdog, teller: &mut Teller) -> Receiver {
    let listen = shared.config.monitor_listen();
    let (began, mut told) = (Instant::now(), None);
    loop {
        match Receiver::bind(listen).await {
            Ok(receiver) => {
                info!(%listen, "figures are taken in");
                let _ = put_trouble(&shared.status, "monitor", None);
                return receiver;
            }
            Err(error) => {
                let words = format!("no figures of VMs are taken in: UDP {listen}: {error}");
                if began.elapsed() > BIND_GRACE && told.as_ref() != Some(&words) {
                    warn!("{words}");
                    let _ = put_trouble(&shared.status, "monitor", Some(&words));
                    told = Some(words);
                }
                watchdog.feed();
                teller.tell(BTreeMap::new());
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

/// The host's clock, for those who want to know since when something is counted.
fn began_at() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.unwrap_or_default().as_millis();
    Timestamp(u64::try_from(ms).unwrap_or(u64::MAX))
}

/// Which VMs each instance has.
fn vms_by_instance(layout: &Layout) -> BTreeMap<InstanceId, Vec<VmId>> {
    let instances = layout.instances.iter();
    instances
        .map(|(id, of)| (*id, of.vms.keys().copied().collect()))
        .collect()
}

/// Both clocks of the machine.
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(&self) -> Moment {
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
    place: Place<BTreeMap<VmId, LoadSight>>,
}

impl Teller {
    fn new(status: Store) -> Self {
        Self {
            place: Place::new(status, load_key(MONITOR), LOAD_TTL),
        }
    }

    /// Writes the loads under a lease, which is renewed or, where it ran out, taken anew. Says whether they stand
    /// there.
    fn tell(&mut self, loads: BTreeMap<VmId, LoadSight>) -> bool {
        match self.place.tell_anew(loads) {
            Ok(Told::Stands) => true,
            Ok(Told::NameTaken) => {
                debug!("another monitor tells what VMs have to do");
                false
            }
            Err(error) => {
                warn!(%error, "cannot tell what VMs have to do; trying again");
                false
            }
        }
    }
}
