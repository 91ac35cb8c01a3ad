//! Clients that ask a URL at a rate, which can change while they ask, and that follow DNS as its TTL says.
//!
//! Each request has a connection of its own. What is due while a client still waits for an answer is not made up for,
//! so a service that falls behind is asked for less, which [`Crowd::answered`] shows.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{Scope, sleep};
use std::time::{Duration, Instant};

use crate::client::{get, resolve};

/// How long an answer of DNS is used.
pub const TTL: Duration = Duration::from_secs(1);
/// Clients, each with one request at a time.
const CLIENTS: u32 = 32;
/// For an answer. A request that waits for longer is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// One request that was answered whole.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// When it was sent, or as soon as it was tried to.
    pub began: Instant,
    /// From then to the answer's last byte, the connection included.
    pub took: Duration,
}

/// Many clients of one URL.
pub struct Crowd {
    url: String,
    /// Requests in a second, of all of them.
    rate: AtomicU32,
    ends: AtomicBool,
    known: RwLock<Vec<SocketAddr>>,
    answers: Mutex<Vec<Answer>>,
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
            answers: Mutex::default(),
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
        self.lock_answers().len()
    }

    /// The answers to those requests that began within a span.
    #[must_use]
    pub fn answers(&self, from: Instant, to: Instant) -> Vec<Answer> {
        let answers = self.lock_answers();
        let within = answers
            .iter()
            .filter(|answer| (from..to).contains(&answer.began));
        within.copied().collect()
    }

    /// Addresses that clients know at present.
    #[must_use]
    pub fn known(&self) -> usize {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    fn lock_answers(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
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
                Ok(()) => {
                    let took = began.elapsed();
                    self.lock_answers().push(Answer { began, took });
                }
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
