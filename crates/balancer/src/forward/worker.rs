//! One forwarding thread: waits for events, and gives each connection its turn.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::client::{Client, Fate};
use super::context::{Context, Scratch, tag};
use super::slots::{Key, Slots};
use super::wheel::Fired;
use super::wire::Received;
use crate::shared::Shared;

/// Events taken from the kernel in one turn.
const EVENTS: usize = 512;
/// Milliseconds until the events of a connection that began with a request are delivered.
const UNWATCHED_MS: u64 = 20;
/// The longest sleep, in milliseconds.
const SLEEP_MS: u64 = 10_000;

const WAKE: u64 = 0;
pub(super) const LISTENER: u64 = 1;

/// One forwarding thread.
pub struct Worker {
    pub(super) context: Context,
    pub(super) scratch: Scratch,
    pub(super) clients: Slots<Client>,
    pub(super) listener: Option<OwnedFd>,
    /// When accepting goes on, while it is paused.
    pub(super) accept_at: Option<u64>,
    /// Whether there are as many connections as there may be, so that none is accepted.
    pub(super) waits_for_room: bool,
    ready: Vec<Key>,
    spare_keys: Vec<Key>,
    unwatched: Vec<Key>,
    watch_at: u64,
    epoch: Option<u64>,
    pub(super) leave_by: Option<u64>,
    /// Whether connections may wait to be accepted until their first bytes come.
    pub(super) defers: bool,
    /// When the listening socket is closed, once the thread is to leave.
    pub(super) close_listener_at: Option<u64>,
    /// When connections without a request are closed, once the thread is to leave.
    pub(super) close_idle_at: Option<u64>,
}

