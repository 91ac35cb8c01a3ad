//! Accepting connections, and the control thread's orders about it.

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use model::TrafficType;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags};

use super::client::{Client, Session};
use super::http::HttpSession;
use super::peer::{Peer, Step};
use super::slots::Key;
use super::tcp::TcpSession;
use super::wheel::Timer;
use super::wire::{Wire, retrying};
use super::worker::{LISTENER, Worker};
use crate::shared::Order;
use crate::statistics::add;

/// Connections accepted in one turn.
const ACCEPTS: usize = 128;
/// Connections accepted from a socket before it is closed.
const LAST_ACCEPTS: usize = 4096;
/// Milliseconds for which nothing is accepted when there are no descriptors left.
const PAUSE_MS: u64 = 50;
/// Milliseconds for which connections without a request stay open when the thread is to leave: a request
/// that is on its way then is answered, with the word that its connection closes.
const IDLE_GRACE_MS: u64 = 1_000;
/// What the balancer's own connection is told when it carries no HTTP.
pub const GREETING: &[u8] = b"evenkeel\n";

impl Worker {
    pub(super) fn take_orders(&mut self) {
        let Some(desk) = self.context.shared.threads.get(self.context.thread) else {
            return;
        };
        for order in desk.take_orders() {
            match order {
                Order::Listen(listener) => {
                    self.stop_listening();
                    self.listen(listener);
                }
                Order::Leave { within_ms } => self.leave(within_ms),
            }
        }
    }

    fn listen(&mut self, listener: OwnedFd) {
        let data = EventData::new_u64(LISTENER);
        let added = epoll::add(self.context.epoll(), &listener, data, EventFlags::IN);
        self.listener = added.is_ok().then_some(listener);
    }

    /// Takes in what already waits to be accepted, which closing would reset, and closes.
    fn stop_listening(&mut self) {
        if self.listener.is_some() {
            self.accept_up_to(LAST_ACCEPTS);
        }
        self.listener = None;
        self.accept_at = None;
    }

    fn leave(&mut self, within_ms: u64) {
        self.stop_listening();
        self.context.leaving = true;
        self.leave_by = Some(self.context.now.saturating_add(within_ms));
        self.close_idle_at = Some(self.context.now.saturating_add(IDLE_GRACE_MS));
    }

    /// Closes the connections of clients that ask for nothing. A request that came just now is answered,
    /// and its connection closes with that answer.
    pub(super) fn close_idle(&mut self) {
        if self.close_idle_at.is_none_or(|at| self.context.now < at) {
            return;
        }
        self.close_idle_at = None;
        let idle: Vec<Key> = self
            .clients
            .keys()
            .filter(|&key| self.clients.get(key).is_some_and(Client::asks_nothing))
            .collect();
        for key in idle {
            self.remove(key);
        }
    }

    /// Whether the thread was told to leave, and nothing holds it.
    pub(super) fn may_leave(&self) -> bool {
        self.leave_by
            .is_some_and(|by| self.clients.is_empty() || self.context.now >= by)
    }

    pub(super) fn accept(&mut self) {
        if self.accept_at.is_none() {
            self.accept_up_to(ACCEPTS);
        }
    }

    fn accept_up_to(&mut self, most: usize) {
        for _ in 0..most {
            let Some(listener) = &self.listener else {
                return;
            };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match retrying(|| rustix::net::acceptfrom_with(listener, flags)) {
                Ok((socket, Some(address))) => self.admit(socket, address),
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    return self.pause_accepting();
                }
                Err(Errno::AGAIN) => return,
                // A connection that was broken off before it was accepted.
                Ok((_, None)) | Err(_) => {}
            }
        }
    }

    /// The kernel would say again and again that a connection waits, for which there is no descriptor.
    fn pause_accepting(&mut self) {
        if let Some(listener) = &self.listener {
            let data = EventData::new_u64(LISTENER);
            let _ = epoll::modify(
                self.context.epoll(),
                listener.as_fd(),
                data,
                EventFlags::empty(),
            );
            self.accept_at = Some(self.context.now + PAUSE_MS);
        }
    }

    pub(super) fn resume_accepting(&mut self) {
        if self.accept_at.is_none_or(|at| self.context.now < at) {
            return;
        }
        self.accept_at = None;
        if let Some(listener) = &self.listener {
            let data = EventData::new_u64(LISTENER);
            let _ = epoll::modify(self.context.epoll(), listener.as_fd(), data, EventFlags::IN);
        }
    }

    fn admit(&mut self, socket: OwnedFd, address: SocketAddrAny) {
        let Ok(address) = SocketAddrV4::try_from(address) else {
            return;
        };
        let own = self.is_own(address);
        let traffic = self.context.snapshot.traffic;
        if own && traffic == TrafficType::Tcp {
            let _ = Wire::ready(socket).send([GREETING, b""], true);
            return;
        }
        if !own {
            let counters = self.context.counters();
            add(&counters.connections, 1);
            add(&counters.open_connections, 1);
        }
        let key = self.clients.insert_with(|key| Client {
            peer: Peer {
                key,
                wire: Wire::ready(socket),
                address,
                own,
                timer: Timer::default(),
                at_the_latest: u64::MAX,
            },
            session: Session::Http(HttpSession::default()),
            unwatched: false,
        });
        match traffic {
            TrafficType::Http => self.begin_http(key),
            TrafficType::Tcp => self.begin_tcp(key),
        }
    }

    fn begin_http(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            let wait_ms = self.context.snapshot.timeouts.request_head_ms;
            client.peer.expect_within(wait_ms, &mut self.context);
        }
        // The request is often there already: it is read before any event is asked for.
        self.drive(key);
    }

    fn begin_tcp(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            let (session, step) = TcpSession::begin(&mut client.peer, &mut self.context);
            client.session = Session::Tcp(Box::new(session));
            let fate = client.conclude(step, &mut self.context);
            debug_assert_ne!(step, Step::Tunnel, "only an exchange becomes a tunnel");
            self.settle(key, fate);
        }
    }

    /// Whether the connection comes from the balancer itself: nobody else can have that port.
    fn is_own(&self, address: SocketAddrV4) -> bool {
        let own_port = self.context.shared.own_port.load(Ordering::Acquire);
        own_port != 0 && address.port() == own_port && {
            let own_address = *crate::shared::lock(&self.context.shared.own_address);
            own_address == Some(*address.ip())
        }
    }
}
