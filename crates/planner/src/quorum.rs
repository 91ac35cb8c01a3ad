//! What the checkers say of one VM, together.
//!
//! Each checker asks from where it stands, and one that lost its own network finds everybody silent. So a
//! VM counts as unanswered only when more than half of those that are alive and have asked it say so.

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
    /// Too few failed in a row to tell yet, and it has not answered.
    Doubtful(&'a ProbeSight),
    /// More than half of the checkers got no answer, again and again. One of them speaks for all.
    Silent(&'a ProbeSight),
}

/// Hears all checkers that are alive.
pub(crate) fn ask(probes: &BTreeMap<String, BTreeMap<VmId, ProbeSight>>, vm: VmId) -> Say<'_> {
    let sights = || probes.values().filter_map(|seen| seen.get(&vm));
    let asked = sights().count();
    let failed = || sights().filter(|sight| !sight.answered);
    let silent = || failed().filter(|sight| sight.streak >= FAILED_PROBES);
    match (silent().next(), failed().next()) {
        _ if asked == 0 => Say::Nothing,
        (Some(witness), _) if is_majority(silent().count(), asked) => Say::Silent(witness),
        (_, Some(witness)) if is_majority(failed().count(), asked) => Say::Doubtful(witness),
        _ => Say::Answers,
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
    fn more_than_half_of_those_that_asked_must_agree() {
        for (sights, said) in [
            ("", "nothing"),
            ("--", "nothing"),
            ("a", "answers"),
            ("d", "doubtful"),
            ("s", "silent"),
            ("s-", "silent"),
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
}
