//! Where the kernel comes from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ImageError;

/// Debian's metapackage of the newest kernel for virtual machines.
const METAPACKAGE: &str = "linux-image-cloud-amd64";

/// Where the kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelSource {
    /// The distribution's newest kernel for virtual machines, downloaded but not installed.
    Distribution,
    /// A kernel package that is at hand.
    Package(PathBuf),
    /// A kernel and the modules that belong to it.
    Files {
        /// A bzImage.
        vmlinuz: PathBuf,
        /// The directory `lib/modules/<version>`.
        modules: PathBuf,
    },
}

/// A kernel as files.
pub(crate) struct Kernel {
    /// For example `6.1.0-56-cloud-amd64`.
    pub version: String,
    pub vmlinuz: PathBuf,
    pub modules: PathBuf,
}

/// Gets the kernel, unpacking below `scratch` where there is something to unpack.
pub(crate) fn obtain(source: &KernelSource, scratch: &Path) -> Result<Kernel, ImageError> {
    match source {
        KernelSource::Distribution => unpack(&download(scratch)?, scratch),
        KernelSource::Package(package) => unpack(package, scratch),
        KernelSource::Files { vmlinuz, modules } => {
            let version = modules
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            Ok(Kernel {
                version: version.ok_or_else(|| ImageError::Unusable {
                    path: modules.clone(),
                    reason: "it is not a directory `lib/modules/<version>`".to_owned(),
                })?,
                vmlinuz: vmlinuz.clone(),
                modules: modules.clone(),
            })
        }
    }
}

/// Downloads the package that the metapackage stands for.
fn download(scratch: &Path) -> Result<PathBuf, ImageError> {
    let depends = run(
        Command::new("apt-cache").args(["depends", METAPACKAGE]),
        "run `apt-get update`, or give a kernel by --kernel-package or --kernel",
    )?;
    let package = real_package(&depends).ok_or_else(|| ImageError::Program {
        program: format!("apt-cache depends {METAPACKAGE}"),
        reason: "it names no kernel package".to_owned(),
        remedy: "run `apt-get update`, or give a kernel by --kernel-package or --kernel".to_owned(),
    })?;
    let directory = scratch.join("download");
    fs::create_dir_all(&directory).map_err(ImageError::file("create", &directory))?;
    run(
        // As root, since apt's own user cannot write to our scratch directory.
        Command::new("apt-get")
            .args(["-o", "APT::Sandbox::User=root", "download", package])
            .current_dir(&directory),
        "run `apt-get update` and see that the package archive can be reached, or give a kernel by --kernel-package",
    )?;
    only_file(&directory, |name| name.ends_with(".deb"))
}

/// The kernel package among the dependencies that `apt-cache depends` lists.
fn real_package(depends: &str) -> Option<&str> {
    let lines = depends.lines().map(str::trim);
    lines
        .filter_map(|line| line.strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
}

/// Unpacks a kernel package without installing it.
fn unpack(package: &Path, scratch: &Path) -> Result<Kernel, ImageError> {
    let tree = scratch.join("kernel");
    run(
        Command::new("dpkg").arg("-x").arg(package).arg(&tree),
        "give a Debian kernel package",
    )?;
    let vmlinuz = only_file(&tree.join("boot"), |name| name.starts_with("vmlinuz-"))?;
    // With merged /usr, newer packages have their modules there.
    let places = [tree.join("usr/lib/modules"), tree.join("lib/modules")];
    let place = places
        .iter()
        .find(|place| place.is_dir())
        .ok_or_else(|| ImageError::Unusable {
            path: package.to_path_buf(),
            reason: "it contains no kernel modules".to_owned(),
        })?;
    let modules = only_file(place, |_| true)?;
    let version = modules
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok(Kernel {
        version,
        vmlinuz,
        modules,
    })
}

/// The one entry of `directory` whose name is `wanted`.
fn only_file(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf, ImageError> {
    let read = || fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>();
    let entries = read().map_err(ImageError::file("read", directory))?;
    let mut fitting = entries
        .iter()
        .filter(|entry| entry.file_name().to_str().is_some_and(&wanted));
    match (fitting.next(), fitting.next()) {
        (Some(entry), None) => Ok(entry.path()),
        (first, _) => Err(ImageError::Unusable {
            path: directory.to_path_buf(),
            reason: match first {
                Some(_) => "it holds more than one kernel".to_owned(),
                None => "it holds no kernel".to_owned(),
            },
        }),
    }
}

/// Runs a program to its end and returns what it printed.
pub(super) fn run(command: &mut Command, remedy: &str) -> Result<String, ImageError> {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let program = words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    let failed = |reason: String| ImageError::Program {
        program,
        reason,
        remedy: remedy.to_owned(),
    };
    // The answer is read by us: it must not depend on the user's language.
    match command.env("LC_ALL", "C").output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
        Err(error) => Err(failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metapackage_leads_to_the_kernel_package() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(
            real_package(depends),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(real_package("linux-image-cloud-amd64\n"), None);
    }

    #[test]
    fn a_package_that_is_none_is_told_with_the_program_that_refused_it() {
        let scratch = tempfile::tempdir().unwrap();
        let package = scratch.path().join("kernel.deb");
        fs::write(&package, "no package").unwrap();
        let source = KernelSource::Package(package);
        let error = obtain(&source, scratch.path()).err().unwrap().to_string();
        assert!(error.contains("dpkg -x"), "{error}");
    }
}
