use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const FIRST: Child = Child(1);
const SECOND: Child = Child(2);

/// One that serves and is ready.
fn serving(now: Instant) -> Lineup {
    let mut lineup = Lineup::new(now);
    let serve = Action::Tell(FIRST, Message::Serve(String::new()));
    assert_eq!(lineup.advance(now), [Action::Start(FIRST), serve]);
    lineup.ready(FIRST, now);
    lineup
}

/// A lineup whose replacement has begun.
fn replacing(now: Instant) -> Lineup {
    let mut lineup = serving(now);
    lineup.replace();
    assert_eq!(lineup.advance(now), [Action::StartNew(SECOND)]);
    lineup
}

fn serves(child: Child) -> impl Fn(&Action) -> bool {
    move |action| matches!(action, Action::Tell(told, Message::Serve(_)) if *told == child)
}

#[test]
fn a_successor_serves_only_after_the_one_before_has_left() {
    let now = Instant::now();
    let mut lineup = replacing(now);
    let leave = Action::Tell(FIRST, Message::Leave);
    assert_eq!(lineup.ready(SECOND, now), [leave]);
    assert_eq!(lineup.serving(), Some(FIRST));
    let actions = lineup.left(FIRST, now);
    assert!(actions.iter().any(serves(SECOND)), "{actions:?}");
    let newest = actions.iter().position(|a| *a == Action::HandOver(SECOND));
    assert!(
        newest < actions.iter().position(serves(SECOND)),
        "{actions:?}"
    );
    assert!(actions.contains(&Action::Adopt(SECOND)));
    assert_eq!(lineup.serving(), Some(SECOND));
    assert_eq!(lineup.ended(FIRST, "exited with status 0", now), []);
    assert_eq!(lineup.advance(now), []);
}

#[test]
fn a_successor_that_is_never_ready_is_killed_and_the_one_before_goes_on() {
    let now = Instant::now();
    let mut lineup = replacing(now);
    let late = now + READY_WITHIN;
    assert_eq!(lineup.advance(late), [Action::Kill(SECOND)]);
    lineup.ended(SECOND, "was killed by signal 9", late);
    assert_eq!(lineup.serving(), Some(FIRST));
    assert_eq!(lineup.advance(late), [], "and is not started again");
}

#[test]
fn a_successor_whose_predecessor_hangs_or_dies_serves_all_the_same() {
    let now = Instant::now();
    let mut lineup = replacing(now);
    lineup.ready(SECOND, now);
    let actions = lineup.advance(now + LEFT_WITHIN);
    assert!(actions.iter().any(serves(SECOND)), "{actions:?}");

    let mut lineup = replacing(now);
    let actions = lineup.ended(FIRST, "was killed by signal 9", now);
    assert!(actions.iter().any(serves(SECOND)), "{actions:?}");
    assert_eq!(lineup.serving(), Some(SECOND));
}

#[test]
fn a_successor_that_dies_late_is_followed_by_another() {
    let now = Instant::now();
    let mut lineup = replacing(now);
    lineup.ready(SECOND, now);
    lineup.ended(SECOND, "was killed by signal 9", now);
    assert_eq!(lineup.left(FIRST, now), []);
    assert_eq!(lineup.advance(now).first(), Some(&Action::Start(Child(3))));
}

#[test]
fn a_balancer_that_ends_is_started_again_unless_all_are_to_end() {
    let now = Instant::now();
    let mut lineup = serving(now);
    let actions = lineup.ended(FIRST, "was killed by signal 9", now);
    let [Action::Log(text)] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(
        text,
        "the balancer was killed by signal 9; starting it again in 0 ms"
    );
    let actions = lineup.advance(now);
    assert_eq!(actions.first(), Some(&Action::Start(SECOND)));
    assert!(actions.iter().any(serves(SECOND)));
    lineup.stop();
    lineup.ended(SECOND, "exited with status 0", now);
    assert_eq!(lineup.advance(now + READY_WITHIN), []);
    assert_eq!(lineup.wake_at(), None);
}

