//! Clients that ask a URL at a rate, which can change while they ask, and that follow DNS as its TTL says.
//!
//! Each request has a connection of its own. What is due while a client still waits for an answer is not made up for,
//! so a service that falls behind is asked for less, which [`Crowd::answered`] shows.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread::{Scope, sleep};
use std::time::{Duration, Instant};

use crate::client::{get, resolve};

/// How long an answer of DNS is used.
pub const TTL: Duration = Duration::from_secs(1);
/// Clients, each with one request at a time.
const CLIENTS: u32 = 32;
/// For an answer. A request that waits for longer is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Many clients of one URL.
pub struct Crowd {
    url: String,
    /// Requests in a second, of all of them.
    rate: AtomicU32,
    ends: AtomicBool,
    known: RwLock<Vec<SocketAddr>>,
    answered: AtomicUsize,
    /// When a request began that failed, and how.
    lost: Mutex<Vec<(Instant, String)>>,
}

impl Crowd {
    /// Nobody asks before [`Self::begin`].
    #[must_use]
    pub fn new(url: &str, rate: u32) -> Self {
        Self {
            url: url.to_owned(),
            rate: AtomicU32::new(rate),
            ends: AtomicBool::new(false),
            known: RwLock::default(),
            answered: AtomicUsize::new(0),
            lost: Mutex::default(),
        }
    }

    /// Begins to ask, on threads of the scope's.
    pub fn begin<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        self.look_up();
        scope.spawn(|| self.follow());
        for client in 0..CLIENTS {
            scope.spawn(move || self.ask_again_and_again(client));
        }
    }

    /// Asks so many times in a second from now on.
    pub fn set_rate(&self, rate: u32) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Has everybody stop.
    pub fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// Requests that were answered until now.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// How those requests failed that began within a span.
    #[must_use]
    pub fn lost(&self, from: Instant, to: Instant) -> Vec<String> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let within = lost.iter().filter(|(at, _)| (from..to).contains(at));
        within.map(|(_, how)| how.clone()).collect()
    }

    fn has_ended(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    fn follow(&self) {
        while !self.has_ended() {
            sleep(TTL);
            self.look_up();
        }
    }

    /// A name that has no address leaves everybody without one, and each request is lost.
    fn look_up(&self) {
        let found = resolve(&self.url).unwrap_or_default();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = found;
    }

    fn ask_again_and_again(&self, client: u32) {
        let pause =
            || Duration::from_secs(CLIENTS.into()) / self.rate.load(Ordering::Relaxed).max(1);
        let mut due = Instant::now() + pause() / CLIENTS * client;
        for turn in 0_usize.. {
            while Instant::now() < due && !self.has_ended() {
                sleep(due.saturating_duration_since(Instant::now()).min(TTL));
            }
            if self.has_ended() {
                break;
            }
            let began = Instant::now();
            match self.ask(turn + client as usize) {
                Ok(()) => drop(self.answered.fetch_add(1, Ordering::Relaxed)),
                Err(error) => {
                    let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
                    lost.push((began, error.to_string()));
                }
            }
            due = (due + pause()).max(Instant::now());
        }
    }

    fn ask(&self, turn: usize) -> Result<()> {
        let address = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.get(turn % known.len().max(1)).copied()
        };
        let address = address.ok_or_else(|| Error::other("the name has no address"))?;
        let asked = get(&self.url, address, PATIENCE);
        asked.map_err(|error| Error::other(format!("{address}: {error}")))
    }
}
