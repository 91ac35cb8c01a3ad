//! Every order in which a few threads can do their steps: each step is one that no other thread can come
//! between, a call that holds the line's lock or one look at a number.
//!
//! States are told apart by all that is in them, so each is gone on from once, and all orders are covered.
//! What takes or frees a slot without the lock while somebody else holds it is left out: whoever finds none free
//! for such a moment joins the line, and serves it then. Whatever is tried is the line's own code; only the order of the steps in
//! [`Line::pass_on`] and [`Line::serve`] is repeated here.

use std::collections::HashSet;
use std::time::Instant;

use super::*;
use crate::shared::Shared;

/// The next step of somebody who wants a slot, and frees it when it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Next {
    TakeSlot,
    Join,
    LookWhetherAnybodyWaits,
    ServeLine,
    AwaitGrant,
    LookBeforeFreeing,
    HandOver,
    CountOut,
    LookAfterFreeing,
    ServeLineAfterFreeing,
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Actor {
    next: Next,
    turn: Option<Turn>,
    /// How often it frees its slot at once and wants one again, as a request whose backend fails.
    fails: u8,
    /// Whether it leaves the line at some time instead of being served.
    leaves: bool,
}

impl Actor {
    const PLAIN: Self = Self {
        next: Next::TakeSlot,
        turn: None,
        fails: 0,
        leaves: false,
    };
    const FAILING: Self = Self {
        fails: 1,
        ..Self::PLAIN
    };
    const LEAVING: Self = Self {
        leaves: true,
        ..Self::PLAIN
    };

    fn has_slot(self) -> bool {
        use Next::{CountOut, HandOver, LookBeforeFreeing};
        matches!(self.next, LookBeforeFreeing | HandOver | CountOut)
    }
}

struct World<'a> {
    desks: &'a [ThreadDesk],
    line: Line,
    record: Arc<BackendRecord>,
    bound: u32,
    actors: Vec<Actor>,
    grants: Vec<Vec<Grant>>,
}

/// All that is in a state, by which it is known again.
type Mark = (Vec<Actor>, Vec<usize>, Vec<u64>, usize, Vec<bool>);

impl<'a> World<'a> {
    fn new(shared: &'a Shared, actors: &[Actor], bound: u32) -> Self {
        let address = SocketAddrV4::new([127, 0, 0, 1].into(), 1);
        Self {
            desks: &shared.threads,
            line: Line::default(),
            record: Arc::new(BackendRecord::new(address, 1, Instant::now())),
            bound,
            actors: actors.to_vec(),
            grants: actors.iter().map(|_| Vec::new()).collect(),
        }
    }

    fn mark(&self) -> Mark {
        let waiting = lock(&self.line.line).clone();
        let mut order = waiting;
        let waiting = std::iter::from_fn(|| Some(order.serve(|_| true)?.1.client)).collect();
        (
            self.actors.clone(),
            self.grants.iter().map(Vec::len).collect(),
            waiting,
            self.line.len(),
            (1..=self.bound + 1)
                .map(|bound| self.record.standing.is_full(bound))
                .collect(),
        )
    }

    fn can_go_on(&self, who: usize) -> bool {
        match self.actors[who].next {
            Next::Nothing => false,
            Next::AwaitGrant => self.actors[who].leaves || !self.grants[who].is_empty(),
            _ => true,
        }
    }

