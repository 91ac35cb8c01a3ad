//! Accepting connections, and the control thread's orders about it.

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use model::TrafficType;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::client::{Client, Fate, Session};
use super::listener::await_first_bytes;
use super::peer::{Peer, Step};
use super::slots::Key;
use super::wheel::Timer;
use super::wire::{Wire, retrying};
use super::worker::{LISTENER, Worker};
use crate::shared::{Leave, Order};
use crate::snapshot::Snapshot;
use crate::statistics::add;

/// Connections accepted in one turn.
const ACCEPTS: usize = 128;
/// One connection is accepted for so many events of a turn, and at least one.
const ACCEPT_SHARE: usize = 4;
/// Connections accepted from a socket before it is closed.
const LAST_ACCEPTS: usize = 4096;
/// Milliseconds for which nothing is accepted when there are no descriptors left.
const PAUSE_MS: u64 = 50;
/// Milliseconds for which connections without a request stay open when the thread is to leave: a request
/// that is on its way then is answered, with the word that its connection closes.
const IDLE_GRACE_MS: u64 = 1_000;
/// Milliseconds after which the kernel has asked each client that said nothing whether it is there, and has
/// made its connection.
const FIRST_BYTES_MS: u64 = 1_200;
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
                    self.empty_backlog();
                    self.stop_listening();
                    self.listen(listener);
                }
                Order::Drain => self.drain(),
                Order::Leave(leave) => self.leave(leave),
            }
        }
    }

    fn listen(&mut self, listener: OwnedFd) {
        let data = EventData::new_u64(LISTENER);
        let added = epoll::add(self.context.epoll(), &listener, data, EventFlags::IN);
        self.listener = added.is_ok().then_some(listener);
        self.adapt_listener();
    }

    /// Has connections accepted as suits what they carry.
    pub(super) fn adapt_listener(&mut self) {
        if let Some(listener) = &self.listener {
            let client_begins = self.context.snapshot.traffic == TrafficType::Http;
            self.defers |= client_begins;
            await_first_bytes(listener, client_begins && !self.context.leaving);
        }
    }

    /// Takes in what already waits to be accepted, which closing would reset.
    fn empty_backlog(&mut self) {
        self.accept_up_to(LAST_ACCEPTS);
    }

    /// Closes the listening socket. Another process may hold it too: closing alone would then leave it in
    /// the kernel's list, and its events would go on to come here.
    fn stop_listening(&mut self) {
        if let Some(listener) = self.listener.take() {
            let _ = epoll::delete(self.context.epoll(), &listener);
        }
        self.note_room(true);
        self.accept_at = None;
        self.defers = false;
    }

    fn leave(&mut self, leave: Leave) {
        self.context.leaving = true;
        self.leave_by = Some(self.context.now.saturating_add(leave.within_ms));
        if leave.has_successor {
            self.end_listening();
        } else {
            // Those that were made and said nothing so far are accepted before the socket closes, too.
            self.adapt_listener();
            let closes_at = self.context.now.saturating_add(FIRST_BYTES_MS);
            self.close_listener_at = self.defers.then_some(closes_at);
            if !self.defers {
                self.take_last();
            }
        }
    }

    /// Closes the listening socket when it is time to.
    pub(super) fn close_listener(&mut self) {
        if self
            .close_listener_at
            .is_some_and(|at| self.context.now >= at)
        {
            self.close_listener_at = None;
            self.take_last();
        }
    }

    fn take_last(&mut self) {
        self.empty_backlog();
        self.close_idle_at = Some(self.context.now.saturating_add(IDLE_GRACE_MS));
        self.end_listening();
    }

    fn end_listening(&mut self) {
        self.stop_listening();
        if let Some(desk) = self.context.shared.threads.get(self.context.thread) {
            desk.has_left.store(true, Ordering::Release);
        }
    }

    /// Closes the connections of clients that ask for nothing. A request that came just now is answered,
    /// and its connection closes with that answer.
    pub(super) fn close_idle(&mut self) {
        if self.close_idle_at.is_none_or(|at| self.context.now < at) {
            return;
        }
        // An answer that is under way now may still promise its connection a further request.
        self.close_idle_at = Some(self.context.now.saturating_add(IDLE_GRACE_MS));
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
        let is_empty = self.clients.is_empty() && self.close_listener_at.is_none();
        self.leave_by
            .is_some_and(|by| is_empty || self.context.now >= by)
    }

    /// Accepts some of those that wait, as many as the turn's load leaves room for. To ask until there are
    /// none costs more than to be told of the next: the kernel makes a whole socket before it says so.
    pub(super) fn accept(&mut self, events: usize) {
        if self.accept_at.is_none() {
            self.accept_up_to((events / ACCEPT_SHARE).clamp(1, ACCEPTS));
        }
    }

    fn accept_up_to(&mut self, most: usize) {
        for _ in 0..most {
            let Some(listener) = &self.listener else {
                return;
            };
            let connections = &self.context.shared.connections;
            let places = self.context.snapshot.edge.connections;
            if places.is_some_and(|most| !connections.enter(most)) {
                return self.note_room(false);
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let accepted = retrying(|| rustix::net::acceptfrom_with(listener, flags));
            let address = match &accepted {
                Ok((_, Some(address))) => SocketAddrV4::try_from(address.clone()).ok(),
                _ => None,
            };
            if address.is_none() && places.is_some() {
                self.context.free_place();
            }
            match (accepted, address) {
                (Ok((socket, _)), Some(address)) => self.admit(socket, address, places.is_some()),
                (Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM), _) => {
                    return self.pause_accepting();
                }
                (Err(Errno::AGAIN), _) => break,
                // A connection that was broken off before it was accepted.
                (Ok(_) | Err(_), _) => {}
            }
        }
        self.note_room(true);
    }

    /// Whether there is room for another connection. As long as there is none, those that come wait to be
    /// accepted.
    fn note_room(&mut self, room: bool) {
        if self.waits_for_room != room {
            return;
        }
        self.waits_for_room = !room;
        self.context.shared.connections.note_full(!room);
        if self.accept_at.is_none() {
            self.watch_listener(room);
        }
    }

    /// Goes on accepting when there is room again.
    pub(super) fn seek_room(&mut self) {
        if self.waits_for_room {
            self.accept(ACCEPTS * ACCEPT_SHARE);
        }
    }

    fn watch_listener(&self, watch: bool) {
        let flags = match watch {
            true => EventFlags::IN,
            false => EventFlags::empty(),
        };
        if let Some(listener) = &self.listener {
            let data = EventData::new_u64(LISTENER);
            let _ = epoll::modify(self.context.epoll(), listener.as_fd(), data, flags);
        }
    }

    /// The kernel would say again and again that a connection waits, for which there is no descriptor.
    fn pause_accepting(&mut self) {
        self.watch_listener(false);
        self.accept_at = Some(self.context.now + PAUSE_MS);
    }

    pub(super) fn resume_accepting(&mut self) {
        if self.accept_at.is_none_or(|at| self.context.now < at) {
            return;
        }
        self.accept_at = None;
        self.watch_listener(!self.waits_for_room);
    }

    pub(super) fn admit(&mut self, socket: OwnedFd, address: SocketAddrV4, counted: bool) {
        let from_checker = self.context.snapshot.edge.checker == Some(*address.ip());
        let own = from_checker || self.is_own(address);
        if own && counted {
            self.context.free_place();
        }
        if own && self.context.snapshot.traffic == TrafficType::Tcp {
            // To the checker its connection is the answer, and is closed with this.
            if !from_checker {
                let _ = Wire::ready(socket).send([GREETING, b""], true);
            }
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
                counted: counted && !own,
                counted_client: false,
                trusted: false,
                timer: Timer::default(),
                at_the_latest: u64::MAX,
                moved_in: 0,
                moved_out: 0,
            },
            session: Session::Announced,
            unwatched: false,
            is_ready: false,
        });
        self.begin(key);
    }

    /// What has come of the connection is read at once, before any event is asked for: the request is
    /// often there already.
    fn begin(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let step = if client.is_announced(&self.context) {
            let wait_ms = self.context.snapshot.timeouts.request_head_ms;
            client.peer.expect_within(wait_ms, &mut self.context);
            Step::Again
        } else {
            client.welcome(&mut self.context, &mut self.scratch)
        };
        match client.conclude(step, &mut self.context) {
            Fate::Ready => self.drive(key),
            fate => self.settle(key, fate),
        }
    }

    /// Takes in what a new configuration says of connections that are open already.
    pub(super) fn reassess(&mut self, before: &Snapshot) {
        let counts = |snapshot: &Snapshot| {
            let edge = &snapshot.edge;
            let each = edge.connections_per_client.is_some();
            (edge.connections.is_some(), each)
        };
        let now = &*self.context.snapshot;
        let (old, new) = (&before.policy.forwarding, &now.policy.forwarding);
        if counts(before) == counts(now) && old.trusted_proxies == new.trusted_proxies {
            return;
        }
        let keys: Vec<Key> = self.clients.keys().collect();
        for key in keys {
            if let Some(client) = self.clients.get_mut(key) {
                client.count(&self.context);
                client.judge_trust(&self.context);
            }
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
