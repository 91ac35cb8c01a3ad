//! Who waits for a backend, and who is next: one line for a whole instance.
//!
//! One line, and not one for each backend: whichever backend frees up serves whoever has waited longest, so
//! nobody stands behind a slow backend while another is free, and a backend that goes away takes no line with
//! it. (In queueing theory's terms an M/M/n queue instead of n M/M/1 queues.)
//!
//! First come, first served, with one exception: who may not go to the backend that is free (a request that
//! it has already failed) lets those behind go first. Nothing here waits or wakes; the bound on the line's
//! length and each one's time are the caller's.

use std::collections::BTreeMap;

/// A place in the line. Earlier ones are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turn(u64);

/// Those who wait, in the order in which they came.
#[derive(Clone, Debug)]
pub struct WaitingLine<T> {
    waiting: BTreeMap<Turn, T>,
    next: u64,
}

impl<T> Default for WaitingLine<T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<T> WaitingLine<T> {
    /// Puts one at the end, unless `bound` already wait.
    pub fn join(&mut self, who: T, bound: usize) -> Option<Turn> {
        if self.waiting.len() >= bound {
            return None;
        }
        let turn = Turn(self.next);
        self.next += 1;
        self.waiting.insert(turn, who);
        Some(turn)
    }

    /// Puts one back at the place that it had, since it was served in vain. It was let in once and so is let
    /// in again, whatever the bound.
    pub fn rejoin(&mut self, turn: Turn, who: T) {
        self.waiting.insert(turn, who);
    }

    /// Takes one out that no longer waits. Nothing when it was served before.
    pub fn leave(&mut self, turn: Turn) -> Option<T> {
        self.waiting.remove(&turn)
    }

    /// Takes the first out for whom `may` holds.
    pub fn serve(&mut self, may: impl Fn(&T) -> bool) -> Option<(Turn, T)> {
        let turn = self
            .waiting
            .iter()
            .find_map(|(turn, who)| may(who).then_some(*turn))?;
        self.waiting.remove(&turn).map(|who| (turn, who))
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_may_not_be_served_lets_others_go_first_and_keeps_its_place() {
        let mut line = WaitingLine::default();
        line.join("not here", 9);
        line.join("b", 9);
        assert_eq!(line.serve(|who| *who != "not here").map(|s| s.1), Some("b"));
        line.join("c", 9);
        assert_eq!(line.serve(|_| true).map(|s| s.1), Some("not here"));
    }

    #[test]
    fn who_was_served_in_vain_has_its_old_place_again() {
        let mut line = WaitingLine::default();
        for who in ["a", "b", "c"] {
            line.join(who, 3);
        }
        let (turn, who) = line.serve(|_| true).unwrap();
        assert!(line.join("d", 3).is_some());
        line.rejoin(turn, who);
        let order: Vec<_> = std::iter::from_fn(|| line.serve(|_| true)).collect();
        assert_eq!(order.iter().map(|it| it.1).collect::<String>(), "abcd");
    }

    #[derive(Clone, Debug)]
    enum Move {
        Join,
        Leave(usize),
        Serve,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            3 => Just(Move::Join),
            1 => any::<usize>().prop_map(Move::Leave),
            2 => Just(Move::Serve),
        ];
        proptest::collection::vec(one, 1..200)
    }

    proptest! {
        #[test]
        fn the_longest_waiting_is_served_and_the_bound_holds(moves in moves(), bound in 0usize..20) {
            let mut line = WaitingLine::default();
            let mut model: Vec<(Turn, u32)> = Vec::new();
            for (number, step) in (0u32..).zip(moves) {
                match step {
                    Move::Join => {
                        let turn = line.join(number, bound);
                        prop_assert_eq!(turn.is_some(), model.len() < bound);
                        model.extend(turn.map(|turn| (turn, number)));
                    }
                    Move::Leave(which) if !model.is_empty() => {
                        let (turn, who) = model.remove(which % model.len());
                        prop_assert_eq!(line.leave(turn), Some(who));
                        prop_assert_eq!(line.leave(turn), None);
                    }
                    Move::Leave(_) => {}
                    Move::Serve => {
                        let first = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(line.serve(|_| true), first);
                    }
                }
                prop_assert_eq!(line.len(), model.len());
            }
        }
    }
}
