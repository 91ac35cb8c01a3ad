//! What rules stand in a namespace, as `nft` lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde_json::Value;

/// The contents of an installation's tables in one namespace. Empty where there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// By table (with its family) and chain, each rule's comment in order; empty for one without.
    chains: BTreeMap<(String, String), Vec<String>>,
    /// The chain that a port's element in the map points at.
    ports: BTreeMap<String, String>,
    /// The elements of the sets, by table and set.
    sets: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Standing {
    /// Adds one listing. The error says what is wrong with its text.
    pub(super) fn read(&mut self, listing: &str) -> Result<(), String> {
        let listing: Value =
            serde_json::from_str(listing).map_err(|e| format!("nft printed no JSON: {e}"))?;
        let objects = listing.pointer("/nftables").and_then(Value::as_array);
        for object in objects.into_iter().flatten() {
            let Some((kind, object)) = object.as_object().and_then(|object| object.iter().next())
            else {
                continue;
            };
            self.add(kind, object);
        }
        Ok(())
    }

    fn add(&mut self, kind: &str, object: &Value) {
        let text = |field: &str| object.get(field).and_then(Value::as_str);
        let table = || Some(format!("{} {}", text("family")?, text("table")?));
        let name = if kind == "rule" { "chain" } else { "name" };
        let Some(key) = table().zip(text(name).map(str::to_owned)) else {
            return;
        };
        let elements = object.get("elem").and_then(Value::as_array);
        match kind {
            "chain" => {
                self.chains.entry(key).or_default();
            }
            "rule" => {
                let comment = text("comment").unwrap_or_default().to_owned();
                self.chains.entry(key).or_default().push(comment);
            }
            "map" => {
                let pairs = elements.into_iter().flatten().filter_map(|element| {
                    let port = element.pointer("/0")?.as_str()?;
                    let target = element.pointer("/1/goto/target").and_then(Value::as_str);
                    Some((port.to_owned(), target.unwrap_or_default().to_owned()))
                });
                self.ports.extend(pairs);
            }
            "set" => {
                let names = elements.into_iter().flatten().filter_map(Value::as_str);
                let set = self.sets.entry(key).or_default();
                set.extend(names.map(str::to_owned));
            }
            _ => {}
        }
    }

    /// Notes that a chain has rules with these comments, or, with none, that it is gone.
    pub(super) fn note_chain(&mut self, table: &str, chain: &str, marks: Option<Vec<String>>) {
        let key = (table.to_owned(), chain.to_owned());
        match marks {
            Some(marks) => self.chains.insert(key, marks),
            None => self.chains.remove(&key),
        };
    }

    /// Notes to which chain a port's element leads, or, with none, that it is gone.
    pub(super) fn note_target(&mut self, port: &str, chain: Option<&str>) {
        match chain {
            Some(chain) => self.ports.insert(port.to_owned(), chain.to_owned()),
            None => self.ports.remove(port),
        };
    }

    /// Notes that an element was put into a set, or taken out.
    pub(super) fn note_element(&mut self, table: &str, set: &str, element: &str, is_in: bool) {
        let set = self
            .sets
            .entry((table.to_owned(), set.to_owned()))
            .or_default();
        if is_in {
            set.insert(element.to_owned());
        } else {
            set.remove(element);
        }
    }

    /// The comments of a chain's rules; none where there is no such chain.
    pub(super) fn marks(&self, table: &str, chain: &str) -> Option<&Vec<String>> {
        self.chains.get(&(table.to_owned(), chain.to_owned()))
    }

    /// The chain that a port's element points at.
    pub(super) fn target(&self, port: &str) -> Option<&str> {
        self.ports.get(port).map(String::as_str)
    }

    /// Whether a set of a table has this element.
    pub(super) fn holds(&self, table: &str, set: &str, element: &str) -> bool {
        self.sets
            .get(&(table.to_owned(), set.to_owned()))
            .is_some_and(|elements| elements.contains(element))
    }

    /// Whether a set of a table has this address.
    pub(super) fn holds_address(&self, table: &str, set: &str, address: Ipv4Addr) -> bool {
        self.holds(table, set, &address.to_string())
    }

    /// The names of all chains and of all ports of which something is remembered, in no order and more than
    /// once.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let chains = self.chains.keys().map(|(_, chain)| chain);
        let elements = self.sets.values().flatten();
        chains
            .chain(self.ports.keys())
            .chain(elements)
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nftables 1.0.6 prints it, without what is not read.
    const LISTING: &str = r#"{"nftables": [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "bridge", "name": "ek", "handle": 1}},
        {"map": {"family": "bridge", "name": "ports", "table": "ek", "type": "ifname", "map": "verdict",
            "elem": [["ekf1", {"goto": {"target": "ekf1"}}], ["ekf2", {"drop": null}]]}},
        {"set": {"family": "bridge", "name": "fenced", "table": "ek", "type": "ifname", "elem": ["ekf3"]}},
        {"chain": {"family": "bridge", "table": "ek", "name": "empty", "handle": 3}},
        {"chain": {"family": "bridge", "table": "ek", "name": "ekf1", "handle": 4}},
        {"rule": {"family": "bridge", "table": "ek", "chain": "ekf1", "comment": "one", "expr": []}},
        {"rule": {"family": "bridge", "table": "ek", "chain": "ekf1", "expr": []}}
    ]}"#;

    #[test]
    fn a_listing_is_read_as_nft_prints_it() {
        let mut standing = Standing::default();
        standing.read(LISTING).unwrap();
        let table = "bridge ek";
        assert_eq!(standing.marks(table, "empty"), Some(&Vec::new()));
        assert_eq!(
            standing.marks(table, "ekf1"),
            Some(&vec!["one".to_owned(), String::new()])
        );
        assert_eq!(standing.marks("inet ek", "ekf1"), None);
        assert_eq!(standing.target("ekf1"), Some("ekf1"));
        assert_eq!(standing.target("ekf2"), Some(""));
        assert!(standing.holds(table, "fenced", "ekf3"));
        assert!(!standing.holds(table, "fenced", "ekf1"));
        let names: BTreeSet<&str> = standing.names().collect();
        assert_eq!(names, BTreeSet::from(["ekf1", "ekf2", "ekf3", "empty"]));
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        assert!(Standing::default().read("table bridge ek {").is_err());
    }
}
