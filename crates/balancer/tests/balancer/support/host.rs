//! The host's end of the control channel, and the balancer's process.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};

use model::{
    BackendHealth, BalancerConfig, Boot, BootNic, Generation, GuestMessage, Heartbeat, HostMessage,
    Mac, VmId,
};

use super::eventually;

/// How the balancer is started.
#[derive(Clone, Default)]
pub struct Options {
    /// Kept between processes.
    pub config_file: Option<PathBuf>,
    /// Forwarding threads, 2 by default.
    pub threads: Option<usize>,
    /// Where it listens, 127.0.0.1 by default.
    pub front: Option<Ipv4Addr>,
    /// Most open files.
    pub open_files: Option<u64>,
    /// Whether the process is a supervisor, and the balancer its child.
    pub supervised: bool,
    /// Where the access log goes.
    pub log: Option<Arc<OwnedFd>>,
}

/// A running balancer and the host that it talks to. Ends with the test.
pub struct Host {
    pub process: Child,
    stream: UnixStream,
    heard: Arc<Mutex<Vec<GuestMessage>>>,
    options: Options,
}

impl Host {
    /// Starts a balancer, and tells it who it is.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// Starts a balancer that listens at this address.
    pub fn start_at(front: [u8; 4]) -> Self {
        Self::start_with(Options {
            front: Some(front.into()),
            ..Options::default()
        })
    }

    /// Starts a balancer, and tells it who it is.
    pub fn start_with(options: Options) -> Self {
        let (near, far) = UnixStream::pair().unwrap();
        let far = OwnedFd::from(far);
        let process = spawn("--channel-fd", &far, &options);
        drop(far);
        let host = Self::over(near, process, options);
        host.tell(&HostMessage::Boot(host.boot()));
        host
    }

    /// Talks to a balancer over a stream.
    pub fn over(stream: UnixStream, process: Child, options: Options) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        listen(&stream, &heard);
        Self {
            process,
            stream,
            heard,
            options,
        }
    }

    /// Goes on over another stream, as a host that was restarted does.
    pub fn reconnect(&mut self, stream: UnixStream) {
        self.heard.lock().unwrap().clear();
        listen(&stream, &self.heard);
        self.stream = stream;
    }

    /// Who the balancer is.
    pub fn boot(&self) -> Boot {
        let nic = |address| BootNic {
            mac: Mac([2, 0, 0, 0, 0, 1]),
            address,
            prefix: 8,
            gateway: None,
        };
        Boot {
            vm: VmId(1),
            hostname: "vm1".to_owned(),
            front: nic(self.options.front.unwrap_or(Ipv4Addr::LOCALHOST)),
            tenant: nic(Ipv4Addr::LOCALHOST),
            seed: "00".repeat(32),
            unix_time_ms: 0,
            heartbeat_ms: 50,
            monitor: None,
        }
    }

    /// Sends a message, without waiting for what it does.
    pub fn tell(&self, message: &HostMessage) {
        let mut line = serde_json::to_vec(message).unwrap();
        line.push(b'\n');
        self.tell_raw(&line);
    }

    /// Sends bytes.
    pub fn tell_raw(&self, bytes: &[u8]) {
        (&self.stream).write_all(bytes).unwrap();
    }

    /// Sends a configuration and waits until it runs.
    pub fn configure(&self, config: &BalancerConfig) {
        self.tell(&HostMessage::Configure(config.clone()));
        self.await_generation(config.generation);
    }

    /// Waits until this generation runs.
    pub fn await_generation(&self, generation: Generation) {
        self.await_heartbeat("the generation runs", |heartbeat| {
            heartbeat.generation == Some(generation)
        });
    }

    /// Sends a configuration and waits until all its backends are up.
    pub fn serve(&self, config: &BalancerConfig) {
        self.configure(config);
        self.await_heartbeat("all backends are up", |heartbeat| {
            heartbeat.generation == Some(config.generation)
                && heartbeat
                    .backends
                    .iter()
                    .all(|b| b.health == BackendHealth::Up)
        });
    }

    /// Waits for a heartbeat of which this holds, and returns it.
    pub fn await_heartbeat(&self, what: &str, holds: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        eventually(what, || self.last_heartbeat().filter(&holds))
    }

    /// A heartbeat that is yet to come.
    pub fn next_heartbeat(&self) -> Heartbeat {
        let last = self
            .last_heartbeat()
            .map_or(0, |heartbeat| heartbeat.sequence);
        self.await_heartbeat("a heartbeat", |heartbeat| heartbeat.sequence > last)
    }

    /// Waits until each thread has taken a turn from now on, and so knows what runs.
    pub fn await_turns(&self) {
        let now_ms = self.next_heartbeat().uptime_ms;
        self.await_heartbeat("each thread has taken a turn", |heartbeat| {
            let age_ms = heartbeat.progress_age_ms.unwrap_or(u64::MAX);
            heartbeat.uptime_ms.saturating_sub(age_ms) > now_ms
        });
    }

    fn last_heartbeat(&self) -> Option<Heartbeat> {
        let heard = self.heard.lock().unwrap();
        heard.iter().rev().find_map(|message| match message {
            GuestMessage::Heartbeat(heartbeat) => Some(heartbeat.clone()),
            _ => None,
        })
    }

    /// Whether this was heard.
    pub fn has_heard(&self, what: impl Fn(&GuestMessage) -> bool) -> bool {
        self.heard.lock().unwrap().iter().any(what)
    }

    /// Where clients reach the balancer.
    pub fn front(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.options.front.unwrap_or(Ipv4Addr::LOCALHOST), 80)
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the child was not waited for, so the number is still its own.
        unsafe { libc::kill(self.process.id().cast_signed(), signal) };
    }

    /// Waits for the process's end.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the process ends", || self.process.try_wait().unwrap())
    }

    /// Bytes of memory that are resident.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib * 1024
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn listen(stream: &UnixStream, heard: &Arc<Mutex<Vec<GuestMessage>>>) {
    let (reader, heard) = (
        BufReader::new(stream.try_clone().unwrap()),
        Arc::clone(heard),
    );
    std::thread::spawn(move || {
        for line in reader.lines().map_while(Result::ok) {
            let message = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("a torn line ({error}): {line}"));
            heard.lock().unwrap().push(message);
        }
    });
}

/// Starts the balancer with one end of its channel.
pub fn spawn(option: &str, end: &OwnedFd, options: &Options) -> Child {
    let number = end.as_raw_fd();
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel-balancer"));
    let threads = options.threads.unwrap_or(2);
    if options.supervised {
        command.arg("supervise");
    }
    command
        .args(["run", option, &number.to_string(), "--owner", "test"])
        .args(["--threads", &threads.to_string()]);
    if let Some(path) = &options.config_file {
        command.arg("--config-file").arg(path);
    }
    let log = options.log.as_ref().map(|log| log.as_raw_fd());
    if let Some(log) = log {
        command.args(["--log-fd", &log.to_string()]);
    }
    let open_files = options.open_files;
    // SAFETY: between fork and exec only calls that are safe there are made.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::fcntl(number, libc::F_SETFD, 0);
            if let Some(log) = log {
                libc::fcntl(log, libc::F_SETFD, 0);
            }
            if let Some(most) = open_files {
                let limit = libc::rlimit {
                    rlim_cur: most,
                    rlim_max: most,
                };
                libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
            }
            Ok(())
        });
    }
    command.spawn().unwrap()
}
