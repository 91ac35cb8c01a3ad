//! Has wrk ask in the place of our own generator: another program's word on what keep-alive requests cost.

use std::net::SocketAddrV4;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::host;
use crate::load::Body;

/// What wrk did.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// Answers of 200 to 399.
    pub answers: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs it on this core.
///
/// # Errors
/// When it is missing, or has seen an answer that is not good, or a connection that failed.
pub fn run(front: SocketAddrV4, clients: usize, duration: Duration, core: usize) -> Result<Run> {
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--connections", &clients.to_string()])
        // It takes whole seconds only.
        .args(["--duration", &format!("{}s", duration.as_secs().max(1))])
        .arg(format!("http://{front}{}", Body::OneKib.path()));
    let began = Instant::now();
    let output = host::confine(&mut command, &[core], Signal::KILL)
        .output()
        .context("wrk cannot be started")?;
    let elapsed = began.elapsed();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "wrk has failed: {text}");
    Ok(Run {
        answers: answers(&text)?,
        elapsed,
    })
}

/// Reads what wrk prints at its end.
fn answers(text: &str) -> Result<u64> {
    for trouble in ["Non-2xx", "Socket errors"] {
        ensure!(!text.contains(trouble), "wrk says: {text}");
    }
    text.lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse().ok())
        .with_context(|| format!("wrk has counted nothing: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_good_answers_are_counted() {
        let good = "  1 threads and 32 connections\n  47 requests in 1.00s, 1.2MB read\n";
        assert_eq!(answers(good).unwrap(), 47);
        for trouble in [
            "  Non-2xx or 3xx responses: 3\n",
            "  Socket errors: connect 0, read 1, write 0, timeout 0\n",
        ] {
            assert!(answers(&format!("{good}{trouble}")).is_err(), "{trouble}");
        }
        assert!(answers("").is_err());
    }
}
