//! The control thread's loop.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::{BalancerConfig, Boot, GuestMessage, Heartbeat, HostMessage, Refusal, TrafficType};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::channel::{Channel, take_descriptor};
use super::clock::Clock;
use super::deploy::{Deployment, Offer};
use super::desertion::Desertion;
use super::figures::Figures;
use super::journal::{Journal, Level};
use super::lag::Lag;
use super::latencies::Latencies;
use super::progress::Progress;
use super::randomness::token;
use super::signals::{Signal, Signals};
use super::stages::Stage;
use super::supervision::{Inheritance, Supervision};
use super::threads::{available, raise_file_limit, start_forwarding};
use super::unreadable::unreadable;
use super::{RunOptions, config_file};
use crate::access_log::Sender;
use crate::health;
use crate::shared::Shared;

/// Between two cries for [`Boot`].
pub(super) const AWAITING_BOOT: Duration = Duration::from_millis(50);
/// Between two heartbeats before [`Boot`] says.
pub(super) const DEFAULT_HEARTBEAT_MS: u64 = 500;
/// The shortest time between two heartbeats, however much there is to tell.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
/// The longest sleep.
const SLEEP: Duration = Duration::from_secs(1);

/// The control thread's state.
pub(super) struct Agent {
    pub(super) shared: Arc<Shared>,
    pub(super) journal: Arc<Journal>,
    pub(super) deployment: Deployment,
    signals: Signals,
    pub(super) channel: Option<Channel>,
    pub(super) supervision: Option<Supervision>,
    pub(super) stage: Stage,
    /// Whether there is a configuration that has to run before this process is ready.
    pub(super) expects_config: bool,
    pub(super) said_ready: bool,
    pub(super) said_left: bool,
    config_file: Option<std::path::PathBuf>,
    pub(super) boot: Option<Boot>,
    pub(super) progress: Progress,
    latencies: Latencies,
    /// Whether clients are told to leave.
    pub(super) draining: bool,
    desertion: Desertion,
    /// Processes before this one that have yet to end their last connections.
    pub(super) predecessors: usize,
    /// Where a collectd takes figures.
    pub(super) collectd: Option<std::path::PathBuf>,
    pub(super) figures: Option<Figures>,
    /// The machine's clock, where it is this balancer's to set.
    clock: Option<Clock>,
    lag: Lag,
    pub(super) workers: Vec<JoinHandle<()>>,
    /// Sends the access log; at the process's end, what is left of it.
    _access_log: Option<Sender>,
    sequence: u64,
    /// The state of configuration and backends that the last heartbeat told.
    told_epoch: u64,
    spoke_at: Instant,
    pub(super) speak_at: Instant,
    /// Whether SIGTERM came.
    pub(super) ending: bool,
}

/// Balances until SIGTERM, as the host says over the channel.
///
/// # Errors
/// When something that the whole process needs is not there.
pub fn run(options: RunOptions) -> std::io::Result<()> {
    let signals = Signals::take_over()?;
    let channel = Channel::open(options.channel)?;
    let log = options.log.map(take_descriptor).transpose()?;
    let mut agent = Agent::start(signals, options.threads, options.supervisor, log)?;
    agent.channel = Some(channel);
    agent.collectd = options.collectd;
    agent.clock = options.owns_clock.then(|| Clock::new(Instant::now()));
    agent.load_kept_config(options.config_file);
    agent.attend(|agent, signal| match signal {
        Signal::Leave => agent.leave(),
        Signal::Report => agent.report(),
        Signal::Reload | Signal::Replace | Signal::ChildEnded => {}
    })
}

