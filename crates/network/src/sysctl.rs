//! Kernel settings of the namespaces that we make. None of the host's own is touched.
//!
//! `/proc/sys/net` shows the settings of the namespace that the reading thread is in, so these run on a
//! thread inside it. A new namespace inherits IPv4 settings from the machine's first one: nothing may be
//! taken for its default.

use std::fs;
use std::io;

use crate::NetworkError;
use crate::namespace::Namespace;
use Presence::{Required, WhereBuilt};

/// A setting, its value, and whether a kernel may lack it (built without that part).
type Setting = (&'static str, &'static str, Presence);

#[derive(Clone, Copy, PartialEq)]
enum Presence {
    Required,
    WhereBuilt,
}

/// In every namespace of ours. Forwarding comes first, because writing it resets others.
const EVERYWHERE: &[Setting] = &[
    ("ipv4/ip_forward", "0", Required),
    // Nothing of ours speaks IPv6 yet; without this each link sends router solicitations.
    ("ipv6/conf/all/disable_ipv6", "1", WhereBuilt),
    ("ipv6/conf/default/disable_ipv6", "1", WhereBuilt),
    // A new namespace has these on. Bridged frames would then also pass IP filters: a forward policy
    // of drop kills them silently.
    ("bridge/bridge-nf-call-iptables", "0", WhereBuilt),
    ("bridge/bridge-nf-call-ip6tables", "0", WhereBuilt),
    ("bridge/bridge-nf-call-arptables", "0", WhereBuilt),
];

/// In the namespace that stands for a VM.
const VM: &[Setting] = &[
    // The balancer listens on port 80 without privileges.
    ("ipv4/ip_unprivileged_port_start", "0", Required),
    // Linux would answer for the tenant address on the front NIC and the other way round.
    ("ipv4/conf/all/arp_ignore", "1", Required),
    ("ipv4/conf/all/arp_announce", "2", Required),
    ("ipv4/conf/all/rp_filter", "1", Required),
];

/// Sets up a project's namespace.
pub(crate) async fn apply_to_project(namespace: &Namespace) -> Result<(), NetworkError> {
    apply(namespace, &[EVERYWHERE]).await
}

/// Sets up the namespace of a VM of the process driver.
pub(crate) async fn apply_to_vm(namespace: &Namespace) -> Result<(), NetworkError> {
    apply(namespace, &[EVERYWHERE, VM]).await
}

/// Keeps the kernel from giving a link of the host's namespace IPv6 addresses.
pub(crate) async fn disable_ipv6(namespace: &Namespace, link: &str) -> Result<(), NetworkError> {
    let name = format!("ipv6/conf/{link}/disable_ipv6");
    namespace
        .enter(format!("turn IPv6 off on {link}"), move || {
            set(&name, "1", WhereBuilt)
        })
        .await
}

async fn apply(
    namespace: &Namespace,
    groups: &'static [&'static [Setting]],
) -> Result<(), NetworkError> {
    namespace
        .enter("set kernel parameters", move || {
            groups
                .iter()
                .copied()
                .flatten()
                .try_for_each(|(name, value, presence)| set(name, value, *presence))
        })
        .await
}

fn set(name: &str, value: &str, presence: Presence) -> io::Result<()> {
    let path = format!("/proc/sys/net/{name}");
    match fs::write(&path, value) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && presence == WhereBuilt => Ok(()),
        Err(e) => Err(io::Error::new(e.kind(), format!("{path} = {value}: {e}"))),
        Ok(()) => Ok(()),
    }
}
