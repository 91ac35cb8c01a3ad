//! The image, from the distribution's own kernel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/artifacts.rs"]
mod artifacts;

use std::fs;
use std::path::Path;
use std::process::Command;

use compute::image::{CollectdSource, Image, KernelSource, Recipe, build};

/// From Debian's package, which takes seconds.
fn recipe(output: std::path::PathBuf) -> Recipe {
    Recipe {
        kernel: KernelSource::Package(artifacts::kernel_package()),
        balancer: artifacts::balancer(),
        collectd: CollectdSource::Packages(artifacts::collectd_packages()),
        output,
    }
}

/// From small files that only look like a kernel.
fn small_recipe(directory: &Path, output: &Path) -> Recipe {
    let modules = directory.join("6.1.0-small");
    fs::create_dir_all(modules.join("kernel")).unwrap();
    for name in [
        "virtio_ring",
        "virtio",
        "virtio_mmio",
        "failover",
        "net_failover",
        "virtio_net",
        "virtio_console",
        "virtio_blk",
    ] {
        fs::write(modules.join("kernel").join(format!("{name}.ko")), name).unwrap();
    }
    let vmlinuz = directory.join("vmlinuz-small");
    fs::write(&vmlinuz, "kernel").unwrap();
    Recipe {
        kernel: KernelSource::Files { vmlinuz, modules },
        balancer: artifacts::balancer(),
        collectd: CollectdSource::Absent,
        output: output.to_path_buf(),
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (
        directory.path().join("first"),
        directory.path().join("second"),
    );
    let one = build(&recipe(first.clone())).unwrap();
    // Unpacked elsewhere, at another time, by another process id's name.
    let two = build(&recipe(second.clone())).unwrap();
    assert_eq!(one.manifest(), two.manifest());
    for name in ["vmlinuz", "initramfs", "manifest.json"] {
        assert!(
            fs::read(first.join(name)).unwrap() == fs::read(second.join(name)).unwrap(),
            "{name} differs"
        );
    }
    assert_eq!(one.manifest().version.len(), 64);
    assert!(one.manifest().kernel_version.contains("cloud"));
    assert_eq!(one.manifest().modules[..2], ["virtio_ring", "virtio"]);
}

#[test]
fn a_rebuilt_image_takes_the_old_ones_place_whole_and_leaves_nothing_beside_it() {
    let (inputs, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let output = directory.path().join("image");
    fs::create_dir(&output).unwrap();
    fs::write(output.join("manifest.json"), "{}").unwrap();
    fs::write(output.join("rubbish"), "old").unwrap();
    assert!(Image::open(&output).is_err());
    let image = build(&small_recipe(inputs.path(), &output)).unwrap();
    assert!(!output.join("rubbish").exists());
    let left: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["image"]);

    // Another program, another version.
    let mut program = fs::read(artifacts::balancer()).unwrap();
    program.push(0);
    let other = inputs.path().join("balancer");
    fs::write(&other, program).unwrap();
    let changed = Recipe {
        balancer: other,
        ..small_recipe(inputs.path(), &output)
    };
    let rebuilt = build(&changed).unwrap();
    assert_ne!(rebuilt.manifest().version, image.manifest().version);

    // So an image that an upgrade left behind is told apart.
    assert!(rebuilt.has_another_balancer(&artifacts::balancer()));
    assert!(!rebuilt.has_another_balancer(&changed.balancer));
    assert!(!rebuilt.has_another_balancer(&inputs.path().join("nothing")));

    // A file that was cut short is noticed.
    fs::write(output.join("vmlinuz"), "short").unwrap();
    let error = Image::open(&output).unwrap_err().to_string();
    assert!(error.contains("vmlinuz has 5 bytes"), "{error}");
}

#[test]
fn the_initramfs_is_an_archive_that_cpio_reads_with_init_and_modules_in_it() {
    let (inputs, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let output = directory.path().join("image");
    build(&small_recipe(inputs.path(), &output)).unwrap();
    let listing = Command::new("cpio")
        .args(["--list", "--quiet", "--numeric-uid-gid", "--verbose"])
        .stdin(fs::File::open(output.join("initramfs")).unwrap())
        .output()
        .unwrap();
    assert!(listing.status.success());
    let text = String::from_utf8(listing.stdout).unwrap();
    let names: Vec<&str> = text
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect();
    for name in ["proc", "init", "modules/order", "modules/virtio_net.ko"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    assert!(
        text.lines()
            .all(|line| line.contains(" 0 ") && line.contains("1970")),
        "{text}"
    );
}
