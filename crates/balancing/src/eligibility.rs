//! Which backends may take traffic at all, before any algorithm chooses among them.

use model::BackendHealth;

/// What the pick rule knows of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Share of the traffic in relation to the others; 0 takes no new traffic.
    pub weight: u16,
    /// The health checks' verdict.
    pub health: BackendHealth,
    /// Whether it takes traffic only while no other backend may.
    pub backup: bool,
}

/// Who is asked first, and who only while nobody before is there.
const ORDER: [(BackendHealth, bool); 4] = [
    (BackendHealth::Up, false),
    (BackendHealth::Up, true),
    (BackendHealth::Unknown, false),
    (BackendHealth::Unknown, true),
];

/// Returns the positions, in ascending order, of the backends that may take new traffic.
///
/// Those that are up; where none is up, those that were never checked, so that an instance serves
/// before its first checks have ended; where there are none of these either, nobody: a backend that
/// is known to be down gets no traffic, and the client is told so. Of both kinds, backups only while there
/// is no other. A weight of 0 takes a backend out of the question altogether.
#[must_use]
pub fn eligible(candidates: &[Candidate]) -> Vec<usize> {
    let with = |(health, backup)| {
        let is_one = move |candidate: &Candidate| {
            candidate.weight > 0 && (candidate.health, candidate.backup) == (health, backup)
        };
        (0..)
            .zip(candidates)
            .filter(move |(_, candidate)| is_one(candidate))
            .map(|(position, _)| position)
            .collect::<Vec<_>>()
    };
    ORDER
        .into_iter()
        .map(with)
        .find(|positions| !positions.is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use BackendHealth::{Down, Unknown, Up};

    fn positions(of: &[(u16, BackendHealth)]) -> Vec<usize> {
        let of: Vec<_> = of.iter().map(|&(w, health)| (w, health, false)).collect();
        positions_with_backups(&of)
    }

    fn positions_with_backups(of: &[(u16, BackendHealth, bool)]) -> Vec<usize> {
        let candidates: Vec<_> = of
            .iter()
            .map(|&(weight, health, backup)| Candidate {
                weight,
                health,
                backup,
            })
            .collect();
        eligible(&candidates)
    }

    #[test]
    fn only_backends_that_are_up_take_traffic_while_one_is_up() {
        assert_eq!(
            positions(&[(1, Unknown), (1, Up), (1, Down), (2, Up)]),
            [1, 3]
        );
    }

    #[test]
    fn unchecked_backends_take_traffic_only_while_none_is_up() {
        assert_eq!(positions(&[(1, Unknown), (1, Down), (3, Unknown)]), [0, 2]);
    }

    #[test]
    fn nobody_takes_traffic_when_all_are_down() {
        assert!(positions(&[(1, Down), (1, Down)]).is_empty());
        assert!(positions(&[]).is_empty());
    }

    #[test]
    fn a_weight_of_zero_takes_no_new_traffic() {
        assert!(positions(&[(0, Up), (0, Unknown)]).is_empty());
        assert_eq!(positions(&[(0, Up), (1, Unknown)]), [1]);
    }

    #[test]
    fn backups_take_traffic_only_while_no_other_may() {
        for (of, expected) in [
            (
                &[(1, Up, false), (1, Up, true), (1, Down, false)][..],
                &[0][..],
            ),
            (&[(1, Down, false), (1, Up, true), (1, Up, true)], &[1, 2]),
            (&[(0, Up, false), (1, Up, true)], &[1]),
            // A backup that is known to be well comes before one that is not known at all.
            (&[(1, Unknown, false), (1, Up, true)], &[1]),
            (&[(1, Unknown, false), (1, Unknown, true)], &[0]),
            (&[(1, Down, false), (1, Unknown, true)], &[1]),
            (&[(1, Down, false), (1, Down, true)], &[]),
        ] {
            assert_eq!(positions_with_backups(of), expected, "{of:?}");
        }
    }
}
