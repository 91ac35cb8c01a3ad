//! A machine for one test, made of namespaces.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

/// Attempts to remove a cgroup.
const GROUP_REMOVALS: u32 = 100;
/// Between two of them.
const GROUP_PAUSE: Duration = Duration::from_millis(20);
/// What the first process of a host does before it waits for its end.
const BOOT: &str = "set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
ip link set lo up
echo up
exec sleep infinity";

/// A machine of the test's own. Everything in it ends with it.
pub struct Host {
    unshare: Child,
    init: u32,
    directory: TempDir,
}

impl Host {
    /// A machine with a loopback interface, an empty `/run`, and nothing else running.
    ///
    /// # Panics
    /// When the test has no right to make one: it must run as root.
    #[must_use]
    pub fn new() -> Self {
        let mut command = Command::new("unshare");
        command
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["sh", "-c", BOOT])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        die_with_parent(&mut command);
        let mut unshare = command.spawn().expect("util-linux has unshare");
        let mut said = String::new();
        let stdout = unshare.stdout.take().expect("it was asked for");
        BufReader::new(stdout)
            .read_line(&mut said)
            .expect("a pipe can be read");
        assert_eq!(
            said, "up\n",
            "a host could not be made; tests must run as root"
        );
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let children = std::fs::read_to_string(children).expect("the process is there");
        let init = children.trim().parse().expect("unshare has one child");
        // Short, because unix sockets have their paths below it.
        let directory = tempfile::Builder::new()
            .prefix("ek")
            .tempdir_in("/tmp")
            .expect("/tmp can be written");
        Self {
            unshare,
            init,
            directory,
        }
    }

    /// A directory that is the same inside and outside, and goes with the host.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A path in that directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The host's own files, as they are seen from outside.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init))
    }

    /// Has every program of the host ask Evenkeel's DNS server.
    pub fn use_own_dns(&self) {
        let file = self.path("resolv.conf");
        std::fs::write(&file, "nameserver 10.200.0.1\n").expect("the directory can be written");
        let file = file.display();
        self.shell(&format!(
            "mount --bind {file} $(readlink -f /etc/resolv.conf)"
        ));
    }

    /// A command that will run on the host.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &self.init.to_string(),
                "--net",
                "--mount",
                "--pid",
                "--",
            ])
            .arg(program.as_ref())
            .stdin(Stdio::null());
        die_with_parent(&mut command);
        command
    }

    /// Runs a line of shell on the host and returns what it printed.
    ///
    /// # Panics
    /// When it fails, with what it said.
    pub fn shell(&self, line: &str) -> String {
        let output = self.try_shell(line);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{line}` failed: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a line of shell on the host, whatever comes of it.
    ///
    /// # Panics
    /// When it could not be run at all.
    #[must_use]
    pub fn try_shell(&self, line: &str) -> Output {
        self.command("sh")
            .args(["-c", line])
            .output()
            .expect("util-linux has nsenter")
    }

    /// Starts a program on the host and leaves it running; its output goes to `<name>.log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, name: &str, program: impl AsRef<Path>, arguments: &[&str]) -> Running<'_> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(&format!("{name}.log")))
            .expect("the host's directory can be written");
        let mut command = self.command("sh");
        // The shell tells its number inside the host and becomes the program.
        command
            .args(["-c", "echo $$; exec \"$@\" >&2", "sh"])
            .arg(program.as_ref())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(log);
        let mut nsenter = command.spawn().expect("util-linux has nsenter");
        let mut number = String::new();
        let stdout = nsenter.stdout.take().expect("it was asked for");
        BufReader::new(stdout)
            .read_line(&mut number)
            .expect("a pipe can be read");
        let pid = number.trim().parse().expect("the shell told its number");
        Running {
            host: self,
            nsenter,
            pid,
        }
    }

    /// Runs something of the test's own on a thread in the host's network.
    ///
    /// # Panics
    /// When the host's network cannot be entered.
    pub fn spawn(&self, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        let path = format!("/proc/{}/ns/net", self.init);
        let network = std::fs::File::open(path).expect("the host is there");
        std::thread::spawn(move || {
            let entered =
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network));
            entered.expect("tests run as root");
            run();
        })
    }

    /// Sends a signal to a process of the host, by the signal's short name.
    pub fn signal(&self, pid: u32, signal: &str) {
        self.shell(&format!("kill -{signal} {pid}"));
    }

    /// The numbers, inside the host, of the processes whose command line contains `text`.
    pub fn processes(&self, text: &str) -> Vec<u32> {
        let found = self.try_shell(&format!("pgrep --full -- '{text}' | grep -v \"^$$\\$\""));
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        found.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Sends SIGKILL to a process of the host.
    pub fn kill(&self, pid: u32) {
        self.shell(&format!("kill -KILL {pid}"));
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The namespace's first process dies with it (--kill-child), and all others with that one.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        if std::thread::panicking() {
            self.show_logs();
        }
        self.remove_cgroups();
    }
}

