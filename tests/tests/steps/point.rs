//! The steps at which a server can be killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A step, and which time that it is passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    pub step: String,
    pub time: u32,
}

impl fmt::Display for Point {
    /// As the server is ordered to die at it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.time, self.step)
    }
}

/// Where what is only seen and reported is kept. It is written as often as something is seen.
const STATUS: &str = "status.db";

/// The points of a flow that passed `steps`, each passing one of its own; the parts that effects are made of
/// only when they are asked for. What is written to the status store, and what passes again and again while
/// nothing is asked for (`idle`), comes as often as time passes, and counts once.
pub fn points(steps: &[String], idle: &BTreeSet<String>, with_parts: bool) -> Vec<Point> {
    let mut times = BTreeMap::<&String, u32>::new();
    let mut points = Vec::new();
    for step in steps.iter().filter(|step| with_parts || !is_part(step)) {
        let time = times.entry(step).or_default();
        *time += 1;
        let comes_again = idle.contains(step) || step.contains(STATUS);
        if *time == 1 || !comes_again {
            points.push(Point {
                step: step.clone(),
                time: *time,
            });
        }
    }
    points
}

/// Whether it is one of the changes that an effect is made of.
fn is_part(step: &str) -> bool {
    !step.starts_with("before ") && !step.starts_with("after ")
}

#[test]
fn each_passing_is_a_point_but_what_comes_with_time_is_one() {
    let steps = ["after a", "before b", "after a", "network: c", "before b"].map(str::to_owned);
    let idle = BTreeSet::from(["before b".to_owned()]);
    let told = |with_parts| {
        let points = points(&steps, &idle, with_parts);
        points.iter().map(Point::to_string).collect::<Vec<_>>()
    };
    assert_eq!(told(false), ["1 after a", "1 before b", "2 after a"]);
    let all = ["1 after a", "1 before b", "2 after a", "1 network: c"];
    assert_eq!(told(true), all);
}
