//! Logs over real files: what is found of what was written, what goes first, and what a kill costs.

#![expect(clippy::unwrap_used, reason = "a test fails where its own files do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use access_log::{Budget, Found, Keeper, Outcome, Question, search};
use model::access::{AccessHead, AccessKind, AccessLengths, AccessRecord};
use model::{InstanceId, Termination};

const AMPLE: Budget = Budget {
    instance: 1 << 30,
    total: 1 << 30,
};
const WEB: InstanceId = InstanceId(7);

/// The record of the request for `/N` at the time N.
fn record(number: u64) -> Vec<u8> {
    let path = format!("/{number}");
    let (status, termination) = match number % 10 {
        0 => (504, Termination::ResponseTimeout),
        1 => (500, Termination::Complete),
        _ => (200, Termination::Complete),
    };
    let head = AccessHead {
        status,
        termination,
        ended_us: number,
        backend: format!("1.1.1.{}:80", number % 3).parse().unwrap(),
        lengths: AccessLengths {
            path: path.len() as u16,
            ..AccessLengths::default()
        },
        ..AccessHead::default()
    };
    let mut bytes = Vec::new();
    AccessRecord::write(&head, path.as_bytes(), &mut bytes);
    bytes
}

fn write(keeper: &mut Keeper, numbers: std::ops::Range<u64>) {
    for number in numbers {
        keeper.append(WEB, &record(number), 1, 0).unwrap();
        if number % 97 == 0 {
            keeper.flush().unwrap();
        }
    }
    keeper.flush().unwrap();
}

/// Those of requests, whatever is said to be missing between them.
fn numbers(found: &Found) -> Vec<u64> {
    let path = |path: &String| path.trim_start_matches('/').parse().unwrap();
    let lines = found.lines.iter();
    let asked = lines.filter(|line| line.head.kind != AccessKind::Gap);
    asked.map(|line| path(&line.path)).collect()
}

/// How many lines are said to be missing.
fn missing(directory: &Path) -> u64 {
    let question = Question {
        start: Some(0),
        limit: usize::MAX,
        ..Question::default()
    };
    let lines = search(directory, WEB, &question).unwrap().lines;
    let gaps = lines
        .iter()
        .filter(|line| line.head.kind == AccessKind::Gap);
    gaps.map(|line| line.head.bytes_in).sum()
}

fn all(directory: &Path) -> Vec<u64> {
    let (mut seen, mut start) = (Vec::new(), 0);
    loop {
        let question = Question {
            start: Some(start),
            limit: 700,
            ..Question::default()
        };
        let found = search(directory, WEB, &question).unwrap();
        seen.extend(numbers(&found));
        if !found.more {
            return seen;
        }
        start = found.next;
    }
}

/// A segment that cannot be written: something else stands where it is to be.
#[test]
fn a_tail_that_makes_no_block_has_a_bound_and_is_whole_when_it_can_make_one_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut keeper = Keeper::open(directory.path().to_owned(), AMPLE).unwrap();
    keeper.append(WEB, &record(0), 1, 0).unwrap();
    keeper.flush().unwrap();
    let obstacle = directory.path().join("7/0000000000000000.seg");
    fs::create_dir(&obstacle).unwrap();
    let tail = directory.path().join("7/tail");
    let mut failed = 0;
    for number in 1..30_000 {
        failed += u32::from(keeper.append(WEB, &record(number), 1, 0).is_err());
    }
    assert!(failed > 0);
    let bytes = fs::metadata(&tail).unwrap().len();
    assert!(bytes < 1 << 20, "{bytes}");
    fs::remove_dir(&obstacle).unwrap();
    for number in 30_000..40_000 {
        keeper.append(WEB, &record(number), 1, 0).unwrap();
    }
    keeper.flush().unwrap();
    let kept = all(directory.path());
    assert!(kept.is_sorted_by(|a, b| a < b), "nothing is there twice");
    assert!(kept.iter().take(1_000).copied().eq(0..1_000));
    let later = kept.iter().copied().skip_while(|number| *number < 30_000);
    assert!(later.eq(30_000..40_000));
    assert!(missing(directory.path()) > 0);
    let known = kept.len() as u64 + missing(directory.path());
    assert_eq!(known, 40_000, "each is there or said to be missing");
}