#[test]
fn replacements_wait_while_many_are_leaving() {
    let now = Instant::now();
    let mut lineup = serving(now);
    let replace = |lineup: &mut Lineup| {
        lineup.replace();
        let actions = lineup.advance(now);
        let started = actions.iter().find_map(|action| match action {
            Action::StartNew(child) => Some(*child),
            _ => None,
        })?;
        let before = lineup.serving().unwrap();
        lineup.ready(started, now);
        lineup.left(before, now);
        Some(started)
    };
    for _ in 0..MOST_LEAVING {
        assert!(replace(&mut lineup).is_some());
    }
    assert_eq!(replace(&mut lineup), None);
    lineup.ended(FIRST, "exited with status 0", now);
    assert!(matches!(lineup.advance(now)[..], [Action::StartNew(_)]));
}

#[derive(Clone, Copy, Debug)]
enum Chance {
    Replace,
    Ready,
    Left,
    Ends(usize),
    Wait(u64),
}

fn chance() -> impl Strategy<Value = Chance> {
    prop_oneof![
        Just(Chance::Replace),
        Just(Chance::Ready),
        Just(Chance::Left),
        (0usize..4).prop_map(Chance::Ends),
        (0u64..12_000).prop_map(Chance::Wait),
    ]
}

/// What processes would do with what they are told.
#[derive(Default)]
struct Processes {
    alive: BTreeMap<Child, bool>,
    told_to_leave: Vec<Child>,
}

impl Processes {
    fn carry_out(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Start(child) => drop(self.alive.insert(*child, true)),
                Action::StartNew(child) => drop(self.alive.insert(*child, false)),
                Action::Tell(child, Message::Serve(_)) => drop(self.alive.insert(*child, true)),
                Action::Tell(child, Message::Leave) => self.told_to_leave.push(*child),
                _ => {}
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_one_serves_in_the_end(chances in prop::collection::vec(chance(), 0..60)) {
        let mut now = Instant::now();
        let mut lineup = Lineup::new(now);
        let mut processes = Processes::default();
        for chance in chances {
            let actions = match chance {
                Chance::Replace => { lineup.replace(); Vec::new() }
                Chance::Ready => match processes.alive.keys().last() {
                    Some(&child) => lineup.ready(child, now),
                    None => Vec::new(),
                },
                Chance::Left => match processes.told_to_leave.pop() {
                    Some(child) if processes.alive.contains_key(&child) => {
                        processes.alive.insert(child, false);
                        lineup.left(child, now)
                    }
                    _ => Vec::new(),
                },
                Chance::Ends(which) => match processes.alive.keys().nth(which).copied() {
                    Some(child) => {
                        processes.alive.remove(&child);
                        lineup.ended(child, "ended", now)
                    }
                    None => Vec::new(),
                },
                Chance::Wait(ms) => { now += Duration::from_millis(ms); Vec::new() }
            };
            processes.carry_out(&actions);
            let actions = lineup.advance(now);
            processes.carry_out(&actions);
            prop_assert!(lineup.leaving.len() <= MOST_LEAVING + 1);
        }
        // Left alone, every deadline passes and every order is obeyed.
        for _ in 0..10 {
            now += READY_WITHIN;
            let mut actions = lineup.advance(now);
            for killed in actions.clone() {
                if let Action::Kill(child) = killed {
                    processes.alive.remove(&child);
                    actions.extend(lineup.ended(child, "killed", now));
                }
            }
            processes.carry_out(&actions);
            for child in std::mem::take(&mut processes.told_to_leave) {
                if let Some(serves) = processes.alive.get_mut(&child) {
                    *serves = false;
                    let actions = lineup.left(child, now);
                    processes.carry_out(&actions);
                }
            }
        }
        let serving = lineup.serving();
        prop_assert!(serving.is_some_and(|child| processes.alive.get(&child) == Some(&true)), "{lineup:?}");
    }
}
