//! What the log changes on the disk, one operation at a time.
//!
//! There is one way to each operation, so that a test can be there before it: make it slow, refuse it, or end the
//! process's work at it for good. Of what is read only the opening of segments is told.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What changes something on the disk, waits for it, or may find it broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A file is made, or opened to be written to.
    Open,
    /// Bytes are handed to the kernel. Of a write that is refused the first half is done.
    Write,
    /// A file is cut off.
    Cut,
    /// The disk is waited for.
    Sync,
    /// A file gets its name.
    Rename,
    /// A file goes.
    Remove,
    /// A segment is opened to be read.
    Read,
}

type Before = dyn Fn(Operation, &Path) -> io::Result<()> + Send + Sync;

/// The disk, or one that tells somebody of each operation before it is done.
#[derive(Clone, Default)]
pub struct Disk {
    before: Option<Arc<Before>>,
}

impl Disk {
    /// One that calls `before` for each operation with its file. It may take its time, and refuse.
    pub fn watched(
        before: impl Fn(Operation, &Path) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            before: Some(Arc::new(before)),
        }
    }

    fn begin(&self, operation: Operation, path: &Path) -> io::Result<()> {
        self.before
            .as_ref()
            .map_or(Ok(()), |before| before(operation, path))
    }

    /// A new file, in the place of any that is there.
    pub(crate) fn create(&self, path: &Path) -> io::Result<DiskFile> {
        self.begin(Operation::Open, path)?;
        Ok(self.file(path, File::create(path)?))
    }

    /// A file that is written to at its end, and made if it is not there.
    pub(crate) fn append_to(&self, path: &Path) -> io::Result<DiskFile> {
        self.begin(Operation::Open, path)?;
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(self.file(path, file))
    }

    fn file(&self, path: &Path, file: File) -> DiskFile {
        DiskFile {
            file,
            path: path.to_owned(),
            disk: self.clone(),
        }
    }

    /// A file that is read.
    pub(crate) fn read(&self, path: &Path) -> io::Result<File> {
        self.begin(Operation::Read, path)?;
        File::open(path)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin(Operation::Rename, to)?;
        fs::rename(from, to)
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.begin(Operation::Remove, path)?;
        fs::remove_file(path)
    }

    /// Waits until the disk has a file, or the names in a directory.
    pub(crate) fn sync(&self, path: &Path) -> io::Result<()> {
        self.begin(Operation::Sync, path)?;
        File::open(path)?.sync_all()
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_watched = self.before.is_some();
        to.debug_struct("Disk")
            .field("is_watched", &is_watched)
            .finish()
    }
}

/// A file that is written to.
#[derive(Debug)]
pub(crate) struct DiskFile {
    file: File,
    path: PathBuf,
    disk: Disk,
}

impl DiskFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn cut(&self, length: u64) -> io::Result<()> {
        self.disk.begin(Operation::Cut, &self.path)?;
        self.file.set_len(length)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.disk.begin(Operation::Sync, &self.path)?;
        self.file.sync_all()
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(refused) = self.disk.begin(Operation::Write, &self.path) {
            let (half, _) = bytes.split_at(bytes.len() / 2);
            self.file.write_all(half)?;
            return Err(refused);
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
