//! The kernel modules of a VM.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ImageError;

/// What a VM's kernel needs, in the order in which it is to be loaded: each after those it uses.
const MODULES: [&str; 8] = [
    "virtio_ring",
    "virtio",
    "virtio_mmio",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_console",
    "virtio_blk",
];

/// Programs that unpack a module, by the ending of its file.
const UNPACKERS: [(&str, &str); 3] = [(".ko.xz", "xz"), (".ko.zst", "zstd"), (".ko.gz", "gzip")];

/// One module, ready to be loaded.
pub(crate) struct Module {
    pub name: &'static str,
    /// The uncompressed object.
    pub object: Vec<u8>,
}

/// Reads the modules from `tree`, the `lib/modules/<version>` of a kernel, in load order. Those that
/// the kernel has built in are left out.
pub(crate) fn read(tree: &Path) -> Result<Vec<Module>, ImageError> {
    let mut files = BTreeMap::new();
    collect(tree, &mut files)?;
    let built_in = fs::read_to_string(tree.join("modules.builtin")).unwrap_or_default();
    let built_in: Vec<String> = built_in
        .lines()
        .filter_map(|line| name_of(Path::new(line)))
        .collect();
    let mut modules = Vec::new();
    for name in MODULES {
        match files.get(name) {
            Some(file) => modules.push(Module {
                name,
                object: unpack(file)?,
            }),
            None if built_in.iter().any(|built_in| built_in == name) => {}
            None => {
                return Err(ImageError::NoModule {
                    tree: tree.to_path_buf(),
                    module: name.to_owned(),
                });
            }
        }
    }
    Ok(modules)
}

/// Finds all modules below `directory`, by name.
fn collect(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), ImageError> {
    let read = || fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>();
    for entry in read().map_err(ImageError::file("read", directory))? {
        let path = entry.path();
        // Debian links `build` and `source` to the kernel's headers: links are not followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `virtio_rng` for `…/virtio-rng.ko.xz`; `None` for what is no module.
fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let endings = UNPACKERS.iter().map(|(ending, _)| *ending).chain([".ko"]);
    let stem = endings
        .filter_map(|ending| file.strip_suffix(ending))
        .next()?;
    Some(stem.replace('-', "_"))
}

fn unpack(file: &Path) -> Result<Vec<u8>, ImageError> {
    let name = file.to_string_lossy();
    let unpacker = UNPACKERS.iter().find(|(ending, _)| name.ends_with(ending));
    let Some((_, program)) = unpacker else {
        return fs::read(file).map_err(ImageError::file("read", file));
    };
    let failed = |reason: String| ImageError::Program {
        program: format!("{program} -dc {name}"),
        reason,
        remedy: format!("install {program} (Debian: xz-utils, zstd, gzip)"),
    };
    let output = Command::new(program).arg("-dc").arg(file).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str], built_in: &str) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        let deep = tree.path().join("kernel/drivers/virtio");
        fs::create_dir_all(&deep).unwrap();
        for file in files {
            fs::write(deep.join(file), file).unwrap();
        }
        fs::write(tree.path().join("modules.builtin"), built_in).unwrap();
        tree
    }

    #[test]
    fn modules_come_in_load_order_and_built_in_ones_are_left_out() {
        let files = [
            "virtio_blk.ko",
            "virtio-net.ko",
            "virtio_console.ko",
            "virtio.ko",
            "net_failover.ko",
            "failover.ko",
            "virtio_mmio.ko",
            "other.ko",
        ];
        let tree = tree(&files, "kernel/drivers/virtio/virtio_ring.ko\n");
        let names: Vec<&str> = read(tree.path())
            .unwrap()
            .iter()
            .map(|module| module.name)
            .collect();
        assert_eq!(
            names,
            [
                "virtio",
                "virtio_mmio",
                "failover",
                "net_failover",
                "virtio_net",
                "virtio_console",
                "virtio_blk"
            ]
        );
    }

    #[test]
    fn a_module_that_is_missing_is_named() {
        let tree = tree(&["virtio.ko"], "");
        let error = read(tree.path()).err().unwrap().to_string();
        assert!(error.contains("`virtio_ring`"), "{error}");
    }

    #[test]
    fn a_compressed_module_is_unpacked() {
        let tree = tempfile::tempdir().unwrap();
        let file = tree.path().join("virtio.ko");
        fs::write(&file, "object").unwrap();
        assert!(Command::new("xz").arg(&file).status().unwrap().success());
        let packed = tree.path().join("virtio.ko.xz");
        assert_eq!(name_of(&packed).as_deref(), Some("virtio"));
        assert_eq!(unpack(&packed).unwrap(), b"object");
    }
}
