//! The program, run as a user runs it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Longer than any command here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a command left: exit code, standard output, standard error.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// The program with a socket and arguments.
pub fn command(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command
        .args(arguments)
        .env_remove("NO_COLOR")
        .env("EVENKEEL_SOCKET", socket)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs the program to its end.
pub async fn run(socket: &Path, arguments: &[&str]) -> Left {
    left(command(socket, arguments), "").await
}

/// Runs a command to its end, with something to read.
pub async fn left(mut command: Command, input: &str) -> Left {
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("its standard input is a pipe");
    // A program that reads nothing may be gone already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .expect("it ends in time")
        .expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Left {
        code: status.code(),
        out: text(stdout),
        err: text(stderr),
    }
}
