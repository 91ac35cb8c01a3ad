//! A snapshot on disk, and in memory for use.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use model::VmShape;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::SnapshotError;
use crate::image::{hexadecimal, sha256};

/// Bytes that are read at once: whole pages, of which those of zeroes are left out.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes of a state. Some tens of KiB are usual.
const MAX_STATE_BYTES: u64 = 64 << 20;

/// By how many parts in a thousand the rate of the host's clock may differ from the rate that the guest was
/// told. A machine measures its own to some parts in a hundred thousand.
const CLOCK_TOLERANCE: u64 = 1;

/// What is written beside the two files.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    memory_sha256: String,
    state_sha256: String,
    /// The rate of the host's time stamp counter, which the guest holds for its own.
    tsc_khz: Option<u64>,
}

/// A snapshot that can be used.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// What machines are made from it.
    pub shape: VmShape,
    memory: OwnedFd,
    state: Vec<u8>,
}

/// The paths of a snapshot's parts.
pub(super) fn memory_in(directory: &Path) -> PathBuf {
    directory.join("memory")
}

pub(super) fn state_in(directory: &Path) -> PathBuf {
    directory.join("state")
}

fn record_in(directory: &Path) -> PathBuf {
    directory.join("snapshot.json")
}

impl Snapshot {
    /// Reads a snapshot and checks it. Blocks, for some tenths of a second where it is there.
    ///
    /// # Errors
    /// `Absent`; `Damaged`, also where the host's clock has another rate now; `File`.
    pub(crate) fn open(
        directory: &Path,
        shape: VmShape,
        tsc_khz: Option<u64>,
    ) -> Result<Self, SnapshotError> {
        let text = match fs::read(record_in(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SnapshotError::Absent);
            }
            text => text.map_err(SnapshotError::file("read its record"))?,
        };
        let record: Record = serde_json::from_slice(&text).map_err(|error| {
            SnapshotError::Damaged(format!("its record is unreadable: {error}"))
        })?;
        if !is_near(record.tsc_khz, tsc_khz) {
            let rates = (record.tsc_khz, tsc_khz);
            let text = format!("it was made on a host whose clock runs otherwise ({rates:?} kHz)");
            return Err(SnapshotError::Damaged(text));
        }
        let state =
            read_state(&state_in(directory)).map_err(SnapshotError::file("read its state"))?;
        if sha256(&state) != record.state_sha256 {
            return Err(SnapshotError::Damaged("its state was changed".to_owned()));
        }
        let bytes = u64::from(shape.memory_mib) << 20;
        let (memory, digest) = sealed_copy(&memory_in(directory), bytes)
            .map_err(SnapshotError::file("read its memory"))?;
        if digest != record.memory_sha256 {
            return Err(SnapshotError::Damaged("its memory was changed".to_owned()));
        }
        Ok(Self {
            shape,
            memory,
            state,
        })
    }

    /// Writes the record of a snapshot whose two files are there.
    pub(super) fn complete(directory: &Path, tsc_khz: Option<u64>) -> Result<(), SnapshotError> {
        let write = || -> io::Result<()> {
            let state = read_state(&state_in(directory))?;
            let memory = memory_in(directory);
            let (_copy, memory_sha256) = sealed_copy(&memory, fs::metadata(&memory)?.len())?;
            let record = Record {
                memory_sha256,
                state_sha256: sha256(&state),
                tsc_khz,
            };
            fs::write(record_in(directory), serde_json::to_vec_pretty(&record)?)
        };
        write().map_err(SnapshotError::file("write its record"))
    }

    /// The machine's memory, for QEMU to map.
    pub(crate) fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// All else, as a file that is read from its beginning.
    pub(super) fn state(&self) -> io::Result<File> {
        let fd = memfd_create("evenkeel-state", MemfdFlags::CLOEXEC)?;
        let file = File::from(fd);
        file.write_all_at(&self.state, 0)?;
        Ok(file)
    }
}

