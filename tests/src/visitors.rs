//! Requests that go on while something else happens.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use crate::servers::program_of_this_package;
use crate::{Host, host_of};

/// A client that asks a URL again and again, and follows DNS as the TTL says.
pub struct Visitors {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

/// What came of the requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// How often each server answered.
    pub answers: BTreeMap<String, u64>,
    /// The requests that failed, in words.
    pub failures: Vec<String>,
}

impl Visitors {
    /// Begins to ask, and returns after the first answer. The host must use Evenkeel's DNS server.
    ///
    /// # Panics
    /// When the client cannot be started.
    #[must_use]
    pub fn begin(host: &Host, url: &str) -> Self {
        Self::begin_at(host, url, Duration::from_millis(5))
    }

    /// The same, with a pause of whole milliseconds between two requests.
    ///
    /// # Panics
    /// When the client cannot be started.
    #[must_use]
    pub fn begin_at(host: &Host, url: &str, pause: Duration) -> Self {
        let mut child = host
            .command(program_of_this_package("visitor"))
            .arg(host_of(url))
            .arg(pause.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux has nsenter");
        let mut stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut said = String::new();
        stdout.read_line(&mut said).expect("a pipe can be read");
        assert_eq!(said, "began\n", "the visitor could not begin");
        Self { child, stdout }
    }

    /// Ends it, and tells what came of it.
    ///
    /// # Panics
    /// When the client gave no account.
    #[must_use]
    pub fn end(mut self) -> Tally {
        drop(self.child.stdin.take());
        let mut tally = Tally::default();
        for line in self
            .stdout
            .lines()
            .map(|line| line.expect("a pipe can be read"))
        {
            match line.split_once(' ') {
                Some(("failed", how)) => tally.failures.push(how.into()),
                Some((count, server)) => {
                    let count = count.parse().expect("a line begins with a number");
                    tally.answers.insert(server.into(), count);
                }
                None => panic!("the visitor said `{line}`"),
            }
        }
        assert!(
            self.child.wait().is_ok_and(|status| status.success()),
            "the visitor died"
        );
        tally
    }
}

impl Tally {
    /// The number of requests that were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Holds that there were requests, and that none failed.
    ///
    /// # Panics
    /// When one failed, or there were fewer than `at_least`.
    pub fn assert_flawless(&self, at_least: u64) {
        let Self { answers, failures } = self;
        assert!(
            failures.is_empty() && self.answered() >= at_least,
            "{} requests failed of {answers:?}: {failures:#?}",
            failures.len()
        );
    }
}
