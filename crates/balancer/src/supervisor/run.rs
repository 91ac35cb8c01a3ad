//! The supervisor's loop: carries out what the lineup decides.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal as Kill, kill_process};

use super::companion::Companion;
use super::lineup::{Action, Child, Lineup};
use super::link::{Found, Link};
use super::message::Message;
use super::process::{Program, reap};
use super::store::Store;
use crate::control::signals::{Signal, Signals};

/// Packets read from one balancer before the others have their turn.
const PACKETS: usize = 1024;

#[derive(Debug)]
struct Process {
    pid: Pid,
    link: Link,
    program: Option<Program>,
}

/// What keeps balancers running.
pub struct Supervisor {
    arguments: Vec<OsString>,
    program: Program,
    signals: Signals,
    store: Store,
    lineup: Lineup,
    processes: BTreeMap<Child, Process>,
    companion: Option<Companion>,
    stopping: bool,
    /// Who was told how many are leaving; at first nobody, which is as good as none.
    told: (Option<Child>, usize),
}

impl Supervisor {
    /// Takes signals over; nothing runs yet. `arguments` are the balancers' own.
    ///
    /// # Errors
    /// When the system does not give what is needed.
    pub fn new(arguments: Vec<OsString>) -> io::Result<Self> {
        Ok(Self {
            arguments,
            signals: Signals::of_supervisor()?,
            program: Program::own()?,
            store: Store::default(),
            lineup: Lineup::new(Instant::now()),
            processes: BTreeMap::new(),
            companion: None,
            stopping: false,
            told: (None, 0),
        })
    }

    /// Keeps something for the first balancer.
    pub fn keep(&mut self, name: &str, descriptor: OwnedFd) {
        self.store.keep(name.to_owned(), vec![descriptor]);
    }

    /// Keeps another program running beside the balancer.
    pub fn accompany(&mut self, companion: Companion) {
        self.companion = Some(companion);
    }

    /// Whether any balancer has ever come so far as to be ready.
    #[must_use]
    pub fn was_ever_ready(&self) -> bool {
        self.lineup.was_ready()
    }

    /// Runs until SIGTERM, or until `gives_up` says so after a balancer's end.
    ///
    /// # Errors
    /// When waiting fails, or `gives_up` has said so.
    pub fn run(&mut self, gives_up: impl Fn(&Self) -> bool) -> io::Result<()> {
        loop {
            let now = Instant::now();
            let actions = self.lineup.advance(now);
            self.carry_out(actions, now);
            self.tell_leaving();
            let companion = self.companion.as_mut().filter(|_| !self.stopping);
            if let Some(trouble) = companion.and_then(|companion| companion.advance(now)) {
                log(&trouble);
            }
            if self.stopping && self.processes.is_empty() {
                return Ok(());
            }
            self.sleep()?;
            self.listen();
            while let Some(signal) = self.signals.next() {
                self.obey(signal);
            }
            let had_processes = !self.processes.is_empty();
            self.reap();
            let all_ended = had_processes && self.processes.is_empty() && !self.stopping;
            if all_ended && gives_up(self) {
                return Err(io::Error::other("the balancer could not be started"));
            }
        }
    }

