//! Why the log's files could not be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::options::BadOptions;

/// What can go wrong with the files. None of it stops the log from taking samples.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The resolutions cannot be kept.
    #[error(transparent)]
    Options(#[from] BadOptions),
    /// Another process has the log.
    #[error("the monitor log {} is used by another process: stop that one, or take another directory", .0.display())]
    InUse(PathBuf),
    /// There is no room for what is to be written. It stays in memory, within bounds, and is written when there is.
    #[error("there is no room for the monitor log at {}: free some; what comes is kept in memory meanwhile", .0.display())]
    Full(PathBuf),
    /// A file cannot be read, made or written.
    #[error("the monitor log cannot use {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl LogError {
    /// Of what the operating system says about a file.
    pub(crate) fn of(path: &Path, source: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.to_owned();
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full(path),
            _ => Self::File { path, source },
        }
    }
}
