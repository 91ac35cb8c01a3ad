//! The processes of balancers, and the program that they are started from.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, set_parent_process_death_signal, wait,
};

use super::link::Link;

/// The balancer's program: where it lies, and the very file that ran last, which stays even when
/// another one has taken its place on disk.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    file: OwnedFd,
}

impl Program {
    /// The program that runs here.
    ///
    /// # Errors
    /// When it cannot be found.
    pub fn own() -> io::Result<Self> {
        let path = fs::read_link("/proc/self/exe")?;
        let file = open(
            "/proc/self/exe",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self { path, file })
    }

    /// What lies at its path now.
    ///
    /// # Errors
    /// When nothing does.
    pub fn on_disk(&self) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = open(&self.path, flags, Mode::empty())?;
        let path = self.path.clone();
        Ok(Self { path, file })
    }

    /// Starts a balancer at the other end of `link`, with these arguments. It dies with this process.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn start(&self, arguments: &[OsString], far: &Link) -> io::Result<Pid> {
        use std::os::fd::AsFd;
        let number = far.as_fd().as_raw_fd();
        let parent = getpid();
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command
            .arg0("evenkeel-balancer")
            .args(arguments)
            .args(["--supervisor-fd", &number.to_string()]);
        let prepare = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() != Some(parent) {
                return Err(Errno::SRCH.into());
            }
            // SAFETY: the descriptor is open in the parent, of which this is a copy.
            let far = unsafe { rustix::fd::BorrowedFd::borrow_raw(number) };
            Ok(fcntl_setfd(far, FdFlags::empty())?)
        };
        // SAFETY: the closure makes system calls only.
        let command = unsafe { command.pre_exec(prepare) };
        Ok(Pid::from_child(&command.spawn()?))
    }
}

/// The next child of this process that has ended, reaped, and how it ended.
#[must_use]
pub fn reap() -> Option<(Pid, String)> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => return Some((pid, words(status))),
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

fn words(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
