//! Files that are damaged, foreign, forbidden, replaced, or have no room to grow.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, set_thread_uid, unshare_unsafe};
use store::{Clock, Durability, ManualClock, Store, StoreError, Transaction};
use tempfile::TempDir;

use crate::engines::{fresh_path, open, wait_until};

/// The path of a store with some hundred pages that nobody has open.
fn filled_store() -> (TempDir, PathBuf) {
    let (directory, path) = fresh_path();
    let store = open(&path);
    for number in 0..100 {
        store
            .commit(Transaction::new().put(format!("key/{number}"), vec![b'x'; 5000]))
            .unwrap();
    }
    close(store, &path);
    (directory, path)
}

/// Closes the store and waits until its log is folded into the file, which its poller may do a moment later.
fn close(store: Store, path: &Path) {
    drop(store);
    wait_until("the log is gone", || !beside(path, "-wal").exists());
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn refusal(path: &Path) -> StoreError {
    let error = Store::open(path, Durability::Full).expect_err("it must not open");
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "the file is not named: {error}"
    );
    error
}

#[test]
fn all_that_was_committed_is_there_when_the_file_is_opened_again() {
    let (_directory, path) = filled_store();
    let before = open(&path).range("").unwrap();
    assert_eq!((before.0.get(), before.1.len()), (100, 100));
    open(&path)
        .commit(Transaction::new().put("key/new", "1"))
        .unwrap();
    assert_eq!(
        open(&path).range("").unwrap().0.get(),
        101,
        "revisions go on"
    );
}

#[test]
fn only_the_owner_may_read_the_file_and_what_lies_beside_it() {
    let (directory, path) = fresh_path();
    let store = open(&path);
    store.commit(Transaction::new().put("key", "1")).unwrap();
    let modes = || {
        fs::read_dir(directory.path())
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().permissions().mode() & 0o777)
    };
    assert_eq!(
        modes().collect::<Vec<_>>(),
        [0o600; 3],
        "the file, -wal and -shm"
    );
    close(store, &path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
    let _store = open(&path);
    assert_eq!(
        modes().collect::<Vec<_>>(),
        [0o600; 3],
        "a wider mode is narrowed"
    );
}

#[test]
fn a_truncated_file_is_an_error_and_is_left_as_it_is() {
    for length in [0, 1, 99, 100, 4096, 4097, 200_000] {
        let (_directory, path) = filled_store();
        let whole = fs::metadata(&path).unwrap().len();
        assert!(whole > 400_000);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(length)
            .unwrap();
        let error = refusal(&path);
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "length {length}: {error:?}"
        );
        assert!(
            error.to_string().contains("backup"),
            "what to do is not said: {error}"
        );
        assert_eq!(fs::metadata(&path).unwrap().len(), length);
    }
}

#[test]
fn a_file_with_overwritten_pages_is_an_error() {
    for (what, offset, bytes) in [
        ("its first page", 0, vec![0x5a; 4096]),
        ("its header's name", 0, b"Not a database\0\0".to_vec()),
        ("an early page", 4096 * 3, vec![0x5a; 4096]),
        ("a page of entries", 4096 * 60, vec![0x5a; 4096]),
        ("the page after it", 4096 * 61, vec![0x5a; 4096]),
        ("a late page", 4096 * 100, vec![0x5a; 4096]),
        ("many pages", 4096, vec![0; 4096 * 60]),
    ] {
        let (_directory, path) = filled_store();
        let mut file = fs::File::options().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(&bytes).unwrap();
        drop(file);
        let error = refusal(&path);
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{what}: {error:?}"
        );
    }
}

#[test]
fn a_missing_file_whose_log_is_there_is_an_error_and_not_an_empty_store() {
    let (_directory, path) = fresh_path();
    let store = open(&path);
    store.commit(Transaction::new().put("key", "1")).unwrap();
    let log = fs::read(beside(&path, "-wal")).unwrap();
    close(store, &path);
    fs::remove_file(&path).unwrap();
    fs::write(beside(&path, "-wal"), log).unwrap();
    assert!(matches!(refusal(&path), StoreError::Corrupt { .. }));
    assert!(!path.exists());
}

