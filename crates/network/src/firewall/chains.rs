//! Rules as they are to stand, and whether they do.
//!
//! Each rule carries a comment made of a digest of its chain's text and of its place in it. So a listing shows
//! whether all rules stand, in their order and with nothing between them, without a word about how this
//! version of `nft` prints an expression.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::Standing;

/// The chains and sets of one table that are there whatever VMs there are.
pub(super) struct Chains {
    /// The table with its family: `bridge ek`.
    table: String,
    /// Sets and maps: name and type.
    sets: Vec<(&'static str, &'static str, &'static str)>,
    chains: Vec<Chain>,
}

struct Chain {
    name: &'static str,
    /// Where the kernel calls it, if it does.
    hook: Option<&'static str>,
    rules: Vec<String>,
}

impl Chains {
    /// For a table, given with its family.
    pub(super) fn of(table: String) -> Self {
        Self {
            table,
            sets: Vec::new(),
            chains: Vec::new(),
        }
    }

    /// With a set (`set` or `map`) of this name and type, whose elements are left as they are.
    pub(super) fn set(mut self, kind: &'static str, name: &'static str, key: &'static str) -> Self {
        self.sets.push((kind, name, key));
        self
    }

    /// With a chain of these rules, which may name chains that were added before it.
    pub(super) fn chain(
        mut self,
        name: &'static str,
        hook: Option<&'static str>,
        rules: &[String],
    ) -> Self {
        self.chains.push(Chain {
            name,
            hook,
            rules: rules.to_vec(),
        });
        self
    }

    /// The table with its family.
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// Puts all of it there, whatever was: one transaction, in which no packet sees half of the rules.
    pub(super) fn script(&self) -> String {
        let table = &self.table;
        let mut script = format!("add table {table}\n");
        for (kind, name, key) in &self.sets {
            let _ = writeln!(script, "add {kind} {table} {name} {{ type {key}; }}");
        }
        for Chain { name, hook, .. } in &self.chains {
            let hook = hook.map_or_else(String::new, |hook| {
                format!(" {{ type filter hook {hook}; policy accept; }}")
            });
            let _ = writeln!(
                script,
                "add chain {table} {name}{hook}\nflush chain {table} {name}"
            );
        }
        for chain in &self.chains {
            for (rule, mark) in chain.rules.iter().zip(chain.marks()) {
                let name = chain.name;
                let _ = writeln!(script, "add rule {table} {name} {rule} comment \"{mark}\"");
            }
        }
        script
    }

    /// Notes what [`Self::script`] does.
    pub(super) fn note(&self, standing: &mut Standing) {
        for chain in &self.chains {
            standing.note_chain(&self.table, chain.name, Some(chain.marks()));
        }
    }

    /// Whether exactly these rules stand.
    pub(super) fn are_in(&self, standing: &Standing) -> bool {
        self.chains
            .iter()
            .all(|chain| standing.marks(&self.table, chain.name) == Some(&chain.marks()))
    }
}

impl Chain {
    /// The comment of each rule.
    fn marks(&self) -> Vec<String> {
        let text = format!("{:?} {:?} {:?}", self.name, self.hook, self.rules);
        let digest = Sha256::digest(text.as_bytes());
        let digest: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
        let places = 1..=self.rules.len();
        places.map(|place| format!("{digest} {place}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains(rules: &[&str]) -> Chains {
        let rules: Vec<String> = rules.iter().map(|&rule| rule.to_owned()).collect();
        Chains::of("inet t".into()).chain("c", Some("input priority 0"), &rules)
    }

    fn standing(comments: &[&str]) -> Standing {
        let rules = comments.iter().map(|comment| {
            format!(
                r#"{{"rule": {{"family": "inet", "table": "t", "chain": "c", "comment": "{comment}"}}}}"#
            )
        });
        let chain = r#"{"chain": {"family": "inet", "table": "t", "name": "c"}}"#.to_owned();
        let objects: Vec<String> = std::iter::once(chain).chain(rules).collect();
        let mut standing = Standing::default();
        standing
            .read(&format!(r#"{{"nftables": [{}]}}"#, objects.join(",")))
            .unwrap();
        standing
    }

    #[test]
    fn rules_stand_when_all_of_them_do_in_their_order_and_nothing_else() {
        let wanted = chains(&["accept", "drop"]);
        let marks = wanted.chains.first().unwrap().marks();
        let (first, second) = (marks[0].as_str(), marks[1].as_str());
        assert!(wanted.are_in(&standing(&[first, second])));
        for damaged in [
            &[][..],
            &[first],
            &[second],
            &[second, first],
            &["", first, second],
            &[first, second, "of somebody else"],
        ] {
            assert!(!wanted.are_in(&standing(damaged)), "{damaged:?}");
        }
        assert!(!wanted.are_in(&Standing::default()));
    }

    #[test]
    fn other_rules_have_other_marks() {
        let marks = |rules| chains(rules).chains.first().unwrap().marks();
        assert_ne!(marks(&["accept", "drop"]), marks(&["drop", "accept"]));
    }
}
