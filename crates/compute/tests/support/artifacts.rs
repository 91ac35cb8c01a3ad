//! What tests are made from: the balancer and a kernel, each made once for all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

/// Things that are made once for all tests.
pub fn cache() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-image");
    fs::create_dir_all(&target).unwrap();
    target.canonicalize().unwrap()
}

/// Holds all tests but one, also those of other processes, for as long as it lives.
pub fn alone(cache: &Path) -> fs::File {
    let lock = fs::File::create(cache.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    lock
}

/// The static balancer, built when it is not up to date. `EVENKEEL_TEST_BALANCER` names another one.
pub fn balancer() -> PathBuf {
    if let Some(given) = std::env::var_os("EVENKEEL_TEST_BALANCER") {
        return given.into();
    }
    let _alone = alone(&cache());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = "x86_64-unknown-linux-gnu";
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "-p",
            "balancer",
            "--target",
            target,
        ])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .current_dir(&root)
        .status()
        .unwrap();
    assert!(status.success(), "the static balancer does not build");
    let program = root
        .join("target")
        .join(target)
        .join("release/evenkeel-balancer");
    program.canonicalize().unwrap()
}

/// Debian's collectd and its libraries, downloaded once.
pub fn collectd_packages() -> PathBuf {
    let cache = cache();
    let _alone = alone(&cache);
    let packages = cache.join("collectd");
    if !packages.is_dir() {
        let script = "set -e; draft=$(mktemp -d draft-XXXXXX); cd $draft; \
            apt-get -qq -o APT::Sandbox::User=root download \
            collectd-core libc6 libcap2 libgcrypt20 libgpg-error0; cd ..; mv $draft collectd";
        let status = Command::new("sh")
            .args(["-c", script])
            .current_dir(&cache)
            .status()
            .unwrap();
        assert!(status.success(), "no collectd; run apt-get update");
    }
    packages
}

/// Debian's kernel package for virtual machines, downloaded once.
pub fn kernel_package() -> PathBuf {
    let cache = cache();
    let _alone = alone(&cache);
    let package = || {
        let mut entries = fs::read_dir(&cache)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries.find(|path| path.extension().is_some_and(|extension| extension == "deb"))
    };
    if let Some(package) = package() {
        return package;
    }
    let script = "set -e; draft=$(mktemp -d draft-XXXXXX); cd $draft; \
        apt-get -qq -o APT::Sandbox::User=root download \
        $(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ {print $2}'); \
        mv *.deb ..; cd ..; rmdir $draft";
    let status = Command::new("sh")
        .args(["-c", script])
        .current_dir(&cache)
        .status()
        .unwrap();
    assert!(status.success(), "no kernel package; run apt-get update");
    package().unwrap()
}