impl Agent {
    /// Starts the threads. Nothing is balanced yet, unless a supervisor has kept what to balance.
    pub(super) fn start(
        signals: Signals,
        threads: Option<usize>,
        supervisor: Option<i32>,
        log: Option<OwnedFd>,
    ) -> std::io::Result<Self> {
        raise_file_limit();
        let (supervision, kept) = match supervisor {
            Some(number) => {
                let (supervision, kept) = Supervision::begin(number)?;
                (Some(supervision), kept)
            }
            None => (None, Inheritance::default()),
        };
        // Each listening socket that was kept has connections of its own waiting, so each needs a thread.
        let threads = threads.unwrap_or_else(available).max(1);
        let threads = threads.max(kept.listeners.len());
        let own_target = kept.token.clone().unwrap_or_else(own_target);
        let shared = Arc::new(Shared::new(threads, own_target)?);
        let access_log = log
            .map(|port| Sender::start(port, Arc::clone(&shared)))
            .transpose()?;
        shared.logs.store(access_log.is_some(), Ordering::Relaxed);
        let journal = Arc::new(Journal::new()?);
        health::start(Arc::clone(&shared), Arc::clone(&journal))?;
        let now = Instant::now();
        let mut agent = Self {
            deployment: Deployment::new(Arc::clone(&shared)),
            signals,
            channel: None,
            stage: match supervision {
                Some(_) => Stage::Waiting,
                None => Stage::Serving,
            },
            supervision,
            expects_config: kept.config.is_some(),
            said_ready: false,
            said_left: false,
            config_file: None,
            boot: None,
            progress: Progress::new(Arc::clone(&shared), DEFAULT_HEARTBEAT_MS, now),
            latencies: Latencies::new(now),
            draining: false,
            desertion: Desertion::new(now),
            predecessors: 0,
            collectd: None,
            figures: None,
            clock: None,
            lag: Lag::default(),
            workers: start_forwarding(&shared)?,
            _access_log: access_log,
            sequence: 0,
            told_epoch: 0,
            spoke_at: now,
            speak_at: now,
            ending: false,
            shared,
            journal,
        };
        agent.inherit(kept, now);
        Ok(agent)
    }

    /// Attends to everything until the process has left.
    pub(super) fn attend(
        &mut self,
        mut on_signal: impl FnMut(&mut Self, Signal),
    ) -> std::io::Result<()> {
        let mut turned_at = Instant::now();
        while !self.has_left() {
            self.sleep(turned_at)?;
            while let Some(signal) = self.signals.next() {
                on_signal(self, signal);
            }
            let now = Instant::now();
            turned_at = now;
            self.obey_supervisor(now);
            self.listen_to_host(now);
            if self.deployment.retry(now, &self.journal) {
                self.keep_config(now);
            }
            self.open_doors();
            self.say_how_far();
            let traffic = self
                .deployment
                .running()
                .map_or(TrafficType::Http, |config| config.traffic);
            let listening = self.proves_progress();
            let had_answered = self.progress.age_ms(now).is_some();
            self.progress.advance(listening, traffic, now);
            let answers_first = !had_answered && self.progress.age_ms(now).is_some();
            if answers_first || self.shared.epoch() != self.told_epoch {
                self.speak_soon();
            }
            self.latencies.turn(&self.shared, now);
            let counters = self.counters();
            self.desertion
                .note(&counters, self.predecessors, traffic, now);
            self.tell_figures(now);
            self.speak(now);
            self.tell_time(now);
            for (level, text) in self.shared.take_notes() {
                self.journal.write(level, text);
            }
            self.send_journal();
        }
        Ok(())
    }

    /// Waits for anything to do, and takes note if it came late for what was due. `turned_at` is when what
    /// is done in a turn was last looked at: what was due before then is not waited for.
    fn sleep(&mut self, turned_at: Instant) -> std::io::Result<()> {
        let due = self
            .wake_at(turned_at)
            .min(turned_at + SLEEP)
            .max(turned_at);
        self.wait_until(due)?;
        let late = Instant::now().saturating_duration_since(due);
        self.lag.note(late);
        self.progress.excuse(late);
        Ok(())
    }

