use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use model::{FigureName, FigureQuery, Unanswered};
use series::{Across, MonitorLog, Options, Query, Reading, Reads, Snapshot, Statistic};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use super::answer::answer;
use super::thread::{Desk, Place, keep};
use super::*;

const ORIGIN: Origin = Origin {
    project: ProjectId(3),
    instance: InstanceId(7),
    vm: VmId(12),
};
const BOUNDS: Bounds = Bounds {
    series: 100,
    series_of_project: 2,
};

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn taken(name: &str, time: Duration, reading: Reading) -> Taken {
    let sample = Sample {
        name: name.into(),
        time,
        reading,
    };
    Taken {
        lists: Vec::new(),
        vm: ORIGIN.vm,
        samples: vec![sample],
    }
}

/// The names of the project's series, and the sum of each over the last minute.
fn kept(directory: &Path) -> Vec<(String, Option<f64>)> {
    let log = MonitorLog::open(directory, &Options::default(), now()).unwrap();
    let (from, to) = (now().as_secs() as i64 - 60, now().as_secs() as i64 + 60);
    let sum = |series| {
        let query = Query {
            series: &[series],
            from,
            to,
            step: Some(120),
            statistic: Statistic::Sum,
            across: Across::Merged,
        };
        let rows = log.query(&query).unwrap().rows;
        // The minute may lie in two steps.
        rows[0]
            .values
            .iter()
            .flatten()
            .copied()
            .reduce(|a, b| a + b)
    };
    let all = log.series(ORIGIN.project.0, "");
    all.map(|(id, name, _)| (name.to_owned(), sum(id)))
        .collect()
}

#[tokio::test]
async fn what_is_kept_stands_under_its_project_instance_and_vm_after_the_log_was_closed() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("monitor");
    let first = now() - Duration::from_secs(6);
    for life in 0..2 {
        let keeper = Keeper::start(directory.clone(), BOUNDS).unwrap();
        for second in life * 3..life * 3 + 3 {
            let reading = Reading::Count(100 * second);
            let time = first + Duration::from_secs(second);
            keeper.keep(ORIGIN, taken("evenkeel/derive-requests", time, reading));
        }
        keeper.close().await;
    }
    let name = "7/12/evenkeel/derive-requests".to_owned();
    assert_eq!(kept(&directory), [(name, Some(500.0))]);
}

#[tokio::test]
async fn of_a_project_no_more_series_are_kept_than_may_be() {
    let state = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(state.path().to_owned(), BOUNDS).unwrap();
    for name in ["a", "b", "c"] {
        keeper.keep(ORIGIN, taken(name, now(), Reading::Gauge(1.0)));
    }
    keeper.close().await;
    let names: Vec<_> = kept(state.path()).into_iter().map(|kept| kept.0).collect();
    assert_eq!(names, ["7/12/a", "7/12/b"]);
}

/// As much as a log with 100,000 series may fall behind, and more.
#[test]
fn what_waited_while_the_log_wrote_is_kept_whole_however_long_that_took() {
    const SECONDS: u64 = 40;
    let state = tempfile::tempdir().unwrap();
    let (queue, work) = channel();
    let first = now() - Duration::from_secs(SECONDS);
    for second in 0..SECONDS {
        let wall = first + Duration::from_secs(second);
        let came = Came {
            at: Instant::now() + Duration::from_secs(second),
            wall,
        };
        let work = Work::Keep {
            project: ORIGIN.project,
            within: ORIGIN.within(),
            samples: taken("a", wall, Reading::Gauge(1.0)).samples,
        };
        queue.send(Waiting { came, work }).unwrap();
    }
    drop(queue);
    let standing = Mutex::new(Standing::default());
    keep(&Place::new(state.path(), BOUNDS), &work, &standing);
    assert_eq!(lock(&standing).figures.refused, BTreeMap::new());
    let all = Some(SECONDS as f64);
    assert_eq!(kept(state.path()), [("7/12/a".to_owned(), all)]);
}

