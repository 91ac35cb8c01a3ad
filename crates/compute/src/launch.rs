//! Starts a process that is to outlive this one.
//!
//! What the child inherits is listed, never assumed: every other descriptor is closed by exec, the
//! session is its own, standard input is empty and standard output goes to a file. Between fork and
//! exec only system calls are made, since another thread may have held a lock at the fork.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, setsid};
use rustix::thread::{
    Gid, LinkNameSpaceType, Uid, move_into_link_name_space, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::Identity;
use crate::pidfd::Process;

/// Inherited descriptors get numbers from here on, far from those that the start itself uses.
const FIRST_INHERITED: RawFd = 64;

/// Open files that a process may have, where the host allows it.
const WANTED_OPEN_FILES: u64 = 1 << 20;

/// A process to be.
pub(crate) struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Receives standard output and standard error.
    pub log: File,
    /// Descriptors that the process is to have; from [`inheritable`].
    pub inherited: Vec<OwnedFd>,
    /// `cgroup.procs` of the groups that it joins.
    pub cgroups: Vec<OwnedFd>,
    /// The network namespace that it lives in, and whom it runs as there; `None` leaves both as
    /// they are.
    pub confinement: Option<Confinement>,
}

/// What a process is confined to.
pub(crate) struct Confinement {
    pub network_namespace: OwnedFd,
    pub identity: Identity,
}

/// A copy of `fd` whose number a child can keep; the number may stand on its command line.
pub(crate) fn inheritable(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(fd, FIRST_INHERITED)?)
}

/// Starts the process and returns once it runs its program.
///
/// Blocks for some milliseconds. A program that is not there, or that may not be confined as asked,
/// is an error; nothing runs then.
pub(crate) fn launch(launch: Launch) -> io::Result<Process> {
    let Launch {
        program,
        arguments,
        log,
        inherited,
        cgroups,
        confinement,
    } = launch;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let prepare = move || {
        setsid()?;
        for group in &cgroups {
            rustix::io::write(group, b"0")?;
        }
        close_on_exec_all()?;
        for fd in &inherited {
            fcntl_setfd(fd, FdFlags::empty())?;
        }
        raise_open_files()?;
        if let Some(confinement) = &confinement {
            confine(confinement)?;
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock, and an
    // error that it returns is a plain number.
    let command = unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    // Nobody else waits for our children, so the number is still the child's, dead or alive.
    Process::open(child.id())
}

/// Marks every descriptor but the standard three, also those that some library opened without care.
fn close_on_exec_all() -> io::Result<()> {
    // SAFETY: this close_range only sets a flag on descriptors; it closes none and touches no memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Raises the number of files that this process may have open, as far as the host allows: a server has some of
/// each VM, and a balancer of each client.
///
/// # Errors
/// [`io::Error`]; the number is then what it was.
pub fn raise_open_files() -> io::Result<()> {
    let now = getrlimit(Resource::Nofile);
    let more = Rlimit {
        current: Some(WANTED_OPEN_FILES),
        maximum: Some(now.maximum.unwrap_or(0).max(WANTED_OPEN_FILES)),
    };
    if setrlimit(Resource::Nofile, more).is_err() {
        let all = Rlimit {
            current: now.maximum,
            maximum: now.maximum,
        };
        setrlimit(Resource::Nofile, all)?;
    }
    Ok(())
}

fn confine(confinement: &Confinement) -> io::Result<()> {
    let Identity { uid, gid } = confinement.identity;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    move_into_link_name_space(
        confinement.network_namespace.as_fd(),
        Some(LinkNameSpaceType::Network),
    )?;
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    // Giving up user 0 gives up all capabilities as well.
    set_thread_res_uid(uid, uid, uid)?;
    set_no_new_privs(true)?;
    Ok(())
}

/// The number of a descriptor from [`inheritable`], for the child's command line.
pub(crate) fn number(fd: BorrowedFd<'_>) -> String {
    fd.as_raw_fd().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::FromRawFd;
    use std::os::unix::fs::MetadataExt;

    #[tokio::test]
    async fn a_child_inherits_what_is_listed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let kept = inheritable(File::open("/dev/null").unwrap()).unwrap();
        // SAFETY: dup returns a new descriptor that nobody else owns; it lacks close-on-exec.
        let _careless = unsafe { OwnedFd::from_raw_fd(libc::dup(kept.as_raw_fd())) };
        let expected = format!("0\n1\n2\n{}\n", kept.as_raw_fd());
        let process = launch(Launch {
            program: PathBuf::from("sh"),
            arguments: vec!["-c".into(), "cd /proc/$$/fd; for f in *; do [ -e $f ] && echo $f; done; awk '{print $6}' /proc/$$/stat; echo $$".into()],
            log: crate::log_file::open(&log).unwrap(),
            inherited: vec![kept],
            cgroups: vec![],
            confinement: None,
        })
        .unwrap();
        assert_eq!(process.ended().await.unwrap(), "exited with status 0");
        let text = std::fs::read_to_string(&log).unwrap();
        let (descriptors, session) = text.split_at(expected.len());
        assert_eq!(descriptors, expected);
        assert_eq!(
            session,
            format!("{0}\n{0}\n", process.pid),
            "no session of its own"
        );
        assert_eq!(std::fs::metadata(&log).unwrap().uid(), 0);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let error = launch(Launch {
            program: PathBuf::from("/nowhere/balancer"),
            arguments: vec![],
            log: File::create("/dev/null").unwrap(),
            inherited: vec![],
            cgroups: vec![],
            confinement: None,
        })
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
