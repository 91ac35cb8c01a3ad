//! Which backends may take traffic at all, before any algorithm chooses among them.

use model::BackendHealth;

/// What the pick rule knows of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Share of the traffic in relation to the others; 0 takes no new traffic.
    pub weight: u16,
    /// The health checks' verdict.
    pub health: BackendHealth,
}

/// Returns the positions, in ascending order, of the backends that may take new traffic.
///
/// Those that are up; where none is up, those that were never checked, so that an instance serves
/// before its first checks have ended; where there are none of these either, nobody: a backend that
/// is known to be down gets no traffic, and the client is told so. A weight of 0 takes a backend out of
/// the question altogether.
#[must_use]
pub fn eligible(candidates: &[Candidate]) -> Vec<usize> {
    let with = |health| {
        candidates
            .iter()
            .enumerate()
            .filter(move |(_, candidate)| candidate.weight > 0 && candidate.health == health)
            .map(|(position, _)| position)
            .collect::<Vec<_>>()
    };
    let up = with(BackendHealth::Up);
    if up.is_empty() {
        with(BackendHealth::Unknown)
    } else {
        up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BackendHealth::{Down, Unknown, Up};

    fn positions(of: &[(u16, BackendHealth)]) -> Vec<usize> {
        let candidates: Vec<_> = of
            .iter()
            .map(|&(weight, health)| Candidate { weight, health })
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
}
