//! Processes of a test's own: the test binary once more, running the same test, which sees that it is the child.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Signal, set_parent_process_death_signal};

const ROLE: &str = "STORE_TEST_CHILD_PATH";

/// The store's path, if this process is a child that [`spawn`] started.
pub fn path_given_to_child() -> Option<PathBuf> {
    let path = std::env::var_os(ROLE)?;
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    Some(path.into())
}

/// A child that is killed, at the latest, when this is dropped.
pub struct Spawned {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// What was read of its standard error so far.
    output: String,
}

/// Runs the test `name` in another process, which finds the store's path by [`path_given_to_child`].
pub fn spawn(name: &str, path: &Path) -> Spawned {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ROLE, path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    Spawned {
        child,
        stderr,
        output: String::new(),
    }
}

impl Spawned {
    /// Reads the child's standard error up to the first line that has `words` in it.
    pub fn wait_for(&mut self, words: &str) {
        while !self.output.contains(words) {
            let read = self.stderr.read_line(&mut self.output).unwrap();
            assert!(
                read > 0,
                "the child ended before it said {words:?}:\n{}",
                self.output
            );
        }
    }

    /// Ends the process as `kill -9` does, and returns all that it wrote to its standard error.
    pub fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.read_to_end();
        std::mem::take(&mut self.output)
    }

    /// Waits for the end of a child that must succeed.
    pub fn finish(mut self) {
        self.read_to_end();
        assert!(
            self.child.wait().unwrap().success(),
            "the child failed:\n{}",
            self.output
        );
    }

    fn read_to_end(&mut self) {
        self.stderr.read_to_string(&mut self.output).unwrap();
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
