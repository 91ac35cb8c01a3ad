//! The VM image: a stock kernel and an initramfs with one static program, a few kernel modules, and collectd.
//!
//! There is no distribution in it, no shell and no package: `/init` is the balancer, which mounts,
//! loads the modules and supervises itself and collectd. That is Debian's own daemon, with the libraries that
//! it is linked to, and the only thing in the image that we did not write. The same inputs give the same bytes, and the image's
//! version is the hash of these bytes.

mod archive;
mod build;
mod collectd;
mod kernel;
mod manifest;
mod modules;
mod vmlinux;

pub use build::{Recipe, build};
pub use collectd::CollectdSource;
pub use kernel::KernelSource;
pub use manifest::{FileRecord, Image, Manifest};
pub(crate) use manifest::{hexadecimal, sha256};

use std::io;
use std::path::PathBuf;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is no image in the directory, or not all of it.
    #[error("there is no VM image in {directory}: {reason}")]
    Missing {
        /// Where it was looked for.
        directory: PathBuf,
        /// What is not there.
        reason: String,
    },
    /// A program that the build needs is missing or failed.
    #[error("`{program}` failed: {reason}; {remedy}")]
    Program {
        /// The command line.
        program: String,
        /// What it said.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The kernel lacks a driver that a VM needs.
    #[error(
        "the kernel in {tree} has no module `{module}` and does not have it built in; use another kernel"
    )]
    NoModule {
        /// Where it was looked for.
        tree: PathBuf,
        /// The module.
        module: String,
    },
    /// What was given as a kernel package, kernel or balancer is none.
    #[error("{path} is not usable: {reason}")]
    Unusable {
        /// What was given.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl ImageError {
    pub(crate) fn file(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
