//! Origin and clients, in one thread on one core, in one epoll loop: a context switch between the two for
//! each request would cost more than what either does.
//!
//! The thread serves the origin all the time, since the proxies check it, and works on one order at a time.

mod answer;
mod generator;
mod origin;
mod payload;
mod round;
mod socket;
#[cfg(test)]
mod tests;

pub use generator::{Pace, Workload, Wrong};
pub use payload::{Body, HEALTH_PATH};
pub use round::{Measured, Timing};

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::event::epoll::{self, CreateFlags, Event, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use crate::host;
use crate::measure::Meter;
use generator::Generator;
use origin::Origin;
use round::Round;
use socket::{Role, token, untoken};

/// Bytes of the one buffer that everything is read into.
const SCRATCH_BYTES: usize = 256 << 10;
/// Events taken in one turn.
const MAX_EVENTS: usize = 256;
/// How long the clients that only hold connections may take to connect.
const HOLD_PATIENCE: Duration = Duration::from_secs(30);

enum Order {
    Measure(Workload, Timing, Meter, Sender<Result<Measured>>),
    Hold(Workload, Sender<Result<()>>),
    Release(Sender<Result<()>>),
}

/// The thread that makes load.
pub struct Load {
    orders: Sender<Order>,
    wake: Arc<OwnedFd>,
}

impl Load {
    /// Starts the thread on this core, with the origin on this port.
    pub fn start(core: usize, port: u16) -> Result<Self> {
        let (orders, receiver) = channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let (ready, is_ready) = channel();
        let woken = Arc::clone(&wake);
        std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || match Worker::new(core, port, receiver, woken) {
                Ok(mut worker) => {
                    let _ = ready.send(Ok(()));
                    if let Err(error) = worker.run() {
                        eprintln!("bench-balancer: the load's thread has failed: {error:#}");
                        std::process::exit(70);
                    }
                }
                Err(error) => drop(ready.send(Err(error))),
            })?;
        is_ready
            .recv()
            .context("the load's thread did not start")??;
        Ok(Self { orders, wake })
    }

    /// Runs a workload, and says what it came to.
    ///
    /// # Errors
    /// When anything at all was not as it should be: then there is no figure.
    pub fn measure(&self, workload: Workload, timing: Timing, meter: Meter) -> Result<Measured> {
        self.order(|reply| Order::Measure(workload, timing, meter, reply))
    }

    /// Opens connections that stay until [`Self::release`], each after one request.
    pub fn hold(&self, workload: Workload) -> Result<()> {
        self.order(|reply| Order::Hold(workload, reply))
    }

    /// Closes the connections that were held; an error if one of them did not last.
    pub fn release(&self) -> Result<()> {
        self.order(Order::Release)
    }

    fn order<T>(&self, make: impl FnOnce(Sender<Result<T>>) -> Order) -> Result<T> {
        let (reply, answer) = channel();
        self.orders
            .send(make(reply))
            .map_err(|_| anyhow!("the load's thread is gone"))?;
        rustix::io::write(&*self.wake, &1_u64.to_ne_bytes())?;
        answer.recv().context("the load's thread is gone")?
    }
}

struct Worker {
    epoll: OwnedFd,
    orders: Receiver<Order>,
    wake: Arc<OwnedFd>,
    origin: Origin,
    scratch: Vec<u8>,
    round: Option<(Round, Sender<Result<Measured>>)>,
    held: Option<Generator>,
    /// Who waits for the held connections, and until when.
    holding: Option<(Sender<Result<()>>, Instant)>,
    /// What went wrong with a held connection since it was made.
    lost: Option<Wrong>,
}

impl Worker {
    fn new(core: usize, port: u16, orders: Receiver<Order>, wake: Arc<OwnedFd>) -> Result<Self> {
        host::pin(&[core])?;
        host::hurry();
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &*wake, token(Role::Orders, 0), EventFlags::IN)?;
        let origin = Origin::listen(epoll.as_fd(), port)?;
        Ok(Self {
            epoll,
            orders,
            wake,
            origin,
            scratch: vec![0; SCRATCH_BYTES],
            round: None,
            held: None,
            holding: None,
            lost: None,
        })
    }

    fn run(&mut self) -> Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(MAX_EVENTS);
        loop {
            events.clear();
            let timeout = self.timeout();
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                self.attend(event)?;
            }
            self.go_on();
        }
    }

    /// Waits for events; under a timetable it never does, so that no request is late because of it.
    fn timeout(&self) -> Option<Timespec> {
        let now = Instant::now();
        let wait = match (&self.round, &self.holding) {
            (Some((round, _)), _) => round.wait(now),
            (None, Some((_, until))) => until.saturating_duration_since(now),
            (None, None) => return None,
        };
        Timespec::try_from(wait).ok()
    }

    fn attend(&mut self, event: &Event) -> Result<()> {
        let (epoll, flags) = (self.epoll.as_fd(), event.flags);
        let (role, slot) = untoken(event.data);
        match role {
            Some(Role::Orders) => self.take_orders(),
            Some(Role::Listener) => self.origin.accept(epoll)?,
            Some(Role::Origin) => self.origin.attend(slot, &mut self.scratch),
            Some(Role::Active) => {
                if let Some((round, _)) = &mut self.round {
                    round.attend(slot, flags, epoll, &mut self.scratch);
                }
            }
            Some(Role::Held) => {
                if let Some(held) = &mut self.held
                    && let Err(wrong) = held.attend(slot, flags, epoll, &mut self.scratch)
                {
                    self.lost.get_or_insert(wrong);
                }
            }
            None => {}
        }
        Ok(())
    }

    fn take_orders(&mut self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.wake, &mut count);
        let now = Instant::now();
        while let Ok(order) = self.orders.try_recv() {
            let epoll = self.epoll.as_fd();
            match order {
                Order::Measure(workload, timing, meter, reply) => {
                    match Round::start(workload, timing, meter, epoll, now, self.origin.served) {
                        Ok(round) => self.round = Some((round, reply)),
                        Err(error) => drop(reply.send(Err(error))),
                    }
                }
                Order::Hold(workload, reply) => {
                    self.lost = None;
                    match Generator::start(Role::Held, workload, epoll, now) {
                        Ok(held) => {
                            self.held = Some(held);
                            self.holding = Some((reply, now + HOLD_PATIENCE));
                        }
                        Err(wrong) => drop(reply.send(Err(wrong.into()))),
                    }
                }
                Order::Release(reply) => {
                    self.held = None;
                    let _ = reply.send(match self.lost.take() {
                        Some(wrong) => Err(anyhow!(wrong).context("a connection that was idle")),
                        None => Ok(()),
                    });
                }
            }
        }
    }

    /// Moves on what is under way, and says so where it has ended.
    fn go_on(&mut self) {
        let now = Instant::now();
        if let Some((round, _)) = &mut self.round
            && let Some(outcome) = round.go_on(now, self.origin.served)
            && let Some((_, reply)) = self.round.take()
        {
            let _ = reply.send(outcome);
        }
        if let (Some(held), Some((_, until))) = (&self.held, &self.holding) {
            let outcome = match self.lost.take() {
                Some(wrong) => Some(Err(wrong.into())),
                None if held.all_connected() => Some(Ok(())),
                None if now >= *until => Some(Err(Wrong::Stalled(held.describe()).into())),
                None => None,
            };
            if let Some(outcome) = outcome
                && let Some((reply, _)) = self.holding.take()
            {
                let _ = reply.send(outcome);
            }
        }
    }
}