#[test]
fn what_was_written_is_found_in_order_from_the_newest_or_from_a_place() {
    let directory = tempfile::tempdir().unwrap();
    let mut keeper = Keeper::open(directory.path().to_owned(), AMPLE).unwrap();
    write(&mut keeper, 0..5_000);
    let ask = |question: &Question| search(directory.path(), WEB, question).unwrap();
    let newest = ask(&Question {
        limit: 3,
        ..Question::default()
    });
    assert_eq!(numbers(&newest), [4997, 4998, 4999]);
    assert_eq!((newest.next, newest.more), (5000, true));
    let none = ask(&Question {
        start: Some(newest.next),
        ..Question::default()
    });
    assert_eq!((none.lines.len(), none.more), (0, false));
    write(&mut keeper, 5_000..5_002);
    let further = ask(&Question {
        start: Some(newest.next),
        ..Question::default()
    });
    assert_eq!(numbers(&further), [5000, 5001]);
    assert_eq!(all(directory.path()), (0..5_002).collect::<Vec<_>>());
    let few = ask(&Question {
        from_us: 1_000,
        to_us: 1_050,
        failed: true,
        ..Question::default()
    });
    assert_eq!(
        numbers(&few),
        [
            1000, 1001, 1010, 1011, 1020, 1021, 1030, 1031, 1040, 1041, 1050
        ]
    );
    let few = ask(&Question {
        status: Some(504..=504),
        backend: Some(("1.1.1.1".parse().unwrap(), Some(80))),
        path: Some("/49".to_owned()),
        ..Question::default()
    });
    assert_eq!(numbers(&few), [490, 4900, 4930, 4960, 4990]);
    let other = search(directory.path(), InstanceId(8), &Question::default()).unwrap();
    assert_eq!(other, Found::default());
}

#[test]
fn a_budget_is_kept_and_the_oldest_go_first() {
    let directory = tempfile::tempdir().unwrap();
    let budget = Budget {
        instance: 600 << 10,
        total: 1 << 30,
    };
    let mut keeper = Keeper::open(directory.path().to_owned(), budget).unwrap();
    write(&mut keeper, 0..100_000);
    let files = fs::read_dir(directory.path().join("7")).unwrap();
    let bytes: u64 = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes <= (600 << 10) + (256 << 10), "{bytes} bytes");
    let left = all(directory.path());
    let first = left[0];
    assert!(
        first > 0 && left.len() > 5_000,
        "from {first}, {}",
        left.len()
    );
    assert_eq!(left, (first..100_000).collect::<Vec<_>>());
    drop(keeper);
    let tight = Budget {
        total: 300 << 10,
        ..budget
    };
    let mut keeper = Keeper::open(directory.path().to_owned(), tight).unwrap();
    keeper.flush().unwrap();
    let left = all(directory.path());
    assert!(left[0] > first);
    assert_eq!(left, (left[0]..100_000).collect::<Vec<_>>());
}

#[test]
fn an_instance_that_is_gone_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut keeper = Keeper::open(directory.path().to_owned(), AMPLE).unwrap();
    write(&mut keeper, 0..10);
    keeper.append(InstanceId(8), &record(1), 1, 0).unwrap();
    keeper.flush().unwrap();
    drop(keeper);
    let mut keeper = Keeper::open(directory.path().to_owned(), AMPLE).unwrap();
    keeper.retain(&BTreeSet::from([InstanceId(8)])).unwrap();
    assert!(!directory.path().join("7").exists());
    assert!(directory.path().join("8").exists());
}

