//! One flow, killed at each of its points in turn.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use end_to_end::{Driver, Host, World};

use super::flow::{Flow, Wanted};
use super::point::{Point, points};
use super::stage::Stage;

/// Hosts on which points are tried at the same time: most of the time is waiting.
const LANES: usize = 3;
/// The same where each VM is emulated, which takes the processors' time.
const LANES_OF_MACHINES: usize = 2;
/// For how long a server is watched that has nothing to do: longer than anything that it does once, some time
/// after its start.
const IDLE: Duration = Duration::from_secs(5);
/// How long a flow that is done may still do something.
const CALM: Duration = Duration::from_millis(1_500);
/// Tries of a point that is not passed again: what happens at the same time happens in no order.
const ATTEMPTS: u32 = 3;

/// What came of all points.
#[derive(Default)]
struct Tally {
    killed: usize,
    not_passed: Vec<Point>,
}

/// Says where a flow stood when the test fails, and nothing when it does not.
struct Told(String);

impl Drop for Told {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("failed at {}", self.0);
        }
    }
}

/// What a flow was recorded to do.
struct Recording {
    points: Vec<Point>,
    /// Steps of a start.
    start: u32,
}

pub fn run(flow: Flow, driver: Driver) {
    let began = Instant::now();
    let is_soak = std::env::var_os("EVENKEEL_SOAK").is_some();
    let Recording { points, start } = record(flow, driver, is_soak);
    let total = points.len();
    let queue = Mutex::new(VecDeque::from_iter(points.into_iter().enumerate()));
    let tally = Mutex::new(Tally::default());
    let second = |index: usize| {
        let nth = u32::try_from(index).expect("there are few");
        is_soak.then(|| 1 + nth % start)
    };
    thread::scope(|scope| {
        let lanes = match driver {
            Driver::Process => LANES,
            Driver::Machine | Driver::Restored | Driver::Pooled => LANES_OF_MACHINES,
        };
        for _ in 0..lanes.min(total) {
            scope.spawn(|| {
                let host = Host::new();
                let mut stage = Stage::new(&host, driver, flow);
                loop {
                    let next = lock(&queue).pop_front();
                    let Some((index, point)) = next else {
                        break;
                    };
                    let is_killed =
                        (0..ATTEMPTS).any(|_| attempt(&mut stage, flow, &point, second(index)));
                    let mut tally = lock(&tally);
                    match is_killed {
                        true => tally.killed += 1,
                        false => tally.not_passed.push(point),
                    }
                }
                stage.bring_to(&Wanted::default());
                let left = World::seen(&host).beyond(&World::front());
                assert!(
                    left.is_empty(),
                    "when all was deleted, there was still {left:?}"
                );
            });
        }
    });
    let Tally { killed, not_passed } = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{flow:?} over {driver:?}: killed at {killed} of {total} points in {:?}; not passed again: {not_passed:?}",
        began.elapsed()
    );
    assert_eq!(killed + not_passed.len(), total);
    assert!(killed * 5 >= total * 4, "too few points were passed again");
}

/// Runs a flow undisturbed and writes down what it passes.
fn record(flow: Flow, driver: Driver, with_parts: bool) -> Recording {
    let host = Host::new();
    let mut stage = Stage::new(&host, driver, flow);
    let (before, after) = flow.wanted();
    stage.bring_to(&before);
    let vm = flow.prepare(&stage);
    let from = stage.passed(0).len();
    thread::sleep(IDLE);
    let idle = BTreeSet::from_iter(stage.passed(from));
    let from = stage.passed(0).len();
    flow.go(&host, &stage.door, vm.as_ref())
        .expect("nobody kills the server");
    stage.await_death(&after, CALM);
    stage.await_settled(&after);
    let points = points(&stage.passed(from), &idle, with_parts);
    stage.kill();
    let from = stage.passed(0).len();
    stage.restart();
    stage.await_settled(&after);
    let start = u32::try_from(stage.passed(from).len()).expect("there are few");
    Recording { points, start }
}

/// Runs a flow and kills the server at a point, and its restart at the nth of its steps where that is given.
/// Returns whether the point was passed.
fn attempt(stage: &mut Stage<'_>, flow: Flow, point: &Point, second: Option<u32>) -> bool {
    let (before, after) = flow.wanted();
    let began = Instant::now();
    if matches!(flow, Flow::Failover | Flow::Return | Flow::ScaleOut) {
        // An instance whose VMs died one after the other is given new ones ever more slowly, and VMs that
        // leave take their time, but for those of an instance that is deleted.
        stage.bring_to(&Wanted::default());
    }
    stage.bring_to(&before);
    let vm = flow.prepare(stage);
    let _told = Told(format!(
        "{flow:?}: {point}, then {second:?} ({:?} to prepare)",
        began.elapsed()
    ));
    stage.order_death(point);
    let (host, door) = (stage.host, stage.door.clone());
    let answer = thread::scope(|scope| {
        let asked = scope.spawn(|| flow.go(host, &door, vm.as_ref()));
        stage.await_death(&after, CALM);
        asked.join().expect("asking does not panic")
    });
    let is_killed = stage.forbid_death();
    if is_killed {
        if let Some(nth) = second {
            stage.restart_and_die(nth);
        }
        stage.restart();
    }
    let stands = Wanted::read(&stage.door).expect("the door answers");
    let is_lost = answer.is_none() && stands == before;
    assert!(
        stands == after || is_lost,
        "{point}: {answer:?}, and {stands:?} stands"
    );
    stage.await_settled(&stands);
    if flow == Flow::Return {
        let ids = |vms: Vec<end_to_end::Vm>| vms.iter().map(|vm| vm.id).collect::<Vec<_>>();
        let returned = ids(Vec::from_iter(vm));
        assert_eq!(
            ids(stage.vms()),
            returned,
            "{point}: the old one is to stay"
        );
    }
    is_killed
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
