//! The collectd of a VM: Debian's own, with the plugins that are used and the libraries that it is linked to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ImageError;
use super::archive::Archive;
use super::kernel::run;

/// The package with the daemon and its plugins, and those with its libraries.
const PACKAGES: [&str; 5] = [
    "collectd-core",
    "libc6",
    "libcap2",
    "libgcrypt20",
    "libgpg-error0",
];
/// Plugins that init loads.
const PLUGINS: [&str; 6] = ["cpu", "interface", "load", "memory", "network", "unixsock"];
/// What the daemon and these plugins are linked to. The dynamic linker lies elsewhere, where programs look for it.
const LIBRARIES: [&str; 4] = [
    "libc.so.6",
    "libcap.so.2",
    "libgcrypt.so.20",
    "libgpg-error.so.0",
];
const LINKER: &str = "ld-linux-x86-64.so.2";
/// Where the linker looks for libraries.
const LIBRARY_DIRECTORY: &str = "lib/x86_64-linux-gnu";

/// Where collectd comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectdSource {
    /// The distribution's packages, downloaded but not installed.
    Distribution,
    /// A directory with these packages and nothing else.
    Packages(PathBuf),
    /// There is to be none: the balancer sends its own figures, and nothing is known of the machine around it.
    Absent,
}

/// A file of the image.
pub(crate) struct File {
    path: String,
    mode: u32,
    content: Vec<u8>,
}

/// Gets collectd's files, unpacking below `scratch`, in a fixed order; none where there is to be none.
pub(crate) fn obtain(source: &CollectdSource, scratch: &Path) -> Result<Vec<File>, ImageError> {
    let packages = match source {
        CollectdSource::Distribution => download(scratch)?,
        CollectdSource::Packages(directory) => directory.clone(),
        CollectdSource::Absent => return Ok(Vec::new()),
    };
    let tree = scratch.join("collectd");
    for package in list(&packages)? {
        run(
            Command::new("dpkg").arg("-x").arg(package).arg(&tree),
            "give a directory with Debian packages",
        )?;
    }
    read(&tree)
}

/// Adds the files to an archive, with the directories that they need.
pub(crate) fn pack(files: &[File], archive: &mut Archive) {
    if files.is_empty() {
        return;
    }
    for directory in [
        "lib",
        LIBRARY_DIRECTORY,
        "lib64",
        "usr",
        "usr/lib",
        "usr/lib/collectd",
        "usr/sbin",
        "usr/share",
        "usr/share/collectd",
    ] {
        archive.directory(directory);
    }
    for file in files {
        archive.file(&file.path, file.mode, &file.content);
    }
}

fn download(scratch: &Path) -> Result<PathBuf, ImageError> {
    let directory = scratch.join("collectd-packages");
    fs::create_dir_all(&directory).map_err(ImageError::file("create", &directory))?;
    run(
        // As root, since apt's own user cannot write to our scratch directory.
        Command::new("apt-get")
            .args(["-o", "APT::Sandbox::User=root", "download"])
            .args(PACKAGES)
            .current_dir(&directory),
        "run `apt-get update` and see that the package archive can be reached, or build without, by --no-collectd",
    )?;
    Ok(directory)
}

/// The packages in a directory.
fn list(directory: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let read = || fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>();
    let entries = read().map_err(ImageError::file("read", directory))?;
    let paths = entries.iter().map(fs::DirEntry::path);
    Ok(paths
        .filter(|path| path.extension().is_some_and(|end| end == "deb"))
        .collect())
}

/// The files that are used, from what was unpacked.
fn read(tree: &Path) -> Result<Vec<File>, ImageError> {
    let file = |path: String, mode: u32, from: PathBuf| {
        let content = fs::read(&from).map_err(ImageError::file("read", &from))?;
        Ok(File {
            path,
            mode,
            content,
        })
    };
    let same = |path: String, mode| file(path.clone(), mode, tree.join(path));
    let mut files = vec![
        same("usr/sbin/collectd".to_owned(), 0o755)?,
        same("usr/share/collectd/types.db".to_owned(), 0o644)?,
        file(format!("lib64/{LINKER}"), 0o755, library(tree, LINKER)?)?,
    ];
    for plugin in PLUGINS {
        files.push(same(format!("usr/lib/collectd/{plugin}.so"), 0o644)?);
    }
    for name in LIBRARIES {
        let path = format!("{LIBRARY_DIRECTORY}/{name}");
        files.push(file(path, 0o644, library(tree, name)?)?);
    }
    Ok(files)
}

/// Where a library was unpacked: with merged /usr, newer packages have theirs there.
fn library(tree: &Path, name: &str) -> Result<PathBuf, ImageError> {
    let places = [LIBRARY_DIRECTORY, "usr/lib/x86_64-linux-gnu"];
    let mut paths = places.iter().map(|place| tree.join(place).join(name));
    paths
        .find(|path| path.is_file())
        .ok_or_else(|| ImageError::Unusable {
            path: tree.to_path_buf(),
            reason: format!("collectd's packages have no {name}"),
        })
}
