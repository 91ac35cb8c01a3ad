//! The journal over a real file: what is found again, what is bounded, and what a bad file costs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::{Event, EventKind, InstanceId, ProjectId, Timestamp, VmId};
use store::journal::{
    About, Entry, Found, Journal, MOST_OF_ONE, Of, Question, Subject, find_subject, look_up, reach,
};
use tempfile::TempDir;

const WEB: InstanceId = InstanceId(1);
const MAIL: InstanceId = InstanceId(2);
const PATIENCE: Duration = Duration::from_secs(20);

struct Kept {
    directory: TempDir,
    journal: Journal,
}

impl Kept {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::begin(directory.path().join("journal.db"));
        Self { directory, journal }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("journal.db")
    }

    fn note(&self, entries: Vec<Entry>) {
        self.journal.note(entries);
        assert!(self.journal.flush(PATIENCE), "{:?}", self.journal.trouble());
    }

    fn call(&self, instance: InstanceId, user: &str, name: &str) {
        let subject = Subject {
            instance,
            project: ProjectId(instance.0 * 10),
            user: user.to_owned(),
            name: name.to_owned(),
        };
        self.journal.note_with(vec![subject], Vec::new());
        assert!(self.journal.flush(PATIENCE));
    }

    fn texts(&self, question: &Question) -> Vec<String> {
        texts(&look_up(&self.path(), question).unwrap())
    }
}

fn texts(found: &Found) -> Vec<String> {
    found
        .events
        .iter()
        .map(|kept| kept.event.text.clone())
        .collect()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// An event at so many milliseconds after the first.
fn entry(instance: Option<InstanceId>, ms: u64, kind: EventKind, text: &str) -> Entry {
    let about = About {
        instance,
        ..About::default()
    };
    let event = Event {
        at: Timestamp(now() / 100_000 * 100_000 - 1_000_000 + ms),
        vm: (kind == EventKind::Verdict).then_some(VmId(7)),
        kind,
        text: text.to_owned(),
    };
    Entry { about, event }
}

fn question(of: Of) -> Question {
    Question {
        of,
        from: None,
        to: None,
        kinds: Vec::new(),
        vm: None,
        after: None,
        limit: 100,
    }
}

#[test]
fn what_was_noted_is_found_by_whose_it_is_by_time_kind_and_vm() {
    let kept = Kept::new();
    let all = question(Of::Instance(WEB));
    assert_eq!(kept.texts(&all), [""; 0], "there is no file yet");
    kept.call(WEB, "john", "web");
    kept.call(MAIL, "mary", "mail");
    let entries = vec![
        entry(Some(WEB), 0, EventKind::Added, "a"),
        entry(Some(MAIL), 1, EventKind::Added, "b"),
        entry(Some(WEB), 2, EventKind::Verdict, "c"),
        entry(None, 3, EventKind::Breaker, "d"),
        entry(Some(WEB), 4, EventKind::Dns, "e"),
    ];
    let times: Vec<_> = entries.iter().map(|entry| entry.event.at).collect();
    kept.note(entries);
    assert_eq!(kept.texts(&all), ["a", "c", "e"]);
    let john = question(Of::User("john".to_owned()));
    assert_eq!(kept.texts(&john), ["a", "c", "d", "e"]);
    assert_eq!(kept.texts(&question(Of::Project(ProjectId(20)))), ["b"]);
    let from = Question {
        from: Some(times[2]),
        ..all.clone()
    };
    assert_eq!(kept.texts(&from), ["c", "e"]);
    let to = Question {
        to: Some(times[2]),
        ..all.clone()
    };
    assert_eq!(kept.texts(&to), ["a", "c"]);
    let kinds = Question {
        kinds: vec![EventKind::Dns, EventKind::Added],
        ..all.clone()
    };
    assert_eq!(kept.texts(&kinds), ["a", "e"]);
    let vm = Question {
        vm: Some(VmId(7)),
        ..all
    };
    let found = look_up(&kept.path(), &vm).unwrap();
    assert_eq!(texts(&found), ["c"]);
    assert_eq!(found.events[0].name.as_deref(), Some("web"));
    let reach = reach(&kept.path()).unwrap();
    assert_eq!(reach.newest[&Some(WEB)], times[4]);
    assert_eq!(reach.newest[&None], times[3]);
    assert_eq!(reach.oldest, times[0]);
}

#[test]
fn who_follows_gets_each_event_once_and_knows_when_there_are_more() {
    let kept = Kept::new();
    let note = |numbers: std::ops::Range<u64>| {
        let entry = |n: u64| entry(Some(WEB), n, EventKind::Dns, &n.to_string());
        kept.note(numbers.map(entry).collect());
    };
    note(0..10);
    let newest = Question {
        limit: 4,
        ..question(Of::Instance(WEB))
    };
    let found = look_up(&kept.path(), &newest).unwrap();
    assert_eq!(
        (texts(&found).concat().as_str(), found.more),
        ("6789", true)
    );
    note(10..17);
    let mut seen = String::new();
    let mut after = found.after;
    loop {
        let next = Question {
            after: Some(after),
            ..newest.clone()
        };
        let found = look_up(&kept.path(), &next).unwrap();
        seen += &texts(&found).join(" ");
        seen.push('|');
        after = found.after;
        if !found.more {
            break;
        }
    }
    assert_eq!(seen, "10 11 12 13|14 15 16|");
    let beyond = Question {
        after: Some(after + 1_000),
        ..newest
    };
    let found = look_up(&kept.path(), &beyond).unwrap();
    assert_eq!((found.events.len(), found.after), (0, 0), "of another file");
}

#[test]
fn a_deleted_instance_is_found_by_its_name_and_the_newest_counts() {
    let kept = Kept::new();
    let find = |name: &str, project| {
        find_subject(&kept.path(), "john", Some(name), None, project).unwrap()
    };
    assert_eq!(find("web", None), None);
    kept.call(WEB, "john", "web");
    kept.call(MAIL, "john", "web");
    assert_eq!(find("web", None), Some(MAIL));
    assert_eq!(find("web", Some(ProjectId(10))), Some(WEB));
    kept.call(MAIL, "john", "mail");
    assert_eq!(find("web", None), Some(WEB));
    assert_eq!(find("other", None), None);
    let by_id = |user| find_subject(&kept.path(), user, None, Some(WEB), None).unwrap();
    assert_eq!((by_id("john"), by_id("mary")), (Some(WEB), None));
}

#[test]
fn nobody_drives_out_what_happened_to_others() {
    let kept = Kept::new();
    kept.note(vec![entry(Some(MAIL), 0, EventKind::Dns, "old")]);
    for about in [Some(WEB), None] {
        let mut left = MOST_OF_ONE + 3_000;
        while left > 0 {
            let part = left.min(1_000);
            let event = || entry(about, 1, EventKind::Dns, "x");
            kept.note((0..part).map(|_| event()).collect());
            left -= part;
        }
    }
    let count = |of| {
        let question = Question {
            limit: usize::MAX >> 1,
            ..question(of)
        };
        kept.texts(&question).len() as u64
    };
    let bound = MOST_OF_ONE..MOST_OF_ONE + 1_000;
    assert!(bound.contains(&count(Of::Instance(WEB))));
    assert!(bound.contains(&count(Of::User(String::new()))));
    assert_eq!(count(Of::Instance(MAIL)), 1);
}

#[test]
fn who_looks_something_up_waits_for_no_writer() {
    let kept = Kept::new();
    kept.note(vec![entry(Some(WEB), 0, EventKind::Dns, "x")]);
    let writer = rusqlite::Connection::open(kept.path()).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(kept.texts(&question(Of::Instance(WEB))), ["x"]);
}

#[test]
fn names_are_in_a_file_that_was_begun_anew_as_well() {
    let kept = Kept::new();
    kept.call(WEB, "john", "web");
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(kept.directory.path().join(format!("journal.db{suffix}")));
    }
    kept.note(vec![entry(Some(WEB), 0, EventKind::Dns, "x")]);
    assert_eq!(kept.texts(&question(Of::User("john".to_owned()))), ["x"]);
}

