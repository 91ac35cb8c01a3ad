//! Signals as something to read.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Leave,
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    Report,
    /// SIGUSR2, to a supervisor.
    Replace,
    /// SIGCHLD, to a supervisor.
    ChildEnded,
}

/// The signals that the process takes.
pub struct Signals(OwnedFd);

impl Signals {
    /// Keeps the signals from interrupting this thread and those that it starts from now on.
    ///
    /// # Errors
    /// When the kernel gives no descriptor.
    pub fn take_over() -> std::io::Result<Self> {
        Self::take(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1])
    }

    /// The same for a supervisor, which also learns of its children's ends.
    ///
    /// # Errors
    /// When the kernel gives no descriptor.
    pub fn of_supervisor() -> std::io::Result<Self> {
        let (leave, passed_on) = ([libc::SIGTERM, libc::SIGINT], [libc::SIGHUP, libc::SIGUSR1]);
        let own = [libc::SIGUSR2, libc::SIGCHLD];
        Self::take(&[leave, passed_on, own].concat())
    }

    fn take(wanted: &[i32]) -> std::io::Result<Self> {
        // SAFETY: `set` is initialised by sigemptyset before it is read, and lives through the calls;
        // signalfd gives a descriptor that is owned by nobody else.
        unsafe {
            let mut set = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&mut set);
            for &signal in wanted {
                libc::sigaddset(&mut set, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            let descriptor = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if descriptor < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(Self(OwnedFd::from_raw_fd(descriptor)))
        }
    }

    /// The next signal that has come.
    pub fn next(&self) -> Option<Signal> {
        const INFO_BYTES: usize = size_of::<libc::signalfd_siginfo>();
        let mut info = [0u8; INFO_BYTES];
        let count = rustix::io::read(&self.0, &mut info).ok()?;
        let number = info.first_chunk::<4>().filter(|_| count == INFO_BYTES)?;
        match i32::from_ne_bytes(*number) {
            libc::SIGHUP => Some(Signal::Reload),
            libc::SIGUSR1 => Some(Signal::Report),
            libc::SIGUSR2 => Some(Signal::Replace),
            libc::SIGCHLD => Some(Signal::ChildEnded),
            _ => Some(Signal::Leave),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
