//! What a VM may say, and to whom, as nftables rules.
//!
//! ```text
//!  host's namespace                                     project's namespace
//!  table bridge ek                                      table bridge ek
//!    prerouting: from ekf* ─▶ from_vm                     prerouting: from ekt* ─▶ from_vm
//!    from_vm:    by port ─▶ that port's chain, or drop    from_vm:    the same
//!    ekf7:       its MAC, its IPv4 and ARP sender,        ekt7:       the same for the tenant NIC
//!                or drop
//!  table inet ek
//!    input, forward: from ek-front ─▶ replies, or drop
//! ```
//!
//! - A port without a chain says nothing: rules come before a link is up and go after it is gone.
//! - A VM is one chain and one element of the map `ports`. Adding it rewrites nothing of the others'. A later
//!   verdict over one port (a fence) is one more chain, and the same element pointed at it.
//! - The host's chain of a VM is also the record that the VM has a network here: written before anything
//!   else is made for it, removed last. Its comment says what was made, so that nothing is left behind
//!   whose owner cannot be told.
//! - There is no connection tracking. A load balancer's many short connections would stay in its table for
//!   minutes each, a full table drops everybody's packets, and once one rule asks for it every packet of
//!   the host pays. A TCP segment that opens a connection is told by its flags alone: SYN without ACK.
//!
//! A table's common rules are laid down in one transaction that begins by creating a chain whose name is
//! a digest of them. Where that chain exists, so do they, and nothing is changed.

use std::net::Ipv4Addr;

use model::{BootNic, ProjectId};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::NetworkError;
use crate::namespace::Namespace;
use crate::nft::{Nft, Outcome};

/// The tables of one installation.
#[derive(Clone, Debug)]
pub(crate) struct Firewall {
    nft: Nft,
    table: String,
}

/// What a VM's chain on the host remembers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Record {
    /// The project in whose namespace its tenant link is.
    pub(crate) project: ProjectId,
    /// Its front address, for which the host has a neighbour entry.
    pub(crate) address: Ipv4Addr,
}

impl Firewall {
    /// Rules in tables of this name.
    pub(crate) fn new(nft: Nft, table: &str) -> Self {
        Self {
            nft,
            table: table.to_owned(),
        }
    }

    /// Ports whose names begin with `port_prefix` say only what their chains allow.
    pub(crate) async fn ensure_port_guard(
        &self,
        namespace: &Namespace,
        port_prefix: &str,
    ) -> Result<(), NetworkError> {
        let table = format!("bridge {}", self.table);
        let rules = format!(
            r#"
add map {table} ports {{ type ifname : verdict; }}
add chain {table} prerouting {{ type filter hook prerouting priority -300; policy accept; }}
add chain {table} from_vm
flush chain {table} prerouting
flush chain {table} from_vm
add rule {table} prerouting iifname "{port_prefix}*" goto from_vm
add rule {table} from_vm iifname vmap @ports
add rule {table} from_vm drop
"#
        );
        self.ensure_rules(namespace, &table, &rules).await
    }

    /// What comes from the front bridge, and therefore from a VM, may answer and may not ask: neither the
    /// host nor, through it, anyone else. Nothing goes back to the bridge, so not to another VM.
    pub(crate) async fn ensure_front_guard(
        &self,
        host: &Namespace,
        front_bridge: &str,
    ) -> Result<(), NetworkError> {
        let table = format!("inet {}", self.table);
        let rules = format!(
            r#"
add chain {table} replies
add chain {table} input {{ type filter hook input priority filter; policy accept; }}
add chain {table} forward {{ type filter hook forward priority filter; policy accept; }}
flush chain {table} replies
flush chain {table} input
flush chain {table} forward
add rule {table} replies meta nfproto ipv4 tcp flags & (syn | ack) != syn accept
add rule {table} replies icmp type {{ echo-reply, destination-unreachable, time-exceeded }} accept
add rule {table} replies drop
add rule {table} input iifname "{front_bridge}" goto replies
add rule {table} forward iifname "{front_bridge}" oifname "{front_bridge}" drop
add rule {table} forward iifname "{front_bridge}" goto replies
"#
        );
        self.ensure_rules(host, &table, &rules).await
    }

    /// Lets `port` say what `nic` may say: its own MAC, IPv4 and ARP, and nothing else.
    pub(crate) async fn ensure_port(
        &self,
        namespace: &Namespace,
        port: &str,
        nic: &BootNic,
        project: ProjectId,
    ) -> Result<(), NetworkError> {
        let (table, mac, address) = (format!("bridge {}", self.table), nic.mac, nic.address);
        let comment = format!("project {project} address {address} mac {mac}");
        let rules = format!(
            r#"
add rule {table} {port} ether saddr != {mac} drop comment "{comment}"
add rule {table} {port} ip saddr {address} accept
add rule {table} {port} arp saddr ether {mac} arp saddr ip {address} accept
add rule {table} {port} drop
add element {table} ports {{ "{port}" : goto {port} }}
"#
        );
        let action = format!("write the rules of {port}");
        let anew = format!("create chain {table} {port}{rules}");
        match self.nft.apply(namespace, &action, anew).await? {
            Outcome::Done(_) => return Ok(()),
            Outcome::Absent => return Err(self.no_table(namespace, &action)),
            Outcome::Exists => {}
        }
        if self.comment(namespace, port).await? == Some(comment) {
            return Ok(());
        }
        let over = format!("add chain {table} {port}\nflush chain {table} {port}{rules}");
        self.expect_done(namespace, &action, over).await
    }