#[test]
fn wherever_a_file_was_cut_off_what_stands_before_is_whole_and_goes_on() {
    for (file, records) in [("tail", 500), ("0000000000000000.seg", 3_000)] {
        let directory = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::open(directory.path().to_owned(), AMPLE).unwrap();
        write(&mut keeper, 0..records);
        drop(keeper);
        let path = directory.path().join("7").join(file);
        let whole = fs::read(&path).unwrap();
        assert!(!whole.is_empty(), "{file}");
        for cut in (0..whole.len()).step_by(1 + whole.len() / 40) {
            fs::write(&path, &whole[..cut]).unwrap();
            let before = all(directory.path());
            assert!(before.is_sorted(), "{before:?}");
            assert!(before.iter().all(|number| *number < records));
            let mut copy = Keeper::open(directory.path().to_owned(), AMPLE).unwrap();
            copy.append(WEB, &record(9_999), 1, 0).unwrap();
            copy.flush().unwrap();
            drop(copy);
            let after = all(directory.path());
            assert!(after.ends_with(&[9_999]), "{file} cut at {cut}: {after:?}");
            fs::write(directory.path().join("7").join("tail"), b"").unwrap();
        }
    }
}

#[test]
fn a_record_that_stands_in_the_tail_and_in_a_block_is_seen_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut keeper = Keeper::open(directory.path().to_owned(), AMPLE).unwrap();
    let tail = directory.path().join("7/tail");
    let (mut number, mut before) = (0, Vec::new());
    while !directory.path().join("7/0000000000000000.seg").exists() {
        before = fs::read(&tail).unwrap_or_default();
        write(&mut keeper, number..number + 1);
        number += 1;
    }
    drop(keeper);
    // As if the writer had been killed between the block and the tail's end.
    fs::write(&tail, before).unwrap();
    let expected: Vec<u64> = (0..number).collect();
    assert_eq!(all(directory.path()), expected);
    let newest = Question {
        limit: 5_000,
        ..Question::default()
    };
    assert_eq!(
        numbers(&search(directory.path(), WEB, &newest).unwrap()),
        expected
    );
    let mut keeper = Keeper::open(directory.path().to_owned(), AMPLE).unwrap();
    write(&mut keeper, number..number + 5);
    let found = search(directory.path(), WEB, &newest).unwrap();
    assert_eq!(numbers(&found), (0..number + 5).collect::<Vec<_>>());
}

#[test]
fn a_bit_that_has_turned_costs_what_follows_in_its_file_and_is_never_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut keeper = Keeper::open(directory.path().to_owned(), AMPLE).unwrap();
    write(&mut keeper, 0..500);
    drop(keeper);
    let tail = directory.path().join("7/tail");
    let whole = fs::read(&tail).unwrap();
    for at in (0..whole.len()).step_by(211) {
        let mut turned = whole.clone();
        turned[at] ^= 0x10;
        fs::write(&tail, &turned).unwrap();
        let found = all(directory.path());
        assert_eq!(
            found,
            (0..found.len() as u64).collect::<Vec<_>>(),
            "byte {at}"
        );
    }
}

#[test]
fn what_could_not_be_written_of_one_instance_is_told_by_the_next_keeper_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let mut keeper = Keeper::open(directory.path().to_owned(), AMPLE).unwrap();
    // Something else stands where the instance's files are to be.
    let obstacle = directory.path().join("7");
    fs::write(&obstacle, b"").unwrap();
    keeper.append(WEB, &record(1), 1, 0).unwrap_err();
    keeper.append(WEB, &record(2), 1, 0).unwrap_err();
    let lost = Outcome { kept: 0, lost: 2 };
    assert_eq!(keeper.take_outcomes(), [(WEB, lost)]);
    let debts = keeper.take_debts();
    drop(keeper);

    fs::remove_file(&obstacle).unwrap();
    let mut keeper = Keeper::open(directory.path().to_owned(), AMPLE).unwrap();
    keeper.take_over(debts);
    keeper.append(WEB, &record(3), 1, 0).unwrap();
    keeper.flush().unwrap();
    let kept = Outcome { kept: 1, lost: 0 };
    assert_eq!(keeper.take_outcomes(), [(WEB, kept)]);
    let found = search(directory.path(), WEB, &Question::default()).unwrap();
    let told = found.lines.iter().map(|line| {
        let head = line.head;
        (head.kind, head.bytes_in, head.ended_us)
    });
    let expected = [(AccessKind::Gap, 2, 2), (AccessKind::Http, 0, 3)];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}