    /// Waits for a signal, a packet, or a deadline.
    fn sleep(&self) -> io::Result<()> {
        let mut descriptors = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let links = self.processes.values().map(|process| &process.link);
        descriptors.extend(links.map(|link| PollFd::new(link, PollFlags::IN)));
        let companion = self.companion.as_ref().filter(|_| !self.stopping);
        let companion = companion.and_then(Companion::wake_at);
        let wake_at = self.lineup.wake_at().into_iter().chain(companion).min();
        let timeout = wake_at.map(|at| {
            let sleep = at.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(sleep.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: sleep.subsec_nanos().into(),
            }
        });
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn listen(&mut self) {
        let children: Vec<_> = self.processes.keys().copied().collect();
        for child in children {
            self.listen_to(child);
        }
    }

    /// Takes in what a balancer has said.
    fn listen_to(&mut self, child: Child) {
        for _ in 0..PACKETS {
            let Some(process) = self.processes.get(&child) else {
                return;
            };
            let Ok(Found::Packet(message, descriptors)) = process.link.receive() else {
                return;
            };
            let now = Instant::now();
            match message {
                Message::Keep(name) => self.keep_for(child, name, descriptors),
                Message::Ready => {
                    let actions = self.lineup.ready(child, now);
                    self.carry_out(actions, now);
                }
                Message::Left => {
                    let actions = self.lineup.left(child, now);
                    self.carry_out(actions, now);
                }
                _ => {}
            }
        }
    }

    /// Keeps something for the next balancer. One that has been replaced has nothing to say of that.
    fn keep_for(&mut self, child: Child, name: String, descriptors: Vec<OwnedFd>) {
        let serves = self.lineup.serving() == Some(child);
        if serves && !self.stopping && !self.store.keep(name, descriptors) {
            log("a balancer wants too much kept");
        }
    }

    fn obey(&mut self, signal: Signal) {
        match signal {
            Signal::Leave => {
                self.stopping = true;
                self.lineup.stop();
                // The balancer is to be the last to close them, after it has taken what waits in them.
                self.store.clear();
                let all: Vec<_> = self.processes.keys().copied().collect();
                all.into_iter()
                    .for_each(|child| self.kill(child, Kill::TERM));
            }
            Signal::Reload => self.kill_serving(Kill::HUP),
            Signal::Report => self.kill_serving(Kill::USR1),
            Signal::Replace => self.lineup.replace(),
            Signal::ChildEnded => {}
        }
    }

    fn kill_serving(&self, signal: Kill) {
        if let Some(child) = self.lineup.serving() {
            self.kill(child, signal);
        }
    }

    /// The number is the process's own until it is reaped, and then it is known here no more.
    fn kill(&self, child: Child, signal: Kill) {
        if let Some(process) = self.processes.get(&child) {
            let _has_ended = kill_process(process.pid, signal);
        }
    }

    fn reap(&mut self) {
        while let Some((pid, how)) = reap() {
            let found = self
                .processes
                .iter()
                .find(|(_, process)| process.pid == pid);
            let Some(child) = found.map(|(child, _)| *child) else {
                let companion = self.companion.as_mut();
                if let Some(end) = companion.and_then(|it| it.ended(pid, &how, Instant::now())) {
                    log(&end);
                }
                continue;
            };
            // Its last words.
            self.listen_to(child);
            self.processes.remove(&child);
            let now = Instant::now();
            let actions = self.lineup.ended(child, &how, now);
            self.carry_out(actions, now);
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>, now: Instant) {
        for action in actions {
            match action {
                Action::Start(child) => self.start(child, false, now),
                Action::StartNew(child) => self.start(child, true, now),
                Action::HandOver(child) => {
                    let process = self.processes.get(&child);
                    let _handed = process.map(|process| self.store.hand_over(&process.link));
                }
                Action::Tell(child, message) => self.tell(child, &message),
                Action::Kill(child) => self.kill(child, Kill::KILL),
                Action::Adopt(child) => self.adopt(child),
                Action::Log(text) => log(&text),
            }
        }
    }

    fn tell(&self, child: Child, message: &Message) {
        let process = self.processes.get(&child);
        // One that does not take it has ended, which is told by a signal.
        let _told = process.map(|process| process.link.send(message, &[]));
    }

    /// Whoever serves answers for the connections of those before it, since it alone speaks with the host.
    fn tell_leaving(&mut self) {
        let leaving = self.lineup.leaving();
        let Some(serving) = self.lineup.serving() else {
            return;
        };
        let (told, count) = std::mem::replace(&mut self.told, (Some(serving), leaving));
        let knows = if told == Some(serving) { count } else { 0 };
        if leaving != knows {
            self.tell(serving, &Message::Leaving(leaving));
        }
    }

    /// From now on a crashed balancer is started again from this one's program.
    fn adopt(&mut self, child: Child) {
        let process = self.processes.get_mut(&child);
        if let Some(program) = process.and_then(|process| process.program.take()) {
            self.program = program;
        }
    }

    fn start(&mut self, child: Child, from_disk: bool, now: Instant) {
        match self.try_start(from_disk) {
            Ok(process) => drop(self.processes.insert(child, process)),
            Err(error) => {
                let how = format!("could not be started: {error}");
                let actions = self.lineup.ended(child, &how, now);
                self.carry_out(actions, now);
            }
        }
    }

    /// All that is kept waits for the balancer before it runs.
    fn try_start(&self, from_disk: bool) -> io::Result<Process> {
        let (link, far) = Link::pair()?;
        self.store.hand_over(&link)?;
        let fresh = from_disk.then(|| self.program.on_disk()).transpose()?;
        let program = fresh.as_ref().unwrap_or(&self.program);
        let pid = program.start(&self.arguments, &far)?;
        Ok(Process {
            pid,
            link,
            program: fresh,
        })
    }
}

fn log(text: &str) {
    eprintln!("evenkeel-balancer: supervisor: {text}");
}