#[test]
fn where_there_is_no_room_for_new_series_is_counted() {
    let state = tempfile::tempdir().unwrap();
    let standing = Mutex::new(Standing::default());
    let bounds = Bounds {
        series: 3,
        series_of_project: 2,
    };
    let mut desk = Desk::new(Place::new(state.path(), bounds), &standing);
    let mut keep = |project: u64, names: &[&str]| {
        desk.turn(now());
        for name in names {
            let samples = taken(name, now(), Reading::Gauge(1.0)).samples;
            desk.keep(ProjectId(project), "7/12", &samples);
        }
        desk.turn(now());
        lock(&standing).no_room.clone()
    };
    let no_room = |in_log, of_project| NoRoom {
        in_log,
        of_projects: [(ProjectId(3), of_project)].into(),
    };
    assert_eq!(keep(3, &["a", "b"]), NoRoom::default());
    assert_eq!(keep(3, &["c", "d"]), no_room(0, 2));
    assert_eq!(keep(4, &["a"]), no_room(0, 2));
    assert_eq!(keep(5, &["a"]), no_room(1, 2));
    assert_eq!(keep(3, &["a"]), no_room(1, 2));
}

#[test]
fn a_log_that_cannot_be_opened_is_a_trouble_and_heals() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("monitor");
    fs::write(&directory, "in the way").unwrap();
    let standing = Mutex::new(Standing::default());
    let mut desk = Desk::new(Place::new(&directory, BOUNDS), &standing);
    let sample = || taken("a", now(), Reading::Gauge(1.0)).samples;
    desk.turn(now());
    desk.keep(ORIGIN.project, &ORIGIN.within(), &sample());
    let trouble = lock(&standing).trouble.clone().unwrap();
    assert!(trouble.contains("monitor"), "{trouble}");
    assert_eq!(lock(&standing).unkept, 1);
    fs::remove_file(&directory).unwrap();
    for turns in 0.. {
        assert!(turns < 20, "it does not heal");
        desk.turn(now());
        if lock(&standing).trouble.is_none() {
            break;
        }
    }
    desk.keep(ORIGIN.project, &ORIGIN.within(), &sample());
    drop(desk);
    assert_eq!(kept(&directory), [("7/12/a".to_owned(), Some(1.0))]);
    assert_eq!(lock(&standing).unkept, 1, "nothing more was lost");
}

#[test]
fn a_directory_that_was_taken_away_is_made_again() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("monitor");
    let standing = Mutex::new(Standing::default());
    let mut desk = Desk::new(Place::new(&directory, BOUNDS), &standing);
    desk.turn(now());
    fs::remove_dir_all(&directory).unwrap();
    for turns in 0.. {
        assert!(turns < 20, "it is not made again");
        desk.turn(now());
        if directory.join("lock").exists() {
            break;
        }
    }
    desk.keep(
        ORIGIN.project,
        &ORIGIN.within(),
        &taken("a", now(), Reading::Gauge(1.0)).samples,
    );
    drop(desk);
    assert_eq!(kept(&directory), [("7/12/a".to_owned(), Some(1.0))]);
}

#[test]
fn what_the_log_has_no_time_for_is_counted_and_never_waited_for() {
    let (queue, work) = sync_channel(2);
    let (end, ended): (_, Receiver<()>) = channel();
    let keeper = Keeper {
        queue: Queue {
            work: queue,
            standing: Arc::default(),
        },
        thread: std::thread::spawn(move || {
            let _ended = ended.recv();
        }),
    };
    for _ in 0..5 {
        keeper.keep(ORIGIN, taken("a", now(), Reading::Gauge(1.0)));
    }
    assert_eq!(keeper.standing().unkept, 3);
    drop((end, work));
}

fn question() -> FigureQuery {
    let now = now().as_secs() as i64;
    FigureQuery {
        project: ORIGIN.project,
        instance: ORIGIN.instance,
        figures: vec![FigureName::Connections],
        from: now - 60,
        to: now,
        step: None,
        by: None,
        hosts: Vec::new(),
    }
}

