//! A balancer without a host, which a file tells what to do.

use std::path::Path;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::support::{Origin, eventually, get, http_config, in_namespace};

fn start(config: &Path) -> Child {
    use std::os::unix::process::CommandExt;
    let log = std::fs::File::create(config.with_file_name("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel-balancer"));
    command
        .args(["standalone", "--listen", "127.0.0.1:8000", "--config"])
        .arg(config)
        .stderr(log.try_clone().unwrap())
        .stdout(log);
    // SAFETY: prctl is safe between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command.spawn().unwrap()
}

/// What the balancer said, once that is said.
fn heard(config: &Path, said: &str) -> String {
    let log = config.with_file_name("log");
    eventually(said, || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.contains(said).then_some(text)
    })
}

fn write(path: &Path, config: &Value) {
    std::fs::write(path, config.to_string()).unwrap();
}

/// Starts a balancer that is to end, having said this.
fn assert_ends(config: &Path, said: &str) {
    let mut balancer = start(config);
    let status = eventually("it ends", || balancer.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    heard(config, said);
}

#[test]
fn a_file_with_a_value_that_cannot_be_taken_starts_no_balancer() {
    in_namespace(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("balancer.json");
        let origin = Origin::named("a");
        let mut config = serde_json::to_value(http_config(1, &[origin.address])).unwrap();
        config["backends"][0]["weight"] = json!(257);
        write(&path, &config);
        let said = format!(
            "{} cannot be taken: backends[0].weight: a weight is 0 to 256",
            path.display()
        );
        assert_ends(&path, &said);
    });
}

#[test]
fn a_file_with_a_field_that_nobody_knows_starts_no_balancer_and_does_not_stop_one() {
    in_namespace(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("balancer.json");
        let origin = Origin::named("a");
        let sound = serde_json::to_value(http_config(1, &[origin.address])).unwrap();
        let mut slip = sound.clone();
        slip["policy"]["retry"] = json!({"attempt": 1});
        let said = format!(
            "{} cannot be read: policy.retry.attempt: there is no such field; there are `attempts`",
            path.display()
        );
        write(&path, &slip);
        assert_ends(&path, &said);

        write(&path, &sound);
        let mut balancer = start(&path);
        let front = "127.0.0.1:8000".parse().unwrap();
        eventually("it serves", || std::net::TcpStream::connect(front).ok());
        write(&path, &slip);
        // SAFETY: the process is this test's, and nobody has waited for it.
        unsafe { libc::kill(balancer.id().cast_signed(), libc::SIGHUP) };
        heard(&path, &said);
        let std::net::SocketAddr::V4(front) = front else {
            unreachable!()
        };
        assert_eq!(get(front, "/").text(), "a");
        balancer.kill().unwrap();
        balancer.wait().unwrap();
    });
}
