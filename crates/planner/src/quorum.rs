//! What the checkers say of one VM, together.
//!
//! Each checker asks from where it stands, and one that lost its own network finds everybody silent. So a VM counts
//! as unanswered only when more than half of those that are alive say so: one that has not asked it does not agree. That
//! holds nothing up for long. A checker asks a VM within a second of when either of them is new, and one that cannot
//! ask gives up its place among the living.
//!
//! For anything less than a VM's death those that asked speak for all.

use std::collections::BTreeMap;

use model::{ProbeSight, VmId};

/// Failed probes in a row with which a checker says that a VM does not answer.
const FAILED_PROBES: u32 = 3;

/// What the checkers say of a VM.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Say<'a> {
    /// No checker has asked it.
    Nothing,
    /// It answers, or too few say that it does not.
    Answers,
    /// It has not answered most of those that asked, and too few failed often enough in a row to tell yet.
    Doubtful(&'a ProbeSight),
    /// More than half of the checkers that are alive got no answer, again and again. One of them speaks for all.
    Silent(&'a ProbeSight),
}

/// Hears all checkers that are alive.
pub(crate) fn ask(probes: &BTreeMap<String, BTreeMap<VmId, ProbeSight>>, vm: VmId) -> Say<'_> {
    let alive = probes.len();
    let (mut asked, mut failed, mut silent) = (0, Votes::default(), Votes::default());
    for sight in probes.values().filter_map(|seen| seen.get(&vm)) {
        asked += 1;
        if !sight.answered {
            failed.add(sight);
            if sight.streak >= FAILED_PROBES {
                silent.add(sight);
            }
        }
    }
    match (silent.first, failed.first) {
        _ if asked == 0 => Say::Nothing,
        (Some(witness), _) if is_majority(silent.count, alive) => Say::Silent(witness),
        (surest, Some(witness)) if is_majority(failed.count, asked) => {
            Say::Doubtful(surest.unwrap_or(witness))
        }
        _ => Say::Answers,
    }
}

/// Checkers that say the same, and what the first of them says.
#[derive(Default)]
struct Votes<'a> {
    count: usize,
    first: Option<&'a ProbeSight>,
}

impl<'a> Votes<'a> {
    fn add(&mut self, sight: &'a ProbeSight) {
        self.count += 1;
        self.first.get_or_insert(sight);
    }
}

/// Hears about a VM behind its fence, which not every checker can reach: one that it answers is enough.
pub(crate) fn ask_about_fenced(
    probes: &BTreeMap<String, BTreeMap<VmId, ProbeSight>>,
    vm: VmId,
) -> Say<'_> {
    let mut sights = probes.values().filter_map(|seen| seen.get(&vm));
    match sights.any(|sight| sight.answered) {
        true => Say::Answers,
        false => ask(probes, vm),
    }
}

fn is_majority(part: usize, all: usize) -> bool {
    part.saturating_mul(2) > all
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use proptest::prelude::*;

    use super::*;

    /// One checker for each character: `a` was answered, `d` failed once, `s` fails again and again, `-`
    /// has not asked.
    fn checkers(sights: &str) -> BTreeMap<String, BTreeMap<VmId, ProbeSight>> {
        let sight = |c| {
            let (answered, streak) = match c {
                'a' => (true, 3),
                'd' => (false, 1),
                's' => (false, 3),
                _ => return BTreeMap::new(),
            };
            let (since, evidence) = (Timestamp(0), c.to_string());
            let sight = ProbeSight {
                answered,
                since,
                streak,
                evidence,
            };
            BTreeMap::from([(VmId(1), sight)])
        };
        let named = sights.chars().enumerate();
        named.map(|(n, c)| (n.to_string(), sight(c))).collect()
    }

    #[test]
    fn behind_its_fence_a_vm_needs_to_answer_one_of_them() {
        for (sights, answers) in [("", false), ("s", false), ("ssa", true), ("sss", false)] {
            let probes = checkers(sights);
            let said = ask_about_fenced(&probes, VmId(1));
            assert_eq!(said == Say::Answers, answers, "{sights}");
        }
    }

    #[test]
    fn more_than_half_of_those_that_are_alive_must_agree() {
        for (sights, said) in [
            ("", "nothing"),
            ("--", "nothing"),
            ("a", "answers"),
            ("d", "doubtful"),
            ("s", "silent"),
            ("s-", "doubtful"),
            ("ss-", "silent"),
            ("s--", "doubtful"),
            ("ss--", "doubtful"),
            ("d-", "doubtful"),
            ("sa-", "answers"),
            ("sa", "answers"),
            ("ss", "silent"),
            ("sd", "doubtful"),
            ("saa", "answers"),
            ("ssa", "silent"),
            ("sda", "doubtful"),
            ("ssaa", "answers"),
        ] {
            let probes = checkers(sights);
            let found = match ask(&probes, VmId(1)) {
                Say::Nothing => "nothing",
                Say::Answers => "answers",
                Say::Doubtful(_) => "doubtful",
                Say::Silent(_) => "silent",
            };
            assert_eq!(found, said, "{sights}");
        }
    }
    fn count(sights: &str, which: char) -> usize {
        sights.chars().filter(|c| *c == which).count()
    }

    proptest! {
        #[test]
        fn a_vm_is_silent_when_and_only_when_more_than_half_of_the_living_say_so(sights in "[ads-]{0,9}") {
            let probes = checkers(&sights);
            let is_silent = matches!(ask(&probes, VmId(1)), Say::Silent(_));
            prop_assert_eq!(is_silent, 2 * count(&sights, 's') > sights.len());
        }

        #[test]
        fn who_joins_without_having_asked_condemns_nobody_and_clears_nobody(sights in "[ads-]{0,9}") {
            let (before, after) = (checkers(&sights), checkers(&format!("{sights}-")));
            match (ask(&before, VmId(1)), ask(&after, VmId(1))) {
                // It holds back what it does not agree to, and only that.
                (Say::Silent(one), Say::Doubtful(other)) => prop_assert_eq!(one, other),
                (said, still) => prop_assert_eq!(said, still),
            }
        }

        #[test]
        fn once_it_has_asked_it_holds_nothing_back_that_all_others_agree_on(others in 1_usize..9) {
            let all = checkers(&"s".repeat(others + 1));
            prop_assert!(matches!(ask(&all, VmId(1)), Say::Silent(_)));
        }
    }
}
