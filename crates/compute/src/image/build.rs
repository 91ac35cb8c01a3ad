//! Makes an image.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::archive::Archive;
use super::collectd::{self, CollectdSource};
use super::kernel::{self, Kernel, KernelSource};
use super::manifest::{FileRecord, INITRAMFS, KERNEL, MANIFEST, Manifest, sha256};
use super::modules::{self, Module};
use super::vmlinux;
use super::{Image, ImageError};

/// What an image is made from.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Where the kernel comes from.
    pub kernel: KernelSource,
    /// The static `evenkeel-balancer`.
    pub balancer: PathBuf,
    /// Where the daemon comes from that measures the machine.
    pub collectd: CollectdSource,
    /// The image's directory. Its parent must be writable; an image that is there is replaced at once
    /// and whole.
    pub output: PathBuf,
}

/// Makes the image and returns it. Blocks for some seconds.
///
/// VMs that run keep what they were started from.
///
/// # Errors
/// Any [`ImageError`] but `Missing`; nothing is changed in the image's directory then.
pub fn build(recipe: &Recipe) -> Result<Image, ImageError> {
    let draft = draft_beside(&recipe.output)?;
    let built =
        build_in(recipe, &draft).and_then(|()| put_in_place(&draft.join("image"), &recipe.output));
    // Whether it succeeded or not, only rubbish is left in there.
    let cleaned = fs::remove_dir_all(&draft).map_err(ImageError::file("remove", &draft));
    built.and(cleaned)?;
    Image::open(&recipe.output)
}

/// An empty directory on the same filesystem as the output.
fn draft_beside(output: &Path) -> Result<PathBuf, ImageError> {
    let output = std::path::absolute(output).map_err(ImageError::file("find", output))?;
    let (Some(parent), Some(name)) = (output.parent(), output.file_name()) else {
        return Err(ImageError::Unusable {
            path: output,
            reason: "it is no place for an image".to_owned(),
        });
    };
    let name = format!(".{}.new-{}", name.to_string_lossy(), std::process::id());
    let draft = parent.join(name);
    fs::create_dir_all(&draft).map_err(ImageError::file("create", &draft))?;
    Ok(draft)
}

fn build_in(recipe: &Recipe, draft: &Path) -> Result<(), ImageError> {
    let read = |path: &Path| fs::read(path).map_err(ImageError::file("read", path));
    let balancer = read(&recipe.balancer)?;
    check_static(&recipe.balancer, &balancer)?;
    let Kernel {
        version,
        vmlinuz,
        modules,
    } = kernel::obtain(&recipe.kernel, draft)?;
    let modules = modules::read(&modules)?;
    let packed = read(&vmlinuz)?;
    let vmlinuz = vmlinux::extract(&packed).unwrap_or(packed);
    let collectd = collectd::obtain(&recipe.collectd, draft)?;
    let initramfs = pack(&balancer, &modules, &collectd);

    let files = [(KERNEL, vmlinuz), (INITRAMFS, initramfs)];
    let records = files
        .iter()
        .map(|(name, content)| ((*name).to_owned(), FileRecord::of(content)));
    let files_recorded: std::collections::BTreeMap<_, _> = records.collect();
    let contents: String = files_recorded
        .iter()
        .map(|(name, record)| format!("{name} {}\n", record.sha256))
        .collect();
    let manifest = Manifest {
        version: sha256(contents.as_bytes()),
        kernel_version: version,
        modules: modules
            .iter()
            .map(|module| module.name.to_owned())
            .collect(),
        balancer_sha256: sha256(&balancer),
        files: files_recorded,
    };
    let image = draft.join("image");
    fs::create_dir(&image).map_err(ImageError::file("create", &image))?;
    for (name, content) in &files {
        write(&image.join(name), content)?;
    }
    let path = image.join(MANIFEST);
    let mut text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| ImageError::file("write", &path)(error.into()))?;
    text.push(b'\n');
    write(&path, &text)
}

/// The initramfs: what the kernel mounts over, the program, the modules with their order, and collectd.
fn pack(balancer: &[u8], modules: &[Module], collectd: &[collectd::File]) -> Vec<u8> {
    let mut archive = Archive::default();
    for directory in ["dev", "modules", "proc", "run", "sys"] {
        archive.directory(directory);
    }
    archive.file("init", 0o755, balancer);
    for module in modules {
        archive.file(
            &format!("modules/{}.ko", module.name),
            0o644,
            &module.object,
        );
    }
    let order: String = modules
        .iter()
        .map(|module| format!("{}\n", module.name))
        .collect();
    archive.file("modules/order", 0o644, order.as_bytes());
    collectd::pack(collectd, &mut archive);
    archive.finish()
}

/// Refuses a program that would need a dynamic linker, which the image does not have.
fn check_static(path: &Path, program: &[u8]) -> Result<(), ImageError> {
    let unusable = |reason: &str| ImageError::Unusable {
        path: path.to_path_buf(),
        reason: reason.to_owned(),
    };
    match interpreter(program) {
        None => Err(unusable("it is no 64-bit ELF program")),
        Some(true) => Err(unusable(
            "it is linked dynamically; build it with RUSTFLAGS=\"-C target-feature=+crt-static\"",
        )),
        Some(false) => Ok(()),
    }
}

/// Whether a 64-bit ELF program asks for a dynamic linker; `None` for what is no such program.
fn interpreter(program: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let mut kinds = vmlinux::segments(program).map(|(kind, _)| kind).peekable();
    kinds.peek()?;
    Some(kinds.any(|kind| kind == PT_INTERP))
}

/// Writes a file through to the disk, since its directory is about to take the old one's place.
fn write(path: &Path, content: &[u8]) -> Result<(), ImageError> {
    let written = || {
        let mut file = fs::File::create(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    written().map_err(ImageError::file("write", path))
}

/// Puts the new directory in the old one's place in one step, and the old one in the new one's.
fn put_in_place(new: &Path, output: &Path) -> Result<(), ImageError> {
    if !output.exists() {
        return fs::rename(new, output).map_err(ImageError::file("write", output));
    }
    if renameat_with(CWD, new, CWD, output, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    // Some filesystems cannot exchange: then there is a moment without an image.
    let mut old = new.to_path_buf();
    old.set_file_name("old");
    fs::rename(output, &old)
        .and_then(|()| fs::rename(new, output))
        .map_err(ImageError::file("replace", output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_refused_with_what_to_do() {
        let program = fs::read("/bin/sh").unwrap();
        let error = check_static(Path::new("/bin/sh"), &program)
            .unwrap_err()
            .to_string();
        assert!(error.contains("crt-static"), "{error}");
        let error = check_static(Path::new("x"), b"#!/bin/sh")
            .unwrap_err()
            .to_string();
        assert!(error.contains("no 64-bit ELF"), "{error}");
    }
}