fn is_near(made: Option<u64>, now: Option<u64>) -> bool {
    match (made, now) {
        (Some(made), Some(now)) => made.abs_diff(now) <= made / 1000 * CLOCK_TOLERANCE,
        (made, now) => made == now,
    }
}

fn read_state(path: &Path) -> io::Result<Vec<u8>> {
    let mut state = Vec::new();
    let mut bounded = File::open(path)?.take(MAX_STATE_BYTES);
    bounded.read_to_end(&mut state)?;
    Ok(state)
}

/// Copies a file of `bytes` into memory that nobody can change any more, and tells its digest. Pages of zeroes
/// take no room, and do not count for the digest but by their place.
fn sealed_copy(path: &Path, bytes: u64) -> io::Result<(OwnedFd, String)> {
    let source = File::open(path)?;
    if source.metadata()?.len() != bytes {
        return Err(io::Error::other(format!("it should have {bytes} bytes")));
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = File::from(memfd_create("evenkeel-memory", flags)?);
    copy.set_len(bytes)?;
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut place = 0;
    while place < bytes {
        let length =
            usize::try_from(bytes - place).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let piece = piece.get_mut(..length).unwrap_or_default();
        source.read_exact_at(piece, place)?;
        if piece.iter().any(|byte| *byte != 0) {
            copy.write_all_at(piece, place)?;
            digest.update(place.to_le_bytes());
            digest.update(&*piece);
        }
        place += length as u64;
    }
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&copy, seals)?;
    Ok((copy.into(), hexadecimal(&digest.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (tempfile::TempDir, VmShape) {
        let directory = tempfile::tempdir().unwrap();
        let shape = VmShape {
            memory_mib: 1,
            ..VmShape::default()
        };
        let mut memory = vec![0; 1 << 20];
        memory[700_000] = 7;
        fs::write(memory_in(directory.path()), &memory).unwrap();
        fs::write(state_in(directory.path()), "state").unwrap();
        Snapshot::complete(directory.path(), Some(2_000_000)).unwrap();
        (directory, shape)
    }

    #[test]
    fn what_was_written_is_read_and_cannot_be_changed() {
        let (directory, shape) = made();
        let snapshot = Snapshot::open(directory.path(), shape, Some(2_000_100)).unwrap();
        let memory = File::from(snapshot.memory().try_clone_to_owned().unwrap());
        let mut byte = [0];
        memory.read_exact_at(&mut byte, 700_000).unwrap();
        assert_eq!(byte, [7]);
        assert!(memory.write_all_at(&[8], 700_000).is_err());
        assert_eq!(
            io::read_to_string(snapshot.state().unwrap()).unwrap(),
            "state"
        );
    }

    #[test]
    fn a_snapshot_of_which_anything_was_changed_is_refused() {
        type Damage = fn(&Path);
        let damages: [(&str, Damage); 6] = [
            ("memory was changed", |directory| {
                let file = File::options().write(true).open(memory_in(directory));
                file.unwrap().write_all_at(&[1], 5).unwrap();
            }),
            ("should have", |directory| {
                let file = File::options().write(true).open(memory_in(directory));
                file.unwrap().set_len(1000).unwrap();
            }),
            ("state was changed", |directory| {
                fs::write(state_in(directory), "sta").unwrap()
            }),
            ("read its state", |directory| {
                fs::remove_file(state_in(directory)).unwrap()
            }),
            ("unreadable", |directory| {
                fs::write(record_in(directory), "{").unwrap()
            }),
            ("there is none", |directory| {
                fs::remove_file(record_in(directory)).unwrap()
            }),
        ];
        for (words, damage) in damages {
            let (directory, shape) = made();
            damage(directory.path());
            let error = Snapshot::open(directory.path(), shape, Some(2_000_000)).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        let (directory, shape) = made();
        for khz in [None, Some(2_100_000)] {
            assert!(Snapshot::open(directory.path(), shape, khz).is_err());
        }
    }
}
