//! Sends on what VMs tell to a user's own collectd, if the configuration names one.
//!
//! ```text
//!  taken ──queue, bounded──▶ task: names, seals ──▶ UDP, never waited for
//!            full: lost and told
//! ```

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::monitor::{Forwarder, Taken, Tally};
use anyhow::Context;
use model::VmId;
use store::intent::{INTENT, read_intent};
use store::layout::{LAYOUT_PREFIX, read_layout};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::info;

use super::Shared;
use super::config::{ForwardSection, exposed};
use super::identity::random;
use super::trouble::Trouble;

/// Packets that wait to be sent on: two or three of each of some hundred VMs.
const MOST_WAITING: usize = 1_024;
/// Between two looks at how it goes.
const LOOK: Duration = Duration::from_secs(1);
/// Between two attempts to begin.
const PAUSE: Duration = Duration::from_secs(1);

/// Hands over what is to be sent on, if anything is.
#[derive(Clone, Default)]
pub(super) struct Outbox {
    queue: Option<mpsc::Sender<Taken>>,
    /// What did not fit into the queue.
    lost: Arc<AtomicU64>,
}

/// What waits in it.
pub(super) struct Waiting {
    queue: mpsc::Receiver<Taken>,
    lost: Arc<AtomicU64>,
}

impl Outbox {
    /// One that takes what there is somebody for to send to.
    pub(super) fn new(shared: &Shared) -> (Self, Option<Waiting>) {
        if shared.config.collectd.forward.is_none() {
            return (Self::default(), None);
        }
        let (sender, queue) = mpsc::channel(MOST_WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let outbox = Self {
            queue: Some(sender),
            lost: Arc::clone(&lost),
        };
        (outbox, Some(Waiting { queue, lost }))
    }

    /// Takes what a VM told. Never waits.
    pub(super) fn put(&self, taken: &Taken) {
        if let Some(queue) = &self.queue
            && queue.try_send(taken.clone()).is_err()
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends on for as long as it is polled. What stands in the way is told, and all begins anew.
pub(super) async fn send_on(shared: Shared, waiting: Option<Waiting>, tally: Tally) -> Infallible {
    let mut trouble = Trouble::new(shared.status.clone(), "monitor/forward");
    let mut password = Trouble::new(shared.status.clone(), "monitor/forward-password");
    let (Some(section), Some(mut waiting)) = (&shared.config.collectd.forward, waiting) else {
        // Nor is anything wrong any more that an earlier process told under another configuration.
        trouble.tell(None);
        password.tell(None);
        return std::future::pending().await;
    };
    loop {
        password.tell(section.password_file.as_deref().and_then(exposed));
        let Err(error) =
            send_until_it_fails(&shared, section, &mut waiting, &tally, &mut trouble).await;
        trouble.tell(Some(not_sent(section, &format!("{error:#}"))));
        sleep(PAUSE).await;
    }
}

/// # Errors
/// Those of the password's file and the store, and those of the socket that a new one may mend.
async fn send_until_it_fails(
    shared: &Shared,
    section: &ForwardSection,
    waiting: &mut Waiting,
    tally: &Tally,
    trouble: &mut Trouble,
) -> anyhow::Result<Infallible> {
    let (mut intents, mut layouts) = (
        shared.store.watch(INTENT),
        shared.store.watch(LAYOUT_PREFIX),
    );
    let (user, password) = section.key()?;
    let mut forwarder = Forwarder::new(section.security.into(), user, password, random()?);
    let socket = open_socket(section.server).context("cannot open a socket")?;
    write_types(shared)?;
    let mut names = names(shared)?;
    info!(server = %section.server, "figures of VMs are sent on");
    let (mut is_known, mut looks) = (true, interval(LOOK));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut went = Went::default();
    loop {
        tokio::select! {
            Some(taken) = waiting.queue.recv() => {
                let Some(name) = names.get(&taken.vm) else { continue };
                let packets = forwarder.packets(&taken.lists, name);
                if let Err(error) = went.send_all(&packets, |packet| send(&socket, packet)) {
                    tally.note_forwarded(went.sent, went.unsent);
                    return Err(error.into());
                }
            }
            () = intents.changed() => is_known = false,
            () = layouts.changed() => is_known = false,
            _ = looks.tick() => {
                let lost = waiting.lost.swap(0, Ordering::Relaxed);
                let went = std::mem::take(&mut went);
                tally.note_forwarded(went.sent, went.unsent + lost);
                let why = went.failed.map(|error| error.to_string());
                let why = why.or_else(|| (lost > 0).then(|| "more comes than can be sent".into()));
                // Whether somebody is there again, only what is sent can tell.
                if why.is_some() || went.sent > 0 || !trouble.stands() {
                    trouble.tell(why.map(|why| not_sent(section, &why)));
                }
                if !std::mem::replace(&mut is_known, true) {
                    names = self::names(shared)?;
                }
            }
        }
    }
}

/// How it went since the last look.
#[derive(Default)]
struct Went {
    sent: u64,
    unsent: u64,
    failed: Option<io::Error>,
}

impl Went {
    /// Sends packets, and takes note of how it went with each.
    ///
    /// # Errors
    /// One that does not pass by itself: a network that went, and its address with it. This packet and those after it
    /// are counted as not sent.
    fn send_all(
        &mut self,
        packets: &[Vec<u8>],
        mut send: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        for (at, packet) in packets.iter().enumerate() {
            match send(packet) {
                Ok(()) => self.sent += 1,
                Err(error) if passes(&error) => {
                    self.unsent += 1;
                    self.failed = Some(error);
                }
                Err(error) => {
                    self.unsent += (packets.len() - at) as u64;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Whether the next packet may have more luck: when nobody was there, or there was no room.
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, WouldBlock};
    matches!(error.kind(), ConnectionRefused | WouldBlock)
}

/// Sends a packet.
///
/// # Errors
/// Those of the packet; or, once, that nobody took the one before, which the other machine's kernel said.
fn send(socket: &UdpSocket, packet: &[u8]) -> io::Result<()> {
    let sent = socket.send(packet).map(drop);
    if let Err(error) = &sent
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        // This one was not sent at all, and somebody may be there by now.
        let _next = socket.send(packet);
    }
    sent
}

fn not_sent(section: &ForwardSection, why: &str) -> String {
    format!(
        "figures of VMs are not all sent on to {}: {why}",
        section.server
    )
}

/// A socket of its server's alone: of others the kernel does not say that nobody takes what is sent to them.
fn open_socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = match server {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// What each VM is called there: `vm-7.web.johns-project`.
fn names(shared: &Shared) -> anyhow::Result<BTreeMap<VmId, String>> {
    let (_, intent) = read_intent(&shared.store)?;
    let layout = read_layout(&shared.store)?.layout;
    let mut names = BTreeMap::new();
    for (id, of) in &layout.instances {
        let instance = intent.instances.get(id).map(|instance| &*instance.label);
        let project = intent
            .projects
            .get(&of.project)
            .map(|project| &*project.label);
        let (instance, project) = (instance.unwrap_or("deleted"), project.unwrap_or("deleted"));
        let vms = of.vms.keys();
        names.extend(vms.map(|vm| (*vm, format!("vm-{vm}.{instance}.{project}"))));
    }
    Ok(names)
}

/// Writes what the user's collectd has to know of types that are not its own.
fn write_types(shared: &Shared) -> anyhow::Result<()> {
    let path: PathBuf = shared.config.run_directory.join("types.db");
    std::fs::write(&path, model::figures::types_db())
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_nobody_is_there_is_noticed_and_that_somebody_is_again() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap();
        let socket = open_socket(address).unwrap();
        socket.set_nonblocking(false).unwrap();
        let mut buffer = [0; 8];
        send(&socket, b"one").unwrap();
        assert_eq!(server.recv(&mut buffer).unwrap(), 3);
        drop(server);
        send(&socket, b"two").unwrap();
        let refused = send(&socket, b"three").unwrap_err();
        assert!(passes(&refused), "{refused}");
        // The refusal of the third is told with the fourth, which is sent all the same.
        let server = UdpSocket::bind(address).unwrap();
        let _refused = send(&socket, b"fourth");
        assert_eq!(server.recv(&mut buffer).unwrap(), 6);
        send(&socket, b"five").unwrap();
    }

    #[test]
    fn every_packet_is_counted_as_sent_or_not_also_when_the_network_goes() {
        let packets = [vec![1], vec![2], vec![3], vec![4], vec![5]];
        let mut went = Went::default();
        let ended = went.send_all(&packets, |packet| match packet {
            [2] => Err(io::ErrorKind::ConnectionRefused.into()),
            [4] => Err(io::ErrorKind::NetworkUnreachable.into()),
            _ => Ok(()),
        });
        assert!(ended.is_err());
        assert_eq!((went.sent, went.unsent), (2, 3));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_never_waited_for() {
        let (sender, mut waiting) = mpsc::channel(2);
        let outbox = Outbox {
            queue: Some(sender),
            lost: Arc::default(),
        };
        let taken = Taken {
            vm: VmId(7),
            samples: Vec::new(),
            lists: Vec::new(),
        };
        for _ in 0..5 {
            outbox.put(&taken);
        }
        assert_eq!(outbox.lost.load(Ordering::Relaxed), 3);
        assert_eq!(waiting.try_recv(), Ok(taken.clone()));
        Outbox::default().put(&taken);
    }
}
