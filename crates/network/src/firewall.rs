//! What a VM may say, and to whom, as nftables rules.
//!
//! ```text
//!  host's namespace                                     project's namespace
//!  table bridge ek                                      table bridge ek
//!    prerouting:  from ekf* ─▶ from_vm                    prerouting:  from the fenced: drop
//!    from_vm:     by port ─▶ that port's chain, or drop                from ekt* ─▶ from_vm
//!    ekf7:        its MAC, its IPv4 and ARP sender,       from_vm:     the same
//!                 or drop                                 ekt7:        the same for the tenant NIC
//!    forward:     from the fenced: drop                   postrouting: to the fenced: drop
//!    postrouting: from the checker's address: the
//!                 checker, or drop
//!                 to the fenced: ARP, the checker,
//!                 or drop
//!  table inet ek
//!    input:   from the fenced: answers to the checker, or drop
//!    input:   figures for the monitor
//!    input, forward: from ek-front ─▶ replies, or drop
//!    output:  to the fenced: the checker, or a reset
//!    forward: from the fenced: drop; to the fenced: a reset
//! ```
//!
//! - A port without a chain says nothing: rules come before a link is up and go after it is gone.
//! - A VM is one chain and one element of the map `ports`. Adding it rewrites nothing of the others'.
//! - A fence is the port's name in the set `fenced`, on the front the VM's address in the inet table's as well.
//!   Rules that lead nowhere else stand beside a port's own, so that whoever puts these right does not open
//!   it. The two elements of the front come and go in one transaction.
//! - The host's chain of a VM is also the record that the VM has a network here: written before anything
//!   else is made for it, removed last. Its comment says what was made, so that nothing is left behind
//!   whose owner cannot be told.
//! - There is no connection tracking. A load balancer's many short connections would stay in its table for
//!   minutes each, a full table drops everybody's packets, and once one rule asks for it every packet of
//!   the host pays. A TCP segment that opens a connection is told by its flags alone: SYN without ACK.
//! - The checker is told by the mark of its sockets ([`model::CHECKER_MARK`]), which the kernel sees on what they
//!   send and looks up for what they get. It holds within one machine. A checker on another one comes by
//!   routes, as clients do: for it there would be one more set, of checkers' addresses, which `forward`
//!   lets through both ways before it looks whether the VM is fenced.
//!
//! Whether rules stand is read from a listing, which is kept for as long as the kernel says that nothing was
//! changed ([`generation`]). What we change ourselves is noted in it, where the kernel counts our one
//! transaction and no other: with a hundred VMs a listing takes 10 ms of a processor, and each VM that is made
//! would ask for two.

mod chains;
mod generation;
mod guards;
mod ports;
mod record;
mod standing;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use record::{LinkKind, Record};
pub(crate) use standing::Standing;

use crate::NetworkError;
use crate::namespace::Namespace;
use crate::nft::{Nft, Outcome};
use chains::Chains;
use generation::Generation;

/// The tables of one installation.
#[derive(Debug)]
pub(crate) struct Firewall {
    nft: Nft,
    table: String,
    /// The one address and UDP port of the host to which VMs may speak first.
    figures: Option<SocketAddrV4>,
    /// The address from which checkers alone speak to VMs.
    checker: Option<Ipv4Addr>,
    known: Mutex<BTreeMap<u64, Known>>,
}

/// Which of a VM's two ports, and so in whose namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// On the front bridge, in the host's.
    Front,
    /// On a subnet's bridge, in its project's.
    Tenant,
}

/// What was listed in a namespace.
#[derive(Debug)]
struct Known {
    generation: Generation,
    standing: Arc<Standing>,
    /// Whether it was asked for since the last [`Firewall::forget_unused`].
    is_used: bool,
}

impl Firewall {
    /// Rules in tables of this name, which let VMs send their figures to `figures`, and checkers alone speak from
    /// `checker`.
    pub(crate) fn new(
        nft: Nft,
        table: &str,
        figures: Option<SocketAddrV4>,
        checker: Option<Ipv4Addr>,
    ) -> Self {
        Self {
            nft,
            table: table.to_owned(),
            figures,
            checker,
            known: Mutex::default(),
        }
    }

    /// Makes the rules for ports of one side stand in a namespace.
    pub(crate) async fn ensure_port_guard(
        &self,
        namespace: &Namespace,
        side: Side,
    ) -> Result<(), NetworkError> {
        self.ensure(namespace, side, &self.port_guard(side)).await
    }

    /// Makes the rules for all that comes from and goes to the front bridge stand on the host.
    pub(crate) async fn ensure_front_guard(
        &self,
        host: &Namespace,
        front_bridge: &str,
    ) -> Result<(), NetworkError> {
        self.ensure(host, Side::Front, &self.front_guard(front_bridge))
            .await
    }

    /// Whether all rules of the host stand that are there whatever VMs there are.
    pub(crate) fn host_is_guarded(&self, standing: &Standing, front_bridge: &str) -> bool {
        self.port_guard(Side::Front).are_in(standing)
            && self.front_guard(front_bridge).are_in(standing)
    }

    /// The same of a project's namespace.
    pub(crate) fn project_is_guarded(&self, standing: &Standing) -> bool {
        self.port_guard(Side::Tenant).are_in(standing)
    }

