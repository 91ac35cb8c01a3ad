//! The proxies: each started with the configuration that suits it best, on the cores that it is given, and
//! asked for every body before anything is measured.

mod evenkeel;
mod haproxy;
mod nginx;
mod preflight;

use std::cell::Cell;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::host;
use crate::measure::{Meter, family};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Ours.
    Evenkeel,
    /// Ours once more, as if it were a peer: how far two runs of the same program lie apart.
    EvenkeelAgain,
    /// An older build of ours, where one was given.
    EvenkeelBefore,
    /// Debian's HAProxy.
    Haproxy,
    /// The same with larger pipes to splice through than it has by itself.
    HaproxyPipes,
    /// Debian's nginx.
    Nginx,
}

impl Kind {
    /// Its name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Evenkeel => "evenkeel",
            Self::EvenkeelAgain => "evenkeel-again",
            Self::EvenkeelBefore => "evenkeel-before",
            Self::Haproxy => "haproxy",
            Self::HaproxyPipes => "haproxy-pipes",
            Self::Nginx => "nginx",
        }
    }
}

/// What a proxy understands of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// HTTP/1.1.
    Http,
    /// Bytes.
    Tcp,
}

/// What a proxy is to be.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// HTTP or TCP.
    pub mode: Mode,
    /// Backends: addresses of the one origin.
    pub backends: usize,
    /// Threads that forward; nginx's are processes.
    pub threads: usize,
}

/// Starts proxies.
pub struct Workshop {
    /// Our program.
    pub balancer: PathBuf,
    /// An older build of it.
    pub before: Option<PathBuf>,
    /// Where configurations and logs go.
    pub directory: PathBuf,
    /// The origin's port, on every loopback address.
    pub origin_port: u16,
    /// Most connections of clients.
    pub connections: usize,
    next_port: Cell<u16>,
}

/// A proxy that runs. It ends when this is dropped, or when the program is gone.
pub struct Proxy {
    /// Which one.
    pub kind: Kind,
    /// Where clients reach it.
    pub front: SocketAddrV4,
    child: Child,
    cores: Vec<usize>,
}

/// All that the configuration of a proxy is made of.
struct Plan<'a> {
    shape: Shape,
    directory: &'a Path,
    front: SocketAddrV4,
    backends: Vec<SocketAddrV4>,
    connections: usize,
}

impl Workshop {
    /// The first port that proxies listen on. Below the ports of connections to somewhere else.
    const FIRST_PORT: u16 = 2_000;

    /// Starts nothing yet.
    pub fn new(
        balancer: PathBuf,
        before: Option<PathBuf>,
        directory: PathBuf,
        origin_port: u16,
        connections: usize,
    ) -> Self {
        Self {
            balancer,
            before,
            directory,
            origin_port,
            connections,
            next_port: Cell::new(Self::FIRST_PORT),
        }
    }

    /// Starts a proxy and waits until it has handed out every body rightly.
    ///
    /// # Errors
    /// When it does not, with what it has written.
    pub fn start(&self, kind: Kind, shape: Shape, cores: &[usize]) -> Result<Proxy> {
        let port = self.next_port.get();
        self.next_port.set(port + 1);
        let directory = self.directory.join(format!("{}-{port}", kind.name()));
        std::fs::create_dir(&directory)?;
        let plan = Plan {
            shape,
            directory: &directory,
            front: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            backends: self.backends(shape.backends)?,
            connections: self.connections,
        };
        let mut command = match kind {
            Kind::Evenkeel | Kind::EvenkeelAgain => evenkeel::command(&self.balancer, &plan)?,
            Kind::EvenkeelBefore => {
                let before = self.before.as_ref().unwrap_or(&self.balancer);
                evenkeel::command(before, &plan)?
            }
            Kind::Haproxy => haproxy::command(&plan, "")?,
            Kind::HaproxyPipes => haproxy::command(&plan, haproxy::LARGE_PIPES)?,
            Kind::Nginx => nginx::command(&plan)?,
        };
        let log = directory.join("log");
        command
            .stdin(std::process::Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?);
        let mut proxy = Proxy {
            kind,
            front: plan.front,
            child: spawn(&mut command, kind, cores)?,
            cores: cores.to_vec(),
        };
        preflight::await_all_bodies(&mut proxy.child, proxy.front).with_context(|| {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            format!("{} does not serve; it has written: {log}", kind.name())
        })?;
        Ok(proxy)
    }

    /// Loopback addresses, all of which are the origin.
    fn backends(&self, count: usize) -> Result<Vec<SocketAddrV4>> {
        (0..count)
            .map(|number| {
                let number = u16::try_from(number)?;
                let [high, low] = number.to_be_bytes();
                let address = Ipv4Addr::new(127, 1, high, low);
                Ok(SocketAddrV4::new(address, self.origin_port))
            })
            .collect()
    }
}

impl Proxy {
    /// Reads what it costs.
    pub fn meter(&self) -> Meter {
        Meter::new(self.processes(), self.cores.clone())
    }

    /// Its processes.
    pub fn processes(&self) -> Vec<u32> {
        family(self.child.id())
    }

    fn end_signal(kind: Kind) -> Signal {
        match kind {
            // Its master ends its workers then, which a killed one cannot.
            Kind::Nginx => Signal::TERM,
            _ => Signal::KILL,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_child(&self.child), Self::end_signal(self.kind));
            let _ = self.child.wait();
        }
    }
}

/// Starts the program on these cores, so that it ends with us.
fn spawn(command: &mut Command, kind: Kind, cores: &[usize]) -> Result<Child> {
    host::confine(command, cores, Proxy::end_signal(kind))
        .spawn()
        .with_context(|| format!("{} cannot be started", kind.name()))
}
