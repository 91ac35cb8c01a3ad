//! The balancer's end of the way to its supervisor: what is kept for the process that comes next, and
//! what was kept by the one before.

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::{BackendHealth, BackendStatus, BalancerConfig, Boot};
use rustix::io::Errno;
use serde_json::{from_slice, to_vec};

use super::channel::take_descriptor;
use crate::supervisor::link::{Found, Link};
use crate::supervisor::message::Message;
use crate::supervisor::store::{bytes_of, descriptor_of};

const LISTENERS: &str = "listeners";
const BOOT: &str = "boot";
const CONFIG: &str = "config";
const VERDICTS: &str = "verdicts";
const TOKEN: &str = "token";

/// What another process kept for this one, as far as it is understood.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// Listening sockets with their addresses.
    pub listeners: Vec<(SocketAddrV4, OwnedFd)>,
    /// Who this VM is.
    pub boot: Option<Boot>,
    /// What was balanced.
    pub config: Option<BalancerConfig>,
    /// How the backends were.
    pub verdicts: Vec<(SocketAddrV4, BackendHealth)>,
    /// By what the balancer's own requests are known.
    pub token: Option<String>,
}

impl Inheritance {
    /// Takes one thing in. What cannot be understood is left out, as if it had never been kept.
    fn add(&mut self, name: &str, mut descriptors: Vec<OwnedFd>) {
        if name == LISTENERS {
            let named = descriptors.into_iter().filter_map(|socket| {
                let address = rustix::net::getsockname(&socket).ok()?;
                Some((SocketAddrV4::try_from(address).ok()?, socket))
            });
            self.listeners = named.collect();
            return;
        }
        let Some(bytes) = descriptors.pop().and_then(|kept| bytes_of(kept).ok()) else {
            return;
        };
        match name {
            BOOT => self.boot = from_slice(&bytes).ok(),
            CONFIG => self.config = from_slice(&bytes).ok(),
            TOKEN => self.token = String::from_utf8(bytes).ok(),
            VERDICTS => {
                let told: Vec<BackendStatus> = from_slice(&bytes).unwrap_or_default();
                let verdict =
                    |told: BackendStatus| (SocketAddrV4::new(told.address, told.port), told.health);
                self.verdicts = told.into_iter().map(verdict).collect();
            }
            _ => {}
        }
    }
}

/// What the supervisor asks for.
#[derive(Debug)]
pub enum Request {
    /// Take connections. The text, if there is any, is for the log; what was kept since comes first.
    Serve(String, Box<Inheritance>),
    /// Take none any more.
    Leave,
    /// So many processes before this one have yet to end their last connections.
    NoteLeaving(usize),
}

/// The way to the supervisor.
#[derive(Debug)]
pub struct Supervision {
    link: Link,
    /// Whether this process is the one whose things are kept.
    keeps: bool,
    /// Whether something could not be kept, and is to be kept later.
    owes: bool,
    news: Inheritance,
}

impl Supervision {
    /// Takes over the descriptor that the supervisor left open, and all that was kept.
    ///
    /// # Errors
    /// When there is no such descriptor, or the supervisor has gone.
    pub fn begin(number: i32) -> std::io::Result<(Self, Inheritance)> {
        let link = Link::over(take_descriptor(number)?)?;
        let mut kept = Inheritance::default();
        loop {
            match link.wait()? {
                Found::Packet(Message::Keep(name), descriptors) => kept.add(&name, descriptors),
                Found::Packet(Message::Begin, _) => break,
                Found::Packet(..) | Found::Nothing => {}
                Found::End => return Err(std::io::Error::other("the supervisor has gone")),
            }
        }
        let supervision = Self {
            link,
            keeps: false,
            owes: false,
            news: Inheritance::default(),
        };
        Ok((supervision, kept))
    }

    /// What the supervisor asks for next.
    pub fn next(&mut self) -> Option<Request> {
        loop {
            match self.link.receive() {
                Ok(Found::Packet(Message::Keep(name), descriptors)) => {
                    self.news.add(&name, descriptors);
                }
                Ok(Found::Packet(Message::Serve(text), _)) => {
                    self.keeps = true;
                    let news = std::mem::take(&mut self.news);
                    return Some(Request::Serve(text, Box::new(news)));
                }
                Ok(Found::Packet(Message::Leaving(count), _)) => {
                    return Some(Request::NoteLeaving(count));
                }
                Ok(Found::Packet(Message::Leave, _)) => {
                    self.keeps = false;
                    return Some(Request::Leave);
                }
                Ok(Found::Packet(..)) => {}
                Ok(Found::Nothing | Found::End) | Err(_) => return None,
            }
        }
    }

    /// Says how far this process is.
    pub fn say(&self, message: &Message) {
        // A supervisor that is not there any more has taken this process along.
        let _ = self.link.send(message, &[]);
    }

    /// Has listening sockets kept, in the place of those before.
    pub fn keep_listeners(&mut self, listeners: &[OwnedFd]) {
        let listeners: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
        self.keep(LISTENERS, &listeners);
    }

    /// Has kept who this VM is.
    pub fn keep_boot(&mut self, boot: &Boot) {
        self.keep_bytes(BOOT, to_vec(boot));
    }

    /// Has kept what is balanced.
    pub fn keep_config(&mut self, config: &BalancerConfig) {
        self.keep_bytes(CONFIG, to_vec(config));
    }

    /// Has kept how the backends are.
    pub fn keep_verdicts(&mut self, backends: &[BackendStatus]) {
        self.keep_bytes(VERDICTS, to_vec(backends));
    }

    /// Has kept by what the balancer's own requests are known.
    pub fn keep_token(&mut self, token: &str) {
        self.keep_bytes(TOKEN, Ok(token.as_bytes().to_vec()));
    }

    /// Whether something could not be kept since this was asked last.
    pub fn owes(&mut self) -> bool {
        std::mem::take(&mut self.owes)
    }

    fn keep_bytes(&mut self, name: &str, bytes: serde_json::Result<Vec<u8>>) {
        if !self.keeps {
            return;
        }
        let kept = bytes
            .map_err(std::io::Error::from)
            .and_then(|bytes| descriptor_of(name, &bytes));
        match kept {
            Ok(kept) => self.keep(name, &[kept.as_fd()]),
            Err(_) => self.owes = true,
        }
    }

    fn keep(&mut self, name: &str, descriptors: &[BorrowedFd<'_>]) {
        if self.keeps {
            let sent = self.link.send(&Message::Keep(name.to_owned()), descriptors);
            self.owes |= !matches!(sent, Ok(()) | Err(Errno::TOOBIG));
        }
    }
}

impl AsFd for Supervision {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}