impl Worker {
    /// A thread that listens nowhere yet.
    ///
    /// # Errors
    /// When the kernel gives no epoll descriptor.
    pub fn new(thread: usize, shared: &Arc<Shared>, seed: u64) -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        if let Some(desk) = shared.threads.get(thread) {
            let data = EventData::new_u64(WAKE);
            epoll::add(&epoll, desk.wake_fd(), data, EventFlags::IN)?;
        }
        Ok(Self {
            context: Context::new(thread, Arc::clone(shared), epoll, seed),
            scratch: Scratch::default(),
            clients: Slots::default(),
            listener: None,
            accept_at: None,
            waits_for_room: false,
            ready: Vec::new(),
            spare_keys: Vec::new(),
            unwatched: Vec::new(),
            watch_at: 0,
            epoch: None,
            leave_by: None,
            defers: false,
            close_listener_at: None,
            close_idle_at: None,
        })
    }

    /// Runs until it is told to leave and has left.
    ///
    /// # Errors
    /// When waiting for events fails, which leaves nothing that a thread could do.
    pub fn run(mut self) -> Result<(), Errno> {
        let mut events = [Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(WAKE),
        }; EVENTS];
        while !self.may_leave() {
            let sleep = timespec(self.sleep_ms());
            let count = match epoll::wait(self.context.epoll(), &mut events[..], Some(&sleep)) {
                Err(Errno::INTR) => 0,
                other => other?,
            };
            self.turn(events.get(..count).unwrap_or_default());
        }
        self.end();
        Ok(())
    }

    /// The thread has left: breaks off what is left, and passes on slots that were granted to it. No further
    /// one can come, since none of its connections stands in the line any more.
    fn end(&mut self) {
        let left: Vec<Key> = self.clients.keys().collect();
        for key in left {
            self.remove(key);
        }
        self.take_grants();
    }

    fn sleep_ms(&self) -> u64 {
        if !self.ready.is_empty() {
            return 0;
        }
        let mut sleep = self
            .context
            .wheel
            .sleep_ms(self.context.now)
            .unwrap_or(SLEEP_MS);
        if !self.unwatched.is_empty() {
            sleep = sleep.min(UNWATCHED_MS);
        }
        let look_at = self.context.backends.look_at();
        let due = [
            self.accept_at,
            self.leave_by,
            self.close_listener_at,
            self.close_idle_at,
            look_at,
        ];
        for at in due.into_iter().flatten() {
            sleep = sleep.min(at.saturating_sub(self.context.now));
        }
        sleep.min(SLEEP_MS)
    }

    fn turn(&mut self, events: &[Event]) {
        self.context.take_time();
        let has_changed = self.renew_snapshot();
        // Connections that ended while they were idle go first, so that none is used in this turn.
        for event in events {
            self.note_idle_upstream(*event);
        }
        if has_changed {
            self.review_waiters();
            self.cut_off_overdue();
        }
        for event in events {
            self.dispatch(*event, events.len());
        }
        self.drive_ready();
        self.watch_unwatched();
        self.resume_accepting();
        self.seek_room();
        self.close_listener();
        self.close_idle();
        self.fire_timers();
        self.context.tell_requests_each_second();
        if let Some(desk) = self.context.shared.threads.get(self.context.thread) {
            desk.last_turn_ms.store(self.context.now, Ordering::Relaxed);
        }
    }

    /// Takes the newest snapshot in, if anything has changed since.
    fn renew_snapshot(&mut self) -> bool {
        let epoch = self.context.shared.epoch();
        let now = self.context.now;
        let look_at = self.context.backends.look_at();
        if self.epoch == Some(epoch) && look_at.is_none_or(|at| now < at) {
            return false;
        }
        self.epoch = Some(epoch);
        let newest = self.context.shared.snapshot();
        let before = std::mem::replace(&mut self.context.snapshot, newest);
        self.context.logs =
            self.context.snapshot.edge.logs && self.context.shared.logs.load(Ordering::Relaxed);
        if before.traffic != self.context.snapshot.traffic {
            self.adapt_listener();
        }
        self.reassess(&before);
        for orphan in self.context.backends.renew(&self.context.snapshot, now) {
            self.context.upstreams.remove(orphan);
        }
        true
    }

    fn note_idle_upstream(&mut self, event: Event) {
        let (key, tag) = Key::unpack(event.data.u64());
        if tag != tag::UPSTREAM {
            return;
        }
        let flags = event.flags;
        let Some(upstream) = self.context.upstreams.get_mut(key) else {
            return;
        };
        let has_something = flags
            .intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let is_idle = upstream.owner.is_none();
        if is_idle && has_something && upstream.wire.peek() != Received::Blocked {
            self.context.discard_idle_upstream(key);
        }
    }

    fn dispatch(&mut self, event: Event, events: usize) {
        let (data, flags) = (event.data.u64(), event.flags);
        match data {
            WAKE => {
                self.take_orders();
                self.take_grants();
            }
            LISTENER => self.accept(events),
            _ => match Key::unpack(data) {
                (key, tag::CLIENT) => {
                    if let Some(client) = self.clients.get_mut(key) {
                        client.note(flags);
                        self.drive(key);
                    }
                }
                (key, _) => {
                    let Some(upstream) = self.context.upstreams.get_mut(key) else {
                        return;
                    };
                    if let Some(owner) = upstream.owner {
                        upstream.wire.note(flags);
                        self.drive(owner);
                    }
                }
            },
        }
    }

    pub(super) fn drive(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            let fate = client.drive(&mut self.context, &mut self.scratch);
            self.settle(key, fate);
        }
    }

    pub(super) fn settle(&mut self, key: Key, fate: Fate) {
        match fate {
            Fate::Waits => {}
            Fate::WaitsUnwatched => {
                if self.unwatched.is_empty() {
                    self.watch_at = self.context.now + UNWATCHED_MS;
                }
                self.unwatched.push(key);
            }
            Fate::Ready => self.make_ready(key),
            Fate::Ended => self.remove(key),
        }
    }

    /// Gives a connection one further turn, however often that is said.
    fn make_ready(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key)
            && !std::mem::replace(&mut client.is_ready, true)
        {
            self.ready.push(key);
        }
    }

    pub(super) fn remove(&mut self, key: Key) {
        if let Some(mut client) = self.clients.remove(key) {
            client.end(&mut self.context);
        }
        debug_assert!(
            !self.clients.is_empty() || self.context.buffers.waiting() == 0,
            "bytes wait for nobody"
        );
    }

    fn drive_ready(&mut self) {
        let mut turn = std::mem::take(&mut self.spare_keys);
        std::mem::swap(&mut turn, &mut self.ready);
        for key in turn.drain(..) {
            if let Some(client) = self.clients.get_mut(key) {
                client.is_ready = false;
            }
            self.drive(key);
        }
        self.spare_keys = turn;
    }

    /// Has the events of connections delivered whose first exchange takes longer than most.
    fn watch_unwatched(&mut self) {
        if self.unwatched.is_empty() || self.context.now < self.watch_at {
            return;
        }
        let mut keys = std::mem::take(&mut self.unwatched);
        for key in keys.drain(..) {
            if let Some(client) = self.clients.get_mut(key) {
                let fate = client.watch(&mut self.context);
                self.settle(key, fate);
            }
        }
        self.unwatched = keys;
    }

    fn fire_timers(&mut self) {
        while let Some(fired) = self.context.wheel.next_fired(self.context.now) {
            match Key::unpack(fired.token) {
                (key, tag::CLIENT) => self.fire_client(key, fired),
                (key, _) => self.fire_upstream(key, fired),
            }
        }
    }

    fn fire_client(&mut self, key: Key, fired: Fired) {
        let (now, wheel) = (self.context.now, &mut self.context.wheel);
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let timer = &mut client.peer.timer;
        if timer.has_expired(fired.scheduled, now, wheel, fired.token) {
            let fate = client.time_out(&mut self.context, &mut self.scratch);
            self.settle(key, fate);
        }
    }

    fn fire_upstream(&mut self, key: Key, fired: Fired) {
        let (now, wheel) = (self.context.now, &mut self.context.wheel);
        let Some(upstream) = self.context.upstreams.get_mut(key) else {
            return;
        };
        let timer = &mut upstream.timer;
        let expired = timer.has_expired(fired.scheduled, now, wheel, fired.token);
        if expired && upstream.owner.is_none() {
            self.context.discard_idle_upstream(key);
        }
    }
}

