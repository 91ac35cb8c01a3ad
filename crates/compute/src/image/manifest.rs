//! An image on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ImageError;

/// The files of an image besides its manifest.
pub(crate) const KERNEL: &str = "vmlinuz";
pub(crate) const INITRAMFS: &str = "initramfs";
pub(crate) const MANIFEST: &str = "manifest.json";

/// What an image is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// SHA-256 over the contents in hexadecimal: two images with one version are the same.
    pub version: String,
    /// For example `6.1.0-56-cloud-amd64`.
    pub kernel_version: String,
    /// Kernel modules in the order in which they are loaded.
    pub modules: Vec<String>,
    /// SHA-256 of the balancer program in hexadecimal.
    pub balancer_sha256: String,
    /// `vmlinuz` and `initramfs`.
    pub files: BTreeMap<String, FileRecord>,
}

/// A file of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

impl FileRecord {
    pub(crate) fn of(content: &[u8]) -> Self {
        Self {
            bytes: content.len() as u64,
            sha256: sha256(content),
        }
    }
}

pub(crate) fn sha256(content: &[u8]) -> String {
    hexadecimal(&Sha256::digest(content))
}

pub(crate) fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An image that is there.
#[derive(Clone, Debug)]
pub struct Image {
    directory: PathBuf,
    manifest: Manifest,
}

impl Image {
    /// Reads the manifest in `directory` and sees that the files are there in their sizes.
    ///
    /// # Errors
    /// [`ImageError::Missing`], naming what is missing.
    pub fn open(directory: &Path) -> Result<Self, ImageError> {
        let missing = |reason: String| ImageError::Missing {
            directory: directory.to_path_buf(),
            reason,
        };
        let text = fs::read(directory.join(MANIFEST))
            .map_err(|error| missing(format!("{MANIFEST}: {error}")))?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| missing(format!("{MANIFEST}: {error}")))?;
        for (name, record) in &manifest.files {
            let found = fs::metadata(directory.join(name))
                .map_err(|error| missing(format!("{name}: {error}")))?;
            if found.len() != record.bytes {
                return Err(missing(format!(
                    "{name} has {} bytes and should have {}",
                    found.len(),
                    record.bytes
                )));
            }
        }
        Ok(Self {
            directory: directory.to_path_buf(),
            manifest,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the balancer in it is another one than the program at `path`, as after an upgrade that left the image
    /// alone. Where there is no such program, nothing can be told apart.
    ///
    /// It reads the whole program, some megabytes.
    #[must_use]
    pub fn has_another_balancer(&self, path: &Path) -> bool {
        fs::read(path).is_ok_and(|program| sha256(&program) != self.manifest.balancer_sha256)
    }

    /// What it is.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}
