//! A shell of a host, into which a page is typed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::block::Block;
use crate::Host;

/// What a block prints after all else, with the outcome.
const END: &str = "--- end of the block";
/// What is printed of a command that fails.
const FAILED: &str = "--- failed: ";
/// How long one block may take.
const PATIENCE: Duration = Duration::from_secs(100);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Commands that change nothing, so that they can be typed again until they print what they are to.
const LOOKS: [&str; 8] = [
    "evenkeel status",
    "evenkeel instance info",
    "evenkeel explain",
    "evenkeel events",
    "evenkeel figures",
    "dig ",
    "curl ",
    "visit",
];

/// A shell of the host, in which one block knows what an earlier one set.
pub(super) struct Shell {
    bash: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    script: PathBuf,
}

impl Shell {
    pub(super) fn begin(host: &Host) -> Self {
        let mut command = host.command("bash");
        command
            .args(["--norc", "-E"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .env("LC_ALL", "C.UTF-8");
        let mut bash = command.spawn().expect("there is a shell");
        let mut input = bash.stdin.take().expect("it was asked for");
        let output = bash.stdout.take().expect("it was asked for");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for line in lines {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        writeln!(
            input,
            "exec 2>&1; trap 'echo \"{FAILED}$BASH_COMMAND\"' ERR"
        )
        .expect("it reads");
        Self {
            bash,
            input,
            lines,
            script: host.path("block.sh"),
        }
    }

    /// Types a block until it prints what it is to.
    pub(super) fn follow(&mut self, block: &Block) {
        let only_looks = block
            .shell
            .lines()
            .all(|line| LOOKS.iter().any(|look| line.starts_with(look)));
        let began = Instant::now();
        loop {
            let printed = self.type_in(&block.shell);
            let failed = printed.contains(FAILED);
            let is_as_told = block.is_told(&printed);
            if is_as_told && !failed {
                return;
            }
            let again = only_looks && began.elapsed() < PATIENCE;
            let told = block.prints.as_deref().unwrap_or("…");
            assert!(
                again,
                "typed:\n{}\nprinted:\n{printed}\ntold:\n{told}",
                block.shell
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Types it once, and returns what is printed.
    fn type_in(&mut self, shell: &str) -> String {
        fs::write(&self.script, shell).expect("the host's directory can be written");
        let script = self.script.display();
        writeln!(self.input, ". {script} </dev/null; echo; echo '{END}'").expect("the shell reads");
        let began = Instant::now();
        let mut printed = String::new();
        loop {
            let left = PATIENCE.saturating_sub(began.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) if line == END => return printed.trim_end().to_owned(),
                Ok(line) => {
                    printed.push_str(&line);
                    printed.push('\n');
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("not within {PATIENCE:?}:\n{shell}\nprinted:\n{printed}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the shell ended at:\n{shell}\nprinted:\n{printed}")
                }
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.bash.kill();
        let _ = self.bash.wait();
    }
}