    /// What stands in a namespace now.
    pub(crate) async fn standing(
        &self,
        namespace: &Namespace,
        side: Side,
    ) -> Result<Arc<Standing>, NetworkError> {
        // Asked before the listing: what is changed in between makes the listing old at the next look.
        let generation = Generation::of(namespace).await;
        if let Some(standing) = generation.and_then(|generation| self.recall(generation)) {
            return Ok(standing);
        }
        let mut standing = Standing::default();
        if !generation.is_some_and(Generation::is_first) {
            for table in self.tables(side) {
                self.list(namespace, &table, &mut standing).await?;
            }
        }
        let standing = Arc::new(standing);
        if let Some(generation) = generation {
            self.remember(generation, Arc::clone(&standing));
        }
        Ok(standing)
    }

    /// Forgets what was listed in namespaces that nobody asked about since the last call: they are gone.
    pub(crate) fn forget_unused(&self) {
        self.known()
            .retain(|_, known| std::mem::replace(&mut known.is_used, false));
    }

    /// Removes both tables from the host. Fine when absent.
    pub(crate) async fn remove_tables(&self, host: &Namespace) -> Result<(), NetworkError> {
        let tables = self.tables(Side::Front);
        let scripts = tables.map(|table| format!("add table {table}\ndelete table {table}\n"));
        let note = |standing: &mut Standing| *standing = Standing::default();
        self.expect_done(host, "remove the tables", scripts.collect(), note)
            .await
    }

    async fn ensure(
        &self,
        namespace: &Namespace,
        side: Side,
        chains: &Chains,
    ) -> Result<(), NetworkError> {
        if chains.are_in(&*self.standing(namespace, side).await?) {
            return Ok(());
        }
        let action = format!("write table {}", chains.table());
        let note = |standing: &mut Standing| chains.note(standing);
        match self
            .change(namespace, &action, chains.script(), note)
            .await?
        {
            Outcome::Done(_) => Ok(()),
            Outcome::Exists | Outcome::Absent => Err(NetworkError::Firewall {
                action: format!("{action} in {namespace}"),
                message: "the table has chains of other kinds, or the kernel lacks a part that the rules need \
                    (nft_socket, nft_reject_inet): delete the table, or load these modules"
                    .into(),
            }),
        }
    }

    /// Applies a script of which `note` says what it does. Where nothing else was changed meanwhile, it is known
    /// without a listing what stands now.
    async fn change(
        &self,
        namespace: &Namespace,
        action: &str,
        script: String,
        note: impl FnOnce(&mut Standing),
    ) -> Result<Outcome, NetworkError> {
        let before = Generation::of(namespace).await;
        let outcome = self.nft.apply(namespace, action, script).await?;
        if let (Outcome::Done(_), Some(before)) = (&outcome, before)
            && let Some(after) = Generation::of(namespace).await
            && after.follows(before)
        {
            let known = match before.is_first() {
                true => Some(Arc::default()),
                false => self.recall(before),
            };
            if let Some(mut standing) = known {
                note(Arc::make_mut(&mut standing));
                self.remember(after, standing);
            }
        }
        Ok(outcome)
    }

    async fn list(
        &self,
        namespace: &Namespace,
        table: &str,
        standing: &mut Standing,
    ) -> Result<(), NetworkError> {
        let object = format!("table {table}");
        let Outcome::Done(text) = self.nft.list(namespace, &object).await? else {
            return Ok(());
        };
        standing
            .read(&text)
            .map_err(|message| NetworkError::Firewall {
                action: format!("read the list of {object} in {namespace}"),
                message,
            })
    }

    async fn expect_done(
        &self,
        namespace: &Namespace,
        action: &str,
        script: String,
        note: impl FnOnce(&mut Standing),
    ) -> Result<(), NetworkError> {
        match self.change(namespace, action, script, note).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Exists | Outcome::Absent => Err(self.no_table(namespace, action)),
        }
    }

    fn no_table(&self, namespace: &Namespace, action: &str) -> NetworkError {
        NetworkError::Firewall {
            action: format!("{action} in {namespace}"),
            message: format!(
                "table `{}` is not there or was changed meanwhile: ensure the bridge again",
                self.table
            ),
        }
    }

    fn remember(&self, generation: Generation, standing: Arc<Standing>) {
        let known = Known {
            generation,
            standing,
            is_used: true,
        };
        self.known().insert(generation.namespace, known);
    }

    fn recall(&self, generation: Generation) -> Option<Arc<Standing>> {
        let mut known = self.known();
        let known = known.get_mut(&generation.namespace)?;
        known.is_used = true;
        (known.generation == generation).then(|| Arc::clone(&known.standing))
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        // The map is whole between any two statements, so a panic elsewhere leaves nothing half-done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables of one side's namespace, with their families.
    fn tables(&self, side: Side) -> impl Iterator<Item = String> + use<> {
        let inet = (side == Side::Front).then(|| self.inet_table());
        std::iter::once(self.bridge_table()).chain(inet)
    }

    fn bridge_table(&self) -> String {
        format!("bridge {}", self.table)
    }

    fn inet_table(&self) -> String {
        format!("inet {}", self.table)
    }

    /// What the names of ports begin with, as in [`crate::Names`].
    fn port_prefix(&self, side: Side) -> String {
        let letter = match side {
            Side::Front => 'f',
            Side::Tenant => 't',
        };
        format!("{}{letter}", self.table)
    }
}
