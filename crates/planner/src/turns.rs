//! How an instance's account turns, in words: from what was known of it to what is.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use model::{
    BackendHealth, BackendReport, Condition, Event, EventKind, Generation, InstanceReport,
    Timestamp,
};

/// Backends that are named one by one when they turn at once.
const MOST_NAMED: usize = 4;

/// Milliseconds for which something has to be missing before it is told: as long as the controller takes from one round
/// to the next. What was decided and is on its way for less, such as a generation of the zone to the DNS server, is no
/// event.
const MISSING_MS: u64 = 250;

/// What was last told of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    condition: Option<Condition>,
    generation: Generation,
    in_effect: bool,
    /// The generation that was last told to be in effect.
    told: Option<Generation>,
    /// Since when something is missing of which nothing was told yet.
    missing_since: Option<Timestamp>,
    /// Those that were up or down. One of which VMs do not say the same is what it was.
    backends: BTreeMap<Place, BackendHealth>,
}

type Place = (Option<Ipv4Addr>, u16);

impl Known {
    /// What an account says, as if it had been told already.
    #[must_use]
    pub fn of(report: &InstanceReport) -> Self {
        let mut known = Self::default();
        known.turned_backends(report);
        known.turned_effect(report);
        known.take(report);
        known
    }

    /// Whether something is held back that is told if it lasts, so that the next account has to be looked at even if it
    /// is the same.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        self.missing_since.is_some()
    }

    /// Whether there may be anything to tell from one account to the next, which is found out cheaply.
    #[must_use]
    pub fn may_turn(before: &InstanceReport, after: &InstanceReport) -> bool {
        let essence =
            |report: &InstanceReport| (report.condition, report.generation, report.in_effect);
        let place = |backend: &BackendReport| (backend.address, backend.port, backend.health);
        let (was, is) = (before.backends.iter(), after.backends.iter());
        essence(before) != essence(after) || !was.map(place).eq(is.map(place))
    }

    /// Takes note of an account, and tells what is another since the last one.
    pub fn turn(&mut self, report: &InstanceReport, now: Timestamp) -> Vec<Event> {
        let words = self.turned_backends(report).into_iter();
        let words = words.map(|text| (EventKind::Backend, text));
        let is_held = self.is_held(report, now);
        let turned = (!is_held).then(|| self.turned_condition(report)).flatten();
        let words = words.chain(turned);
        let words: Vec<_> = words.chain(self.turned_effect(report)).collect();
        if !is_held {
            self.take(report);
        }
        let event = |(kind, text)| Event {
            at: now,
            vm: None,
            kind,
            text,
        };
        words.into_iter().map(event).collect()
    }

    fn take(&mut self, report: &InstanceReport) {
        self.condition = Some(report.condition);
        self.generation = report.generation;
        self.in_effect = report.in_effect;
    }

    /// Whether the account is to be as if it had not come, since what is missing may be there in a moment.
    fn is_held(&mut self, report: &InstanceReport, now: Timestamp) -> bool {
        let is_missing = report.condition == Condition::Degraded && !report.in_effect;
        if !is_missing || self.condition == Some(Condition::Degraded) {
            self.missing_since = None;
            return false;
        }
        let since = *self.missing_since.get_or_insert(now);
        // Of a clock that was set back nothing follows.
        let is_held = now >= since && now.since_ms(since) < MISSING_MS;
        if !is_held {
            self.missing_since = None;
        }
        is_held
    }

    fn turned_backends(&mut self, report: &InstanceReport) -> Vec<String> {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let mut standing = BTreeMap::new();
        for backend in &report.backends {
            let place = (backend.address, backend.port);
            let was = self.backends.get(&place).copied();
            let is = match backend.health {
                BackendHealth::Unknown => was,
                health => Some(health),
            };
            match is {
                Some(BackendHealth::Up) if was != is => up.push(backend),
                Some(BackendHealth::Down) if was != is => down.push(backend),
                _ => {}
            }
            standing.extend(is.map(|is| (place, is)));
        }
        self.backends = standing;
        let turned = [("down", down), ("up", up)].into_iter();
        turned
            .flat_map(|(word, turned)| backends_in_words(word, &turned))
            .collect()
    }

    fn turned_condition(&self, report: &InstanceReport) -> Option<(EventKind, String)> {
        if self.condition == Some(report.condition)
            || (self.condition.is_none() && report.condition == Condition::Pending)
        {
            return None;
        }
        let words = match report.condition {
            Condition::Serving => "it serves as it was asked for",
            Condition::Degraded => "it serves, and something is missing",
            Condition::NoBackend => "its VMs serve, and nobody is answered by a backend",
            Condition::Pending => "it does not serve yet",
            Condition::Failing => "it does not serve any more",
            Condition::Deleting => "it is being taken apart",
        };
        let missing = report.waiting_for.first();
        let missing = missing.filter(|_| report.condition != Condition::Deleting);
        let text = match missing {
            Some(missing) => format!("{words}: {}: {}", missing.what, missing.why),
            None => words.to_owned(),
        };
        Some((EventKind::Condition, text))
    }

    fn turned_effect(&mut self, report: &InstanceReport) -> Option<(EventKind, String)> {
        let is_new = self.generation != report.generation;
        if !report.in_effect || (self.in_effect && !is_new) {
            return None;
        }
        let generation = report.generation;
        let again = match self.told.replace(generation) == Some(generation) {
            true => " again",
            false => "",
        };
        let text = format!("what was asked for, generation {generation}, is in effect{again}");
        Some((EventKind::InEffect, text))
    }
}

