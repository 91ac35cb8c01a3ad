//! One VM's port: its chain, its element in the map, and its fence.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::{Firewall, Record, Side, Standing};
use crate::NetworkError;
use crate::namespace::Namespace;
use crate::nft::Outcome;

impl Firewall {
    /// Lets `port` say what its NIC may say: its own MAC, IPv4 and ARP, and nothing else. A fence stays as
    /// it is.
    pub(crate) async fn ensure_port(
        &self,
        namespace: &Namespace,
        side: Side,
        port: &str,
        record: &Record,
    ) -> Result<(), NetworkError> {
        let table = self.bridge_table();
        let mut rules = String::new();
        for (rule, mark) in rules_of(record).iter().zip(marks_of(record)) {
            let _ = writeln!(rules, "add rule {table} {port} {rule} comment \"{mark}\"");
        }
        let _ = writeln!(
            rules,
            "add element {table} ports {{ \"{port}\" : goto {port} }}"
        );
        let action = format!("write the rules of {port}");
        let anew = format!("create chain {table} {port}\n{rules}");
        let note = |standing: &mut Standing| {
            standing.note_chain(&table, port, Some(marks_of(record)));
            standing.note_target(port, Some(port));
        };
        match self.change(namespace, &action, anew, note).await? {
            Outcome::Done(_) => return Ok(()),
            Outcome::Absent => return Err(self.no_table(namespace, &action)),
            Outcome::Exists => {}
        }
        let standing = self.standing(namespace, side).await?;
        if self.is_bound(&standing, port) && self.record(&standing, port) == Some(*record) {
            return Ok(());
        }
        let mut over = format!("add chain {table} {port}\nflush chain {table} {port}\n");
        if standing.target(port).is_some_and(|target| target != port) {
            let _ = writeln!(over, "delete element {table} ports {{ \"{port}\" }}");
        }
        over += &rules;
        let old = self
            .record(&standing, port)
            .filter(|old| old.address != record.address && self.holds_address(&standing, old));
        if let Some(old) = &old {
            over += &self.address_fence(old, false);
            over += &self.address_fence(record, true);
        }
        let note_all = |standing: &mut Standing| {
            note(standing);
            if let Some(old) = &old {
                self.note_address(standing, old, false);
                self.note_address(standing, record, true);
            }
        };
        self.expect_done(namespace, &action, over, note_all).await
    }

    /// Closes a port that has a record, or opens it, whatever it was: on the front to all but the checker, on
    /// the tenant side to all.
    pub(crate) async fn set_fence(
        &self,
        namespace: &Namespace,
        side: Side,
        port: &str,
        record: &Record,
        fenced: bool,
    ) -> Result<(), NetworkError> {
        let standing = self.standing(namespace, side).await?;
        if self.fence(&standing, side, port, record) == Some(fenced) {
            return Ok(());
        }
        let mut script = self.port_fence(port, fenced);
        if side == Side::Front {
            script += &self.address_fence(record, fenced);
        }
        let verb = if fenced { "close" } else { "open" };
        let note = |standing: &mut Standing| {
            standing.note_element(&self.bridge_table(), FENCED, port, fenced);
            if side == Side::Front {
                self.note_address(standing, record, fenced);
            }
        };
        self.expect_done(namespace, &format!("{verb} {port}"), script, note)
            .await
    }

    /// Removes all that is remembered of a port. Fine when absent, and when the whole table is.
    pub(crate) async fn remove_port(
        &self,
        namespace: &Namespace,
        side: Side,
        port: &str,
    ) -> Result<(), NetworkError> {
        let table = self.bridge_table();
        let standing = self.standing(namespace, side).await?;
        // What is added first can be deleted whether it was there or not.
        let mut script = format!("add chain {table} {port}\n");
        if standing.target(port).is_none() {
            let _ = writeln!(
                script,
                "add element {table} ports {{ \"{port}\" : goto {port} }}"
            );
        }
        let _ = write!(
            script,
            "delete element {table} ports {{ \"{port}\" }}\nflush chain {table} {port}\ndelete chain {table} {port}\n{}",
            self.port_fence(port, false)
        );
        let fenced = self.record(&standing, port);
        let fenced = fenced.filter(|record| self.holds_address(&standing, record));
        if let Some(record) = &fenced {
            script += &self.address_fence(record, false);
        }
        let note = |standing: &mut Standing| {
            standing.note_chain(&table, port, None);
            standing.note_target(port, None);
            standing.note_element(&table, FENCED, port, false);
            if let Some(record) = &fenced {
                self.note_address(standing, record, false);
            }
        };
        let action = format!("remove the rules of {port}");
        self.change(namespace, &action, script, note).await?;
        Ok(())
    }

    /// What the chain of `port` remembers, where there is one.
    pub(crate) fn record(&self, standing: &Standing, port: &str) -> Option<Record> {
        let marks = standing.marks(&self.bridge_table(), port)?;
        // Not the first rule alone: what somebody put before it is to be seen, and not to hide the record.
        marks.iter().find_map(|mark| Record::parse(mark))
    }

    /// Whether the port's chain has the rules that its record asks for, and the map leads to it.
    pub(crate) fn is_bound(&self, standing: &Standing, port: &str) -> bool {
        let wanted = self.record(standing, port).map(|record| marks_of(&record));
        standing.marks(&self.bridge_table(), port) == wanted.as_ref()
            && standing.target(port) == Some(port)
    }

    /// Whether a port is closed; absent where one part of a fence stands and another does not.
    pub(crate) fn fence(
        &self,
        standing: &Standing,
        side: Side,
        port: &str,
        record: &Record,
    ) -> Option<bool> {
        let by_name = standing.holds(&self.bridge_table(), FENCED, port);
        let agree = side == Side::Tenant || by_name == self.holds_address(standing, record);
        agree.then_some(by_name)
    }

    fn holds_address(&self, standing: &Standing, record: &Record) -> bool {
        standing.holds_address(&self.inet_table(), FENCED, record.address)
    }

    fn note_address(&self, standing: &mut Standing, record: &Record, fenced: bool) {
        let address = record.address.to_string();
        standing.note_element(&self.inet_table(), FENCED, &address, fenced);
    }

    fn port_fence(&self, port: &str, fenced: bool) -> String {
        element(&self.bridge_table(), &format!("\"{port}\""), fenced)
    }

    fn address_fence(&self, record: &Record, fenced: bool) -> String {
        element(&self.inet_table(), &record.address.to_string(), fenced)
    }
}

/// The set of those that are closed, in either table.
const FENCED: &str = "fenced";

/// Puts an element into the set of the fenced, or takes it out, whether it was in it or not.
fn element(table: &str, element: &str, is_in: bool) -> String {
    let add = format!("add element {table} {FENCED} {{ {element} }}\n");
    if is_in {
        add
    } else {
        format!("{add}delete element {table} {FENCED} {{ {element} }}\n")
    }
}

/// What the NIC may say.
fn rules_of(record: &Record) -> [String; 4] {
    let Record { address, mac, .. } = record;
    [
        format!("ether saddr != {mac} drop"),
        format!("ip saddr {address} accept"),
        format!("arp saddr ether {mac} arp saddr ip {address} accept"),
        "drop".to_owned(),
    ]
}

/// The comments of these rules: the record, and for each that follows a digest of them all and its place.
fn marks_of(record: &Record) -> Vec<String> {
    let rules = rules_of(record);
    let digest = Sha256::digest(rules.join("\n").as_bytes());
    let digest: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    let others = (2..=rules.len()).map(|place| format!("{digest} {place}"));
    std::iter::once(record.to_string()).chain(others).collect()
}