    fn step(&mut self, who: usize) {
        let mut actor = self.actors[who];
        let (line, record, bound) = (&self.line, &self.record, self.bound);
        actor.next = match actor.next {
            Next::TakeSlot if record.standing.take_slot(bound) => Next::LookBeforeFreeing,
            Next::TakeSlot => Next::Join,
            Next::Join => {
                let waiter = Waiter {
                    thread: who,
                    client: who as u64,
                    except: Vec::new(),
                };
                match actor.turn {
                    Some(turn) => line.rejoin(turn, waiter),
                    None => actor.turn = line.join(waiter, usize::MAX),
                }
                Next::LookWhetherAnybodyWaits
            }
            Next::LookWhetherAnybodyWaits if line.is_empty() => Next::AwaitGrant,
            Next::LookWhetherAnybodyWaits => Next::ServeLine,
            Next::ServeLine => {
                line.serve_waiting(record, bound, self.desks);
                Next::AwaitGrant
            }
            Next::AwaitGrant if std::mem::take(&mut actor.leaves) => {
                match line.leave(actor.turn.unwrap()) {
                    true => Next::Nothing,
                    false => Next::AwaitGrant,
                }
            }
            Next::AwaitGrant => {
                let grant = self.grants[who].pop().unwrap();
                assert_eq!((grant.client, Some(grant.turn)), (who as u64, actor.turn));
                Next::LookBeforeFreeing
            }
            Next::LookBeforeFreeing if line.is_empty() => Next::CountOut,
            Next::LookBeforeFreeing => Next::HandOver,
            Next::HandOver if line.hand_over(record, bound, self.desks) => actor.freed(),
            Next::HandOver => Next::CountOut,
            Next::CountOut => {
                record.standing.count_out(1);
                Next::LookAfterFreeing
            }
            Next::LookAfterFreeing if line.is_empty() => actor.freed(),
            Next::LookAfterFreeing => Next::ServeLineAfterFreeing,
            Next::ServeLineAfterFreeing => {
                line.serve_waiting(record, bound, self.desks);
                actor.freed()
            }
            Next::Nothing => Next::Nothing,
        };
        self.actors[who] = actor;
        for (desk, grants) in self.desks.iter().zip(&mut self.grants) {
            grants.extend(desk.take_grants());
        }
    }

    fn assert_sound(&self, path: &[usize]) {
        let taken = self.actors.iter().filter(|actor| actor.has_slot()).count();
        let granted: usize = self.grants.iter().map(Vec::len).sum();
        let most = self.bound as usize;
        assert!(taken + granted <= most, "too many are out: {path:?}");
        if (0..self.actors.len()).any(|who| self.can_go_on(who)) {
            return;
        }
        let is_done = |actor: &Actor| actor.next == Next::Nothing;
        assert!(
            self.actors.iter().all(is_done),
            "a wake-up was lost: {path:?}: {:?}",
            self.actors
        );
        assert!(self.line.is_empty(), "nobody is left in the line: {path:?}");
        assert!(
            !self.record.standing.is_full(1),
            "no slot is left over: {path:?}"
        );
    }
}

impl Actor {
    fn freed(&mut self) -> Next {
        if self.fails == 0 {
            return Next::Nothing;
        }
        self.fails -= 1;
        Next::TakeSlot
    }
}

/// Goes through all states; returns how many there are.
fn explore(actors: &[Actor], bound: u32) -> usize {
    let shared = Shared::new(actors.len(), String::new()).unwrap();
    let mut known = HashSet::new();
    let mut paths = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        let mut world = World::new(&shared, actors, bound);
        path.iter().for_each(|&who| world.step(who));
        world.assert_sound(&path);
        if known.insert(world.mark()) {
            let next = (0..actors.len()).filter(|&who| world.can_go_on(who));
            paths.extend(next.map(|who| [&path[..], &[who]].concat()));
        }
    }
    known.len()
}

#[test]
fn in_no_order_of_steps_is_a_wake_up_lost_or_the_bound_passed() {
    let (plain, failing, leaving) = (Actor::PLAIN, Actor::FAILING, Actor::LEAVING);
    for (actors, bound) in [
        (&[plain, plain][..], 1),
        (&[plain, failing], 1),
        (&[plain, leaving], 1),
        (&[plain, plain, plain], 1),
        (&[plain, failing, leaving], 1),
        (&[failing, failing, plain], 2),
    ] {
        let states = explore(actors, bound);
        assert!(states > 50, "{states} states");
    }
}