/// Each with its last check, or all of very many in a line.
fn backends_in_words(word: &str, turned: &[&BackendReport]) -> Vec<String> {
    let name = |backend: &&BackendReport| match backend.address {
        Some(address) => format!("{address}:{}", backend.port),
        None => backend.entity.clone(),
    };
    let Some((last, named)) = turned.get(..MOST_NAMED).and_then(<[_]>::split_last) else {
        let each = turned.iter().map(|backend| match &*backend.last_check {
            "" => format!("backend {} is {word}", name(backend)),
            check => format!("backend {} is {word}: {check}", name(backend)),
        });
        return each.collect();
    };
    let mut names: Vec<_> = named.iter().map(name).collect();
    match turned.len() - MOST_NAMED {
        0 => names.push(name(last)),
        more => names.push(format!("{} more", more + 1)),
    }
    vec![format!(
        "{} backends are {word}: {}",
        turned.len(),
        names.join(", ")
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(number: u8, health: BackendHealth) -> BackendReport {
        BackendReport {
            entity: format!("1.1.1.{number}:80"),
            address: Some(Ipv4Addr::new(1, 1, 1, number)),
            port: 80,
            weight: 1,
            backup: false,
            health,
            since: None,
            last_check: match health {
                Down => "connection refused".to_owned(),
                _ => String::new(),
            },
            requests: 0,
        }
    }

    fn report(condition: Condition, generation: u64, backends: &[BackendHealth]) -> InstanceReport {
        let numbered = (10..).zip(backends);
        InstanceReport {
            generation: Generation(generation),
            condition,
            in_effect: condition == Condition::Serving,
            configuration: Generation(1),
            addresses: Vec::new(),
            vms: Vec::new(),
            backends: numbered.map(|(n, health)| backend(n, *health)).collect(),
            scaling: None,
            waiting_for: Vec::new(),
        }
    }

    fn words(known: &mut Known, report: &InstanceReport) -> Vec<String> {
        let told = known.turn(report, Timestamp(1)).into_iter();
        told.map(|event| event.text).collect()
    }

    use BackendHealth::{Down, Unknown, Up};

    #[test]
    fn an_instance_is_told_from_its_beginning_to_its_end_and_nothing_twice() {
        let mut known = Known::default();
        let steps: [(InstanceReport, &[&str]); 7] = [
            (report(Condition::Pending, 1, &[Unknown]), &[]),
            (
                report(Condition::Serving, 1, &[Up]),
                &[
                    "backend 1.1.1.10:80 is up",
                    "it serves as it was asked for",
                    "what was asked for, generation 1, is in effect",
                ],
            ),
            (report(Condition::Serving, 1, &[Up]), &[]),
            (
                InstanceReport {
                    in_effect: true,
                    ..report(Condition::Degraded, 1, &[Down])
                },
                &[
                    "backend 1.1.1.10:80 is down: connection refused",
                    "it serves, and something is missing",
                ],
            ),
            (
                report(Condition::Serving, 1, &[Up]),
                &["backend 1.1.1.10:80 is up", "it serves as it was asked for"],
            ),
            (
                report(Condition::Serving, 2, &[Up]),
                &["what was asked for, generation 2, is in effect"],
            ),
            (
                report(Condition::Deleting, 2, &[]),
                &["it is being taken apart"],
            ),
        ];
        for (report, expected) in steps {
            assert_eq!(words(&mut known, &report), expected);
        }
    }

    #[test]
    fn what_was_never_in_effect_is_not_in_effect_again() {
        for before in [Condition::Pending, Condition::Degraded, Condition::Failing] {
            let mut known = Known::default();
            for condition in [Condition::Pending, before] {
                words(&mut known, &report(condition, 1, &[]));
            }
            let told = words(&mut known, &report(Condition::Serving, 1, &[]));
            let expected = "what was asked for, generation 1, is in effect";
            assert_eq!(
                told.last().map(String::as_str),
                Some(expected),
                "{before:?}"
            );
        }
    }

    #[test]
    fn what_is_missing_for_a_moment_is_no_event() {
        let serving = report(Condition::Serving, 1, &[]);
        let mut behind = report(Condition::Degraded, 1, &[]);
        behind.waiting_for.push(model::Waiting {
            what: "DNS".into(),
            why: "zone generation 1 is decided, 0 is published".into(),
        });
        let missing = "it serves, and something is missing: \
                       DNS: zone generation 1 is decided, 0 is published";
        let again = "what was asked for, generation 1, is in effect again";
        let mut known = Known::of(&serving);
        let steps: [(u64, &InstanceReport, &[&str], bool); 8] = [
            (1_000, &behind, &[], true),
            (1_010, &serving, &[], false),
            (2_000, &behind, &[], true),
            (2_249, &behind, &[], true),
            (2_250, &behind, &[missing], false),
            (3_000, &behind, &[], false),
            (
                4_000,
                &serving,
                &["it serves as it was asked for", again],
                false,
            ),
            (4_001, &behind, &[], true),
        ];
        for (at, report, expected, holds_back) in steps {
            let told = known.turn(report, Timestamp(at)).into_iter();
            let told: Vec<_> = told.map(|event| event.text).collect();
            assert_eq!(told, expected, "at {at}");
            assert_eq!(known.holds_back(), holds_back, "at {at}");
        }
        // A clock that was set back holds nothing up.
        assert_eq!(words(&mut known, &behind), [missing]);
    }

    #[test]
    fn a_backend_that_a_new_vm_has_not_asked_yet_is_what_it_was() {
        let mut known = Known::of(&report(Condition::Serving, 1, &[Up, Down]));
        let asked = |health: [_; 2]| report(Condition::Serving, 1, &health);
        for health in [[Unknown, Unknown], [Up, Down], [Unknown, Down]] {
            assert_eq!(words(&mut known, &asked(health)), [""; 0], "{health:?}");
        }
        assert_eq!(
            words(&mut known, &asked([Up, Up])),
            ["backend 1.1.1.11:80 is up"]
        );
    }

    #[test]
    fn many_that_turn_at_once_are_one_event() {
        let mut known = Known::of(&report(Condition::Serving, 1, &[Up; 9]));
        let told = words(&mut known, &report(Condition::Serving, 1, &[Down; 9]));
        let expected = "9 backends are down: 1.1.1.10:80, 1.1.1.11:80, 1.1.1.12:80, 6 more";
        assert_eq!(told, [expected]);
        let mut known = Known::of(&report(Condition::Serving, 1, &[Up; 4]));
        let told = words(&mut known, &report(Condition::Serving, 1, &[Down; 4]));
        let expected = "4 backends are down: 1.1.1.10:80, 1.1.1.11:80, 1.1.1.12:80, 1.1.1.13:80";
        assert_eq!(told, [expected]);
    }
}