#[test]
fn a_file_of_a_newer_release_is_refused_with_both_versions() {
    let (_directory, path) = filled_store();
    rusqlite::Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 7)
        .unwrap();
    let error = refusal(&path);
    assert!(
        matches!(
            error,
            StoreError::NewerSchema {
                found: 7,
                supported: 1,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn what_was_never_a_store_is_refused_and_left_as_it_is() {
    let (_directory, path) = fresh_path();
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 1")
        .unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(refusal(&path), StoreError::Foreign { .. }));
    assert_eq!(fs::read(&path).unwrap(), before);
    let (directory, _) = fresh_path();
    assert!(matches!(
        refusal(directory.path()),
        StoreError::Foreign { .. }
    ));
}

#[test]
fn a_missing_directory_is_named_and_not_made() {
    let (directory, _) = fresh_path();
    let path = directory.path().join("absent/store");
    assert!(matches!(refusal(&path), StoreError::Unreachable { .. }));
    assert!(!directory.path().join("absent").exists());
}

#[test]
fn a_user_without_permission_gets_an_error_that_says_so() {
    const NOBODY: u32 = 65534;
    let (directory, path) = filled_store();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let absent = directory.path().join("absent");
    let (readable_directory, readable) = filled_store();
    fs::set_permissions(readable_directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&readable, fs::Permissions::from_mode(0o644)).unwrap();
    // Only this thread becomes another user; the kernel keeps users by thread.
    let errors = std::thread::spawn(move || {
        set_thread_uid(rustix::thread::Uid::from_raw(NOBODY)).unwrap();
        [refusal(&path), refusal(&absent), refusal(&readable)]
    });
    for error in errors.join().unwrap() {
        assert!(
            matches!(error, StoreError::PermissionDenied { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn a_commit_to_a_file_that_was_removed_or_replaced_is_an_error() {
    let (directory, path) = filled_store();
    let store = open(&path);
    fs::rename(&path, directory.path().join("moved")).unwrap();
    let commit = || store.commit(Transaction::new().put("key", "lost?"));
    assert!(matches!(commit(), Err(StoreError::Replaced { .. })));
    assert!(matches!(store.range(""), Err(StoreError::Replaced { .. })));
    fs::write(&path, "another").unwrap();
    assert!(matches!(commit(), Err(StoreError::Replaced { .. })));
    fs::rename(directory.path().join("moved"), &path).unwrap();
    commit().expect("the file is back");
}

/// A path on a file system of its own and of the given size, which only this thread sees and the threads that it
/// starts.
fn path_on_a_disk(size: &std::ffi::CStr) -> (TempDir, PathBuf) {
    // SAFETY: a new mount namespace leaves the thread's descriptors as they are; what makes `unshare` unsafe are
    // the flags that give it others.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .unwrap();
    let (directory, path) = fresh_path();
    mount(
        "tmpfs",
        directory.path(),
        "tmpfs",
        MountFlags::empty(),
        Some(size),
    )
    .unwrap();
    (directory, path)
}

/// Takes all the room that is left.
fn fill(path: &Path) {
    let mut filler = fs::File::create(path).unwrap();
    let full = loop {
        if let Err(error) = filler.write_all(&[0; 1024]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn a_full_disk_is_named_loses_nothing_and_can_be_tried_again() {
    std::thread::spawn(|| {
        let (directory, path) = path_on_a_disk(c"size=1m");
        fs::write(directory.path().join("ballast"), vec![0; 200_000]).unwrap();
        let clock = ManualClock::default();
        let store =
            Store::open_with_clock(&path, Durability::Full, Clock::Manual(clock.clone())).unwrap();
        let lease = store.grant_lease(Duration::from_secs(1)).unwrap();
        store
            .commit(Transaction::new().put_leased("leased", "1", lease))
            .unwrap();
        let put = |number: usize| {
            store.commit(Transaction::new().put(format!("key/{number}"), vec![b'x'; 3000]))
        };
        let committed = (0..1000).take_while(|number| match put(*number) {
            Ok(_) => true,
            Err(StoreError::DiskFull { .. }) => false,
            Err(error) => panic!("{error:?}"),
        });
        let committed = committed.count();
        assert!(committed > 10 && committed < 1000, "{committed}");
        let revision = store
            .range("key/")
            .map(|(revision, entries)| (entries.len() == committed).then_some(revision));
        let revision = revision.unwrap().expect("all that was committed is there");
        assert!(
            matches!(put(committed), Err(StoreError::DiskFull { .. })),
            "still full"
        );
        fill(&directory.path().join("filler"));
        clock.advance(Duration::from_secs(1));
        assert!(
            matches!(store.expire_leases(), Err(StoreError::DiskFull { .. })),
            "not even a delete has room"
        );
        assert!(
            store.get("leased").unwrap().is_none(),
            "reads hide ended leases on a full disk"
        );
        assert_eq!(store.range("").unwrap(), store.range("key/").unwrap());
        fs::remove_file(directory.path().join("ballast")).unwrap();
        put(committed).expect("there is room again");
        assert!(store.range("").unwrap().0 > revision);
        drop(store);
        assert_eq!(open(&path).range("key/").unwrap().1.len(), committed + 1);
    })
    .join()
    .unwrap();
}

#[test]
fn making_a_store_on_a_full_disk_is_an_error_that_leaves_nothing_behind() {
    std::thread::spawn(|| {
        let (directory, path) = path_on_a_disk(c"size=8k");
        assert!(matches!(refusal(&path), StoreError::DiskFull { .. }));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    })
    .join()
    .unwrap();
}
