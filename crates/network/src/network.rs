//! The entrance: one installation's network on one machine.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::Ipv4Net;
use model::{ProjectId, VmId, checker_address};
use rustix::thread::CapabilitySet;

use crate::firewall::Firewall;
use crate::namespace::Namespace;
use crate::netlink::Netlink;
use crate::nft::Nft;
use crate::{Names, NetworkError};

/// What one installation's network is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Begins the name of everything that is made: one to four lower-case letters or digits, a letter
    /// first. Two installations in one namespace need prefixes neither of which begins with the other.
    pub prefix: String,
    /// The front network, given as the host's own address in it and its length: `10.200.0.1/16`.
    pub front: Ipv4Net,
    /// The UDP port of the host's own front address to which VMs may send their figures; none when absent.
    pub figures_port: Option<u16>,
}

/// One installation's network on this machine. Clones share everything.
///
/// Every `ensure_*` and `remove_*` may be called again at any time, also after the process was killed in
/// the middle of one: it takes up what it finds. A caller that stops waiting stops nothing, the work goes
/// on to its end, and the next call for the same object waits for it.
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) names: Names,
    pub(crate) front: Ipv4Net,
    pub(crate) host: Namespace,
    pub(crate) firewall: Firewall,
    turns: Mutex<BTreeMap<Object, Turn>>,
}

/// What is changed by one operation at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    Front,
    Project(ProjectId),
    Vm(VmId),
}

type Turn = Arc<tokio::sync::Mutex<()>>;

impl Network {
    /// Checks that the process may do what is needed. The namespace that it is in now plays the host from
    /// here on; that need not be the machine's first.
    ///
    /// # Errors
    /// `Configuration` for a bad prefix or front network, `NotPermitted` without the capabilities,
    /// `Firewall` where `nft` is not installed.
    pub async fn open(config: NetworkConfig) -> Result<Self, NetworkError> {
        let names = Names::new(&config.prefix).map_err(NetworkError::Configuration)?;
        check_front(config.front)?;
        check_capabilities()?;
        let figures = config.figures_port;
        let figures = figures.map(|port| SocketAddrV4::new(config.front.addr(), port));
        Ok(Self {
            shared: Arc::new(Shared {
                firewall: Firewall::new(
                    Nft::find()?,
                    names.prefix(),
                    figures,
                    checker_address(config.front),
                ),
                names,
                front: config.front,
                host: Namespace::current()?,
                turns: Mutex::default(),
            }),
        })
    }

    /// What things are called.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.shared.names
    }

    /// Does `work` when no other work on `object` is under way, and to its end, also when the caller is
    /// cancelled: a half-made network is left by a killed process only, not by a dropped future.
    pub(crate) async fn in_turn<T, F>(
        &self,
        object: Object,
        work: impl FnOnce(Arc<Shared>) -> F,
    ) -> Result<T, NetworkError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, NetworkError>> + Send + 'static,
    {
        let turn = self.shared.turn(object);
        let work = work(Arc::clone(&self.shared));
        let task = tokio::spawn(async move {
            let _turn = turn.lock_owned().await;
            work.await
        });
        task.await.unwrap_or_else(|e| {
            Err(NetworkError::Kernel {
                action: format!("finish the work on {object:?}"),
                source: io::Error::other(e),
            })
        })
    }
}

impl Shared {
    /// A connection to the host's rtnetlink.
    pub(crate) async fn host_netlink(&self) -> Result<Netlink, NetworkError> {
        Netlink::open(&self.host).await
    }

    fn turn(&self, object: Object) -> Turn {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Turns that nobody holds or waits for are forgotten, so that the map stays as small as the
        // work under way.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(object).or_default())
    }
}

fn check_front(front: Ipv4Net) -> Result<(), NetworkError> {
    let has_room = front.prefix_len() <= 30;
    let is_host = front.addr() != front.network() && front.addr() != front.broadcast();
    if has_room && is_host {
        return Ok(());
    }
    Err(NetworkError::Configuration(format!(
        "the front network `{front}` must be the host's own address in it and a length of at most 30, for example 10.200.0.1/16"
    )))
}

fn check_capabilities() -> Result<(), NetworkError> {
    let action = "change the machine's network";
    let refused = |source: io::Error| NetworkError::NotPermitted {
        action: action.into(),
        source,
    };
    let sets = rustix::thread::capabilities(None).map_err(|e| refused(e.into()))?;
    let needed = CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN;
    if sets.effective.contains(needed) {
        Ok(())
    } else {
        Err(refused(io::ErrorKind::PermissionDenied.into()))
    }
}