/// An asker whose questions come to the test in place of a log.
fn asker() -> (Asker, Receiver<Waiting>) {
    let (work, questions) = sync_channel(8);
    let queue = Queue {
        work,
        standing: Arc::default(),
    };
    (Asker::new(queue, Tally::default()), questions)
}

type Reply = oneshot::Sender<Result<Snapshot, Unanswered>>;

/// The next that comes to the log.
async fn next(questions: &Receiver<Waiting>) -> Reply {
    loop {
        match questions.try_recv() {
            Ok(waiting) => match waiting.work {
                Work::Show { reply, .. } => return reply,
                Work::Keep { .. } => panic!("nobody keeps anything"),
            },
            Err(_nothing_yet) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn few_questions_are_worked_at_and_one_whose_asker_has_gone_makes_room() {
    let (asker, questions) = asker();
    let ask = || {
        let asker = asker.clone();
        tokio::spawn(async move { asker.ask(question()).await })
    };
    let asking = [ask(), ask(), ask()];
    let (first, second) = (next(&questions).await, next(&questions).await);
    // There is one thread for all of this, so whatever could happen has happened by then.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(questions.try_recv().is_err(), "two at once");
    asking[0].abort();
    let third = next(&questions).await;
    assert!(first.is_closed() && !second.is_closed() && !third.is_closed());
    let state = tempfile::tempdir().unwrap();
    let log = MonitorLog::open(state.path(), &Options::default(), now()).unwrap();
    for reply in [second, third] {
        assert!(reply.send(Ok(log.snapshot_of(3, ["7/"]).unwrap())).is_ok());
    }
    let [_gone, second, third] = asking;
    for answer in [second, third] {
        assert!(answer.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_question_is_given_up_when_whoever_asked_hangs_up() {
    let (asker, questions) = asker();
    let state = tempfile::tempdir().unwrap();
    let socket = state.path().join("monitor.sock");
    let answering = tokio::spawn(answer_questions(bind_questions(&socket).unwrap(), asker));
    let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
    let mut line = serde_json::to_vec(&question()).unwrap();
    line.push(b'\n');
    stream.write_all(&line).await.unwrap();
    let mut reply = next(&questions).await;
    drop(stream);
    // Else it is given up when he has waited too long.
    let given_up = timeout(socket::PATIENCE / 2, reply.closed()).await;
    given_up.expect("it goes on for nobody");
    answering.abort();
}

/// An answer that takes long takes none of the log's time: it is of what was there when it was asked for.
#[test]
fn an_answer_is_worked_out_while_the_log_goes_on() {
    let state = tempfile::tempdir().unwrap();
    let standing = Mutex::new(Standing::default());
    let mut desk = Desk::new(Place::new(state.path(), BOUNDS), &standing);
    let begin = now();
    desk.turn(begin);
    let keep = |desk: &mut Desk<'_>, second: u64| {
        let time = begin + Duration::from_secs(second);
        desk.turn(time);
        let name = "evenkeel/gauge-connections";
        let samples = taken(name, time, Reading::Gauge(1.0)).samples;
        desk.keep(ORIGIN.project, &ORIGIN.within(), &samples);
    };
    (0..20).for_each(|second| keep(&mut desk, second));
    let query = FigureQuery {
        from: begin.as_secs() as i64,
        to: begin.as_secs() as i64 + 2_000,
        step: Some(1),
        ..question()
    };
    let snapshot = desk.show(&query).unwrap();
    // Segments are written, and what is in them is forgotten.
    (20..1_500).for_each(|second| keep(&mut desk, second));
    let reads = Reads::new(Arc::default());
    let answer = answer(&snapshot, &query, &reads).unwrap();
    let values = answer.figures[0].rows[0].values.iter().flatten();
    assert_eq!(values.copied().collect::<Vec<_>>(), [1.0; 20]);
}