#[test]
fn what_is_too_old_goes() {
    let kept = Kept::new();
    let mut old = entry(Some(WEB), 0, EventKind::Dns, "old");
    old.event.at.0 -= 91 * 24 * 3_600_000;
    kept.note(vec![old, entry(Some(WEB), 0, EventKind::Dns, "new")]);
    assert_eq!(kept.texts(&question(Of::Instance(WEB))), ["new"]);
}

#[test]
fn a_damaged_file_is_put_aside_and_what_comes_is_kept_in_a_new_one() {
    let kept = Kept::new();
    let many = |from: u64| {
        let long = "x".repeat(500);
        let entry = |n| entry(Some(WEB), n, EventKind::Dns, &long);
        (from..from + 200).map(entry).collect()
    };
    kept.note(many(0));
    let path = kept.path();
    drop(Journal::begin(path.clone()));
    let noise: Vec<u8> = (0..100_000_u32).map(|n| (n * 31 % 251) as u8).collect();
    fs::write(&path, noise).unwrap();
    // The thread has the old pages at hand; a new one does not.
    let journal = Journal::begin(path.clone());
    journal.note(many(200));
    assert!(journal.flush(PATIENCE), "{:?}", journal.trouble());
    let of_all = question(Of::User("nobody".to_owned()));
    let found = texts(&look_up(&path, &of_all).unwrap());
    assert!(
        matches!(found.as_slice(), [text] if text.starts_with("the journal was damaged")),
        "{found:?}"
    );
    assert!(aside(&path).exists());
    let web = Question {
        limit: 1_000,
        ..question(Of::Instance(WEB))
    };
    assert_eq!(look_up(&path, &web).unwrap().events.len(), 200);
}

fn aside(path: &Path) -> PathBuf {
    path.with_file_name("journal.db.damaged")
}

#[test]
fn a_file_that_is_no_journal_is_left_alone_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    store::Store::open(&path, store::Durability::Full).unwrap();
    let journal = Journal::begin(path);
    journal.note(vec![entry(None, 0, EventKind::Dns, "x")]);
    assert!(!journal.flush(Duration::from_millis(300)));
    assert!(journal.trouble().unwrap().contains("is not a store"));
}

#[test]
fn nothing_is_lost_while_there_is_no_place_and_a_file_that_was_removed_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("place");
    let path = place.join("journal.db");
    let journal = Journal::begin(path.clone());
    journal.note(vec![entry(Some(WEB), 0, EventKind::Dns, "first")]);
    assert!(!journal.flush(Duration::from_millis(300)));
    assert!(journal.trouble().is_some());
    fs::create_dir(&place).unwrap();
    assert!(journal.flush(PATIENCE));
    assert_eq!(journal.trouble(), None);
    let web = question(Of::Instance(WEB));
    assert_eq!(texts(&look_up(&path, &web).unwrap()), ["first"]);
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(place.join(name));
    }
    journal.note(vec![entry(Some(WEB), 1, EventKind::Dns, "second")]);
    assert!(journal.flush(PATIENCE));
    assert_eq!(texts(&look_up(&path, &web).unwrap()), ["second"]);
}