    /// Removes a port's chain. Fine when absent, and when the whole table is.
    pub(crate) async fn remove_port(
        &self,
        namespace: &Namespace,
        port: &str,
    ) -> Result<(), NetworkError> {
        let table = format!("bridge {}", self.table);
        // What is added first can be deleted whether it was there or not.
        let script = format!(
            r#"
add chain {table} {port}
add element {table} ports {{ "{port}" : goto {port} }}
delete element {table} ports {{ "{port}" }}
flush chain {table} {port}
delete chain {table} {port}
"#
        );
        let action = format!("remove the rules of {port}");
        self.nft.apply(namespace, &action, script).await?;
        Ok(())
    }

    /// What the chain of `port` remembers, where there is one.
    pub(crate) async fn record(
        &self,
        namespace: &Namespace,
        port: &str,
    ) -> Result<Option<Record>, NetworkError> {
        let comment = self.comment(namespace, port).await?;
        Ok(comment.as_deref().and_then(Record::parse))
    }

    /// The names of all ports that have a chain.
    pub(crate) async fn ports(&self, namespace: &Namespace) -> Result<Vec<String>, NetworkError> {
        let map = self
            .list(namespace, &format!("map bridge {} ports", self.table))
            .await?;
        let elements = map
            .iter()
            .filter_map(|object| object.pointer("/map/elem")?.as_array())
            .flatten();
        Ok(elements
            .filter_map(|element| Some(element.pointer("/0")?.as_str()?.to_owned()))
            .collect())
    }

    /// Removes both tables from the host. Fine when absent.
    pub(crate) async fn remove_tables(&self, host: &Namespace) -> Result<(), NetworkError> {
        let table = &self.table;
        let script = format!(
            "add table bridge {table}\ndelete table bridge {table}\nadd table inet {table}\ndelete table inet {table}\n"
        );
        self.expect_done(host, "remove the tables", script).await
    }

    async fn ensure_rules(
        &self,
        namespace: &Namespace,
        table: &str,
        rules: &str,
    ) -> Result<(), NetworkError> {
        let digest = Sha256::digest(rules.as_bytes());
        let mark: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
        let script = format!("add table {table}\ncreate chain {table} rules_{mark}{rules}");
        let action = format!("write table {table}");
        match self.nft.apply(namespace, &action, script).await? {
            Outcome::Done(_) | Outcome::Exists => Ok(()),
            Outcome::Absent => Err(self.no_table(namespace, &action)),
        }
    }

    async fn expect_done(
        &self,
        namespace: &Namespace,
        action: &str,
        script: String,
    ) -> Result<(), NetworkError> {
        match self.nft.apply(namespace, action, script).await? {
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

    async fn comment(
        &self,
        namespace: &Namespace,
        port: &str,
    ) -> Result<Option<String>, NetworkError> {
        let chain = format!("chain bridge {} {port}", self.table);
        let objects = self.list(namespace, &chain).await?;
        Ok(objects
            .iter()
            .find_map(|object| Some(object.pointer("/rule/comment")?.as_str()?.to_owned())))
    }

    /// The objects that `nft` lists; none where there is nothing of that name.
    async fn list(&self, namespace: &Namespace, object: &str) -> Result<Vec<Value>, NetworkError> {
        let Outcome::Done(text) = self.nft.list(namespace, object).await? else {
            return Ok(Vec::new());
        };
        let mut answer: Value =
            serde_json::from_str(&text).map_err(|e| NetworkError::Firewall {
                action: format!("read the list of {object} in {namespace}"),
                message: format!("nft printed no JSON: {e}"),
            })?;
        match answer.pointer_mut("/nftables").map(Value::take) {
            Some(Value::Array(objects)) => Ok(objects),
            _ => Ok(Vec::new()),
        }
    }
}

impl Record {
    /// Reads a comment as `ensure_port` writes it.
    fn parse(comment: &str) -> Option<Self> {
        let mut words = comment.split(' ');
        let mut field = |name| (words.next() == Some(name)).then(|| words.next())?;
        Some(Self {
            project: field("project")?.parse().ok()?,
            address: field("address")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_is_written() {
        assert_eq!(
            Record::parse("project 3 address 10.200.0.5 mac 02:00:0a:c8:00:05"),
            Some(Record {
                project: ProjectId(3),
                address: Ipv4Addr::new(10, 200, 0, 5),
            })
        );
    }

    #[test]
    fn a_comment_of_another_form_is_no_record() {
        for comment in [
            "",
            "project",
            "project x address 1.1.1.1",
            "address 1.1.1.1 project 3",
            "project 3",
        ] {
            assert_eq!(Record::parse(comment), None, "{comment}");
        }
    }
}