fn timespec(ms: u64) -> Timespec {
    let duration = Duration::from_millis(ms);
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddrV4;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use model::{BackendHealth, TrafficType};

    use crate::line::Waiter;
    use crate::snapshot::{BackendRecord, Snapshot, Target};

    const HERE: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 1);

    #[test]
    fn a_connection_has_one_turn_in_the_next_round_however_often_it_is_ready() {
        let shared = Arc::new(Shared::new(1, String::new()).unwrap());
        shared.publish(Arc::new(Snapshot {
            traffic: TrafficType::Http,
            ..Snapshot::empty()
        }));
        let mut worker = Worker::new(0, &shared, 1).unwrap();
        worker.turn(&[]);
        let (near, _far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        worker.admit(near.into(), HERE, false);
        let key = worker.clients.keys().next().unwrap();
        for _ in 0..3 {
            worker.settle(key, Fate::Ready);
        }
        assert_eq!(worker.ready.len(), 1);
        worker.drive_ready();
        assert!(worker.ready.is_empty());
        worker.settle(key, Fate::Ready);
        assert_eq!(worker.ready.len(), 1, "and again in a later one");
    }

    #[test]
    fn a_slot_that_was_granted_to_a_thread_that_has_left_is_passed_on() {
        let shared = Arc::new(Shared::new(2, String::new()).unwrap());
        let record = Arc::new(BackendRecord::new(HERE, 2, Instant::now()));
        record.set_health(BackendHealth::Up, Instant::now());
        let target = Target {
            record: Arc::clone(&record),
            weight: 1,
            backup: false,
            max_connections: Some(1),
        };
        shared.publish(Arc::new(Snapshot {
            targets: vec![target],
            ..Snapshot::empty()
        }));
        let mut worker = Worker::new(0, &shared, 1).unwrap();
        worker.turn(&[]);
        for thread in 0..2 {
            let waiter = Waiter {
                thread,
                client: 0,
                except: Vec::new(),
            };
            shared.line.join(waiter, 2).unwrap();
        }
        assert!(record.standing.take_slot(1));
        shared.line.pass_on(&record, 1, &shared.threads);
        assert_eq!(shared.line.len(), 1, "the first is served");
        worker.leave_by = Some(0);
        worker.run().unwrap();
        assert_eq!(shared.threads[1].take_grants().len(), 1);
        assert!(shared.line.is_empty());
    }
}