impl Host {
    /// What a failed test leaves to read.
    fn show_logs(&self) {
        for (path, text) in self.logs() {
            let from = text.len().saturating_sub(20_000);
            let tail = text.get(from..).unwrap_or(&text);
            eprintln!("=== {}\n{tail}", path.display());
        }
    }

    /// The names and texts of what the host's programs said.
    fn logs(&self) -> impl Iterator<Item = (PathBuf, String)> {
        let entries = std::fs::read_dir(self.directory()).into_iter().flatten();
        let paths = entries.flatten().map(|entry| entry.path());
        let logs = paths.filter(|path| path.extension().is_some_and(|end| end == "log"));
        logs.map(|path| {
            let text = std::fs::read(&path).unwrap_or_default();
            (path, String::from_utf8_lossy(&text).into_owned())
        })
    }

    /// The installations that ran here, by what their servers said.
    pub(crate) fn installations(&self) -> BTreeSet<String> {
        let texts = self.logs().map(|(_, text)| text);
        let named = texts.flat_map(|text| {
            let named = text.split("installation=").skip(1);
            let named = named.filter_map(|rest| rest.get(..8).map(str::to_owned));
            named.collect::<Vec<_>>()
        });
        named.collect()
    }

    /// Removes the groups of the installations that ran here: no namespace holds them.
    fn remove_cgroups(&self) {
        for installation in self.installations() {
            remove_cgroups_of(&installation);
        }
    }
}

/// A program that runs on a host. It ends when this is dropped.
pub struct Running<'h> {
    host: &'h Host,
    nsenter: Child,
    /// Its number inside the host.
    pub pid: u32,
}

impl Running<'_> {
    /// Kills it, and waits until it is gone.
    pub fn kill(mut self) {
        self.end("KILL");
    }

    /// Asks it to end, and waits until it has. Returns whether it ended well.
    pub fn terminate(mut self) -> bool {
        self.end("TERM")
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.nsenter.try_wait(), Ok(None))
    }

    fn end(&mut self, signal: &str) -> bool {
        let _ = self.host.try_shell(&format!("kill -{signal} {}", self.pid));
        self.nsenter.wait().is_ok_and(|status| status.success())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if matches!(self.nsenter.try_wait(), Ok(None)) {
            self.end("KILL");
        }
    }
}

/// Removes an installation's groups, whose processes are dead or dying.
fn remove_cgroups_of(installation: &str) {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
    let own = format!("evenkeel-{installation}");
    let roots = hierarchies.flatten().map(|entry| entry.path().join(&own));
    for root in roots.chain([Path::new("/sys/fs/cgroup").join(&own)]) {
        let groups = std::fs::read_dir(&root).into_iter().flatten().flatten();
        let groups = groups
            .map(|entry| entry.path())
            .filter(|path| path.is_dir());
        for group in groups.chain([root.clone()]).filter(|group| group.exists()) {
            remove_group(&group);
        }
    }
}

/// Removes one group, which is busy until its last process is wholly gone.
fn remove_group(group: &Path) {
    for _ in 0..GROUP_REMOVALS {
        match std::fs::remove_dir(group) {
            Err(error) if error.kind() != ErrorKind::NotFound => sleep(GROUP_PAUSE),
            _ => return,
        }
    }
    eprintln!("the cgroup {} stays behind", group.display());
}

/// Has a child killed when this thread ends, so that a killed test leaves nothing.
fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}
