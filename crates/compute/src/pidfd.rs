//! A process held by a file descriptor, so that its number cannot come to mean another one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Duration, timeout};

/// Within which a process is gone after SIGKILL.
pub(crate) const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// A process of ours, child or not.
#[derive(Debug)]
pub(crate) struct Process {
    pub pid: u32,
    fd: OwnedFd,
}

impl Process {
    /// Takes hold of the process that has number `pid` now.
    ///
    /// The caller checks afterwards that it is the one it meant, unless it is its own child that
    /// nobody has waited for.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let number = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        // pidfd_open sets close-on-exec by itself.
        let fd = pidfd_open(number, PidfdFlags::empty())?;
        Ok(Self { pid, fd })
    }

    /// A second hold on the same process.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            pid: self.pid,
            fd: self.fd.try_clone()?,
        })
    }

    /// Ends the process. One that has ended already is no error.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.fd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the process, and returns once it is gone.
    ///
    /// # Errors
    /// It cannot be signalled, or, of kind `TimedOut`, is still there after [`KILL_DEADLINE`].
    pub(crate) async fn end(&self) -> io::Result<()> {
        self.kill()?;
        timeout(KILL_DEADLINE, self.ended()).await?.map(|_how| ())
    }

    /// Whether the process has not ended yet.
    pub(crate) fn is_alive(&self) -> bool {
        let mut polled = [PollFd::new(&self.fd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut polled, Some(&now)), Ok(0))
    }

    /// Waits until the process has ended, reaps it when it is a child of ours, and says how it ended.
    ///
    /// Must run within a tokio runtime. Several holders may wait for one process; the first to reap
    /// it learns the status.
    pub(crate) async fn ended(&self) -> io::Result<String> {
        // SAFETY: the descriptor is open for as long as `self` is, which outlives `watched`.
        let watched =
            unsafe { AsyncFd::register_with_interest(self.fd.as_fd(), Interest::READABLE) };
        let watched = watched?;
        let _ready = watched.readable().await?;
        Ok(reap(&self.fd))
    }
}

/// Takes a dead child's status away so that no zombie stays, and puts it in words.
fn reap(fd: &OwnedFd) -> String {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::PidFd(fd.as_fd()), options) {
        Ok(Some(status)) => {
            if let Some(code) = status.exit_status() {
                format!("exited with status {code}")
            } else if let Some(signal) = status.terminating_signal() {
                format!("killed by signal {signal}")
            } else {
                "ended".to_owned()
            }
        }
        // A child of an earlier controller is init's to reap, and init tells nobody.
        _ => "ended; its status is unknown, since another process started it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[expect(clippy::zombie_processes, reason = "reaping is what is tested")]
    fn start(script: &str) -> Process {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        Process::open(child.id()).unwrap()
    }

    #[tokio::test]
    async fn a_killed_child_is_reaped_and_its_end_is_told() {
        let process = start("exec sleep 60");
        process.kill().unwrap();
        assert_eq!(process.ended().await.unwrap(), "killed by signal 9");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid));
        assert!(stat.is_err(), "a zombie stayed: {stat:?}");
        process.kill().unwrap();
    }

    #[tokio::test]
    async fn an_exit_status_is_told() {
        let process = start("exit 7");
        assert_eq!(process.ended().await.unwrap(), "exited with status 7");
    }
}