    fn wait_until(&self, due: Instant) -> std::io::Result<()> {
        let now = Instant::now();
        let mut descriptors = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&*self.journal, PollFlags::IN),
        ];
        let supervisor = self.supervision.iter();
        descriptors.extend(supervisor.map(|link| PollFd::new(link, PollFlags::IN)));
        let channel = self.channel.iter().filter(|_| self.stage != Stage::Waiting);
        for (descriptor, wants_room) in channel.flat_map(|c| c.descriptors(now)) {
            let room = if wants_room {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            descriptors.push(PollFd::from_borrowed_fd(descriptor, PollFlags::IN | room));
        }
        if let Some((descriptor, flags)) = self.progress.descriptor() {
            descriptors.push(PollFd::from_borrowed_fd(descriptor, flags));
        }
        let sleep = due.saturating_duration_since(now);
        let timeout = Timespec {
            tv_sec: i64::try_from(sleep.as_secs()).unwrap_or(0),
            tv_nsec: sleep.subsec_nanos().into(),
        };
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn wake_at(&self, now: Instant) -> Instant {
        let channel = self.channel.as_ref().and_then(Channel::rests_until);
        [
            Some(self.speak_at),
            self.deployment.retry_at(),
            channel,
            self.proves_progress().map(|_| self.progress.due_at(now)),
            self.leaving_pause().map(|pause| now + pause),
            self.figures.as_ref().map(Figures::due_at),
            self.clock.as_ref().map(Clock::due_at),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.speak_at)
    }

    fn listen_to_host(&mut self, now: Instant) {
        if self.stage == Stage::Waiting {
            return;
        }
        let mut lines = Vec::new();
        if let Some(channel) = &mut self.channel {
            channel.receive(now, &mut lines);
        }
        for line in lines {
            match serde_json::from_slice(&line) {
                Ok(HostMessage::Boot(boot)) => self.take_boot(boot, now),
                Ok(HostMessage::Configure(config)) => self.take_config(config, now),
                Ok(HostMessage::Time { unix_time_ms }) => self.take_time(unix_time_ms),
                Ok(HostMessage::Drain) => self.drain(now),
                // For one that is not yet anybody: this balancer is somebody's.
                Ok(HostMessage::Rehearse) => {}
                Err(error) => self.take_nonsense(&line, &error, now),
            }
        }
    }

    pub(super) fn take_boot(&mut self, boot: Boot, now: Instant) {
        if self.boot.is_some() {
            return;
        }
        self.progress = Progress::new(Arc::clone(&self.shared), boot.heartbeat_ms, now);
        self.deployment
            .set_front(boot.front.address, now, &self.journal);
        if let Some(supervision) = &mut self.supervision {
            supervision.keep_boot(&boot);
        }
        self.boot = Some(boot);
        self.speak_at = now;
    }

    fn take_time(&mut self, unix_time_ms: u64) {
        let clock = self.clock.as_ref();
        if let Some(text) = clock.and_then(|clock| clock.take(unix_time_ms)) {
            self.journal.write(Level::Warn, text);
        }
    }

    fn tell_time(&mut self, now: Instant) {
        let told = self.clock.as_mut().and_then(|clock| clock.tell(now));
        let channel = self
            .channel
            .as_mut()
            .filter(|_| self.stage != Stage::Waiting);
        if let (Some(message), Some(channel)) = (told, channel) {
            channel.send(&message);
        }
    }

    pub(super) fn take_config(&mut self, config: BalancerConfig, now: Instant) {
        let generation = config.generation;
        match self.deployment.offer(config, now, &self.journal) {
            Offer::Taken => self.keep_config(now),
            Offer::Refused => self.speak_at = now,
            Offer::Waiting => {
                self.journal.write(
                    Level::Info,
                    format!("configuration {generation} waits to be listened for"),
                );
            }
            Offer::Ignored => {}
        }
    }

    /// A line that is no message. If it was to be a configuration, the host is told that it is refused.
    fn take_nonsense(&mut self, line: &[u8], error: &serde_json::Error, now: Instant) {
        let value: Option<serde_json::Value> = serde_json::from_slice(line).ok();
        let generation = value
            .as_ref()
            .and_then(|value| value.get("generation"))
            .and_then(serde_json::Value::as_u64);
        match generation {
            Some(generation) => {
                let (path, message) = unreadable(value.unwrap_or_default(), error);
                let refusal = Refusal {
                    generation: model::Generation(generation),
                    path,
                    message,
                };
                if self.deployment.refuse(refusal, &self.journal) == Offer::Refused {
                    self.speak_at = now;
                }
            }
            None => self.journal.write(
                Level::Warn,
                format!("a line of the host is no message: {error}"),
            ),
        }
    }

    /// A configuration has begun to run: keeps it, and tells the host at once.
    fn keep_config(&mut self, now: Instant) {
        self.speak_at = now;
        let Some(config) = self.deployment.running() else {
            return;
        };
        let (generation, backends) = (config.generation, config.backends.len());
        let text = format!("configuration {generation} runs, with {backends} backends");
        self.journal.write(Level::Info, text);
        if let Some(supervision) = &mut self.supervision {
            supervision.keep_config(config);
        }
        let saved = self
            .config_file
            .as_ref()
            .map(|path| config_file::save(path, config));
        if let Some(Err(error)) = saved {
            let text = format!("configuration {generation} could not be kept: {error}");
            self.journal.write(Level::Warn, text);
        }
    }

    fn load_kept_config(&mut self, path: Option<std::path::PathBuf>) {
        let kept = path.as_deref().map(config_file::load);
        self.config_file = path;
        match kept {
            Some(Ok(Some(config))) => self.take_config(config, Instant::now()),
            Some(Err(error)) => self.journal.write(
                Level::Warn,
                format!("the configuration that was kept cannot be read: {error}"),
            ),
            Some(Ok(None)) | None => {}
        }
    }

    /// Has news told at once, since somebody may wait for them.
    fn speak_soon(&mut self) {
        self.speak_at = self.speak_at.min(self.spoke_at + SHORTEST_PAUSE);
    }

    /// Says what is due to be said.
    fn speak(&mut self, now: Instant) {
        if now < self.speak_at {
            return;
        }
        // Read before what it stands for, so that a change in between is told again.
        let epoch = self.shared.epoch();
        let has_news = std::mem::replace(&mut self.told_epoch, epoch) != epoch;
        self.spoke_at = now;
        if has_news && self.supervision.is_some() {
            let backends = self.heartbeat(now).backends;
            let supervision = self.supervision.iter_mut();
            supervision.for_each(|supervision| supervision.keep_verdicts(&backends));
        }
        if self.channel.is_none() || self.stage == Stage::Waiting {
            self.speak_at = now + SLEEP;
            return;
        }
        let (message, wait) = match &self.boot {
            Some(boot) => {
                let wait = Duration::from_millis(boot.heartbeat_ms.max(10));
                (GuestMessage::Heartbeat(self.heartbeat(now)), wait)
            }
            None => {
                let version = env!("CARGO_PKG_VERSION").to_owned();
                (GuestMessage::AwaitingBoot { version }, AWAITING_BOOT)
            }
        };
        self.sequence += u64::from(self.boot.is_some());
        self.speak_at = now + wait;
        if let Some(channel) = &mut self.channel {
            channel.send(&message);
        }
        self.lag = Lag::default();
    }

    /// The balancer's account of itself.
    pub(super) fn heartbeat(&self, now: Instant) -> Heartbeat {
        let snapshot = self.shared.snapshot();
        let now_ms = self.shared.now_ms();
        Heartbeat {
            sequence: self.sequence,
            uptime_ms: now_ms,
            generation: snapshot.generation,
            refused: self.deployment.refused(),
            progress_age_ms: self.progress.age_ms(now),
            lag_ms: self.lag.longest_ms().max(self.progress.slowest_ms(now)),
            draining: Some(self.draining),
            deserted_ms: self.desertion.ms(now),
            counters: self.counters(),
            latency: self.latencies.tell(&self.shared),
            backends: snapshot
                .targets
                .iter()
                .map(|target| target.record.status(now, now_ms))
                .collect(),
        }
    }

    fn send_journal(&mut self) {
        self.journal.acknowledge();
        if self.stage == Stage::Waiting {
            return;
        }
        let Some(channel) = &mut self.channel else {
            while self.journal.take().is_some() {}
            return;
        };
        while let Some((level, text)) = self.journal.take() {
            let message = GuestMessage::Log {
                level: level.word().to_owned(),
                text: text.clone(),
            };
            if !channel.send(&message) {
                self.journal.put_back((level, text));
                return;
            }
        }
    }

    /// Writes the account to standard output, for people.
    pub(super) fn report(&self) {
        let account = serde_json::to_string_pretty(&self.heartbeat(Instant::now()));
        println!("{}", account.unwrap_or_default());
    }
}

fn own_target() -> String {
    format!("/.evenkeel/progress/{}", token())
}
