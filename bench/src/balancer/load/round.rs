//! One measurement: warm up, measure, and wait for the last answers.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use rustix::event::epoll::EventFlags;

use super::generator::{Generator, Pace, Workload, Wrong};
use super::socket::Role;
use crate::measure::{Meter, Reading};

/// How long the last answers may take.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// How long each part takes.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Before anything counts.
    pub warm_up: Duration,
    /// What counts.
    pub measured: Duration,
}

/// What a measurement came to.
pub struct Measured {
    /// Answers, all of them checked.
    pub answers: u64,
    /// Bytes of answers, heads included, those that were not whole at the end among them.
    pub received: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// What it cost.
    pub cost: Reading,
    /// From the intended time of sending, in nanoseconds; only of an open loop.
    pub latency: Histogram<u64>,
}

enum Stage {
    Warming,
    Measuring {
        began: Instant,
        reading: Reading,
        served: u64,
    },
    Draining(Box<Measured>),
}

/// A measurement that is under way.
pub struct Round {
    generator: Generator,
    connections: u64,
    open_loop: bool,
    meter: Meter,
    stage: Stage,
    /// When the stage ends.
    until: Instant,
    measured: Duration,
    /// Answers that the origin had given before.
    served_before: u64,
    wrong: Option<Wrong>,
}

impl Round {
    /// Connects and begins to warm up.
    pub fn start(
        workload: Workload,
        timing: Timing,
        meter: Meter,
        epoll: BorrowedFd<'_>,
        now: Instant,
        served: u64,
    ) -> Result<Self> {
        let connections = u64::try_from(workload.connections)?;
        let open_loop = matches!(workload.pace, Pace::Open { .. });
        Ok(Self {
            generator: Generator::start(Role::Active, workload, epoll, now)?,
            connections,
            open_loop,
            meter,
            stage: Stage::Warming,
            until: now + timing.warm_up,
            measured: timing.measured,
            served_before: served,
            wrong: None,
        })
    }

    /// How long there is nothing to do but events.
    pub fn wait(&self, now: Instant) -> Duration {
        if self.open_loop {
            return Duration::ZERO;
        }
        self.until.saturating_duration_since(now)
    }

    /// Takes an event in.
    pub fn attend(
        &mut self,
        slot: usize,
        flags: EventFlags,
        epoll: BorrowedFd<'_>,
        scratch: &mut [u8],
    ) {
        if self.wrong.is_none()
            && let Err(wrong) = self.generator.attend(slot, flags, epoll, scratch)
        {
            self.wrong = Some(wrong);
        }
    }

    /// Moves on to the next stage when it is time; returns the outcome when there is one.
    pub fn go_on(&mut self, now: Instant, served: u64) -> Option<Result<Measured>> {
        if self.wrong.is_none()
            && let Err(wrong) = self.generator.keep_time(now)
        {
            self.wrong = Some(wrong);
        }
        if let Some(wrong) = self.wrong.take() {
            return Some(Err(wrong.into()));
        }
        match &self.stage {
            Stage::Warming if now >= self.until => self.begin(now, served).err().map(Err),
            Stage::Measuring { .. } if now >= self.until => self.end(now, served).err().map(Err),
            Stage::Draining(_) if self.generator.under_way() == 0 => Some(self.outcome()),
            Stage::Draining(_) if now >= self.until => Some(Err(self.stalled(served))),
            Stage::Warming | Stage::Measuring { .. } | Stage::Draining(_) => None,
        }
    }

    fn begin(&mut self, now: Instant, served: u64) -> Result<()> {
        let reading = self.meter.read()?;
        self.generator.answered = 0;
        self.generator.received = 0;
        self.until = now + self.measured;
        self.generator.window = Some((now, self.until));
        self.stage = Stage::Measuring {
            began: now,
            reading,
            served,
        };
        Ok(())
    }

    fn end(&mut self, now: Instant, served: u64) -> Result<()> {
        let Stage::Measuring {
            began,
            reading,
            served: before,
        } = &self.stage
        else {
            return Ok(());
        };
        let answers = self.generator.answered;
        let origin = served - before;
        if self.generator.received == 0 {
            return Err(self.stalled(served));
        }
        // At the start and at the end each client may have a request that one side has counted.
        if answers.abs_diff(origin) > self.connections {
            return Err(Wrong::Miscounted {
                clients: answers,
                origin,
            }
            .into());
        }
        let measured = Measured {
            answers,
            received: self.generator.received,
            elapsed: now - *began,
            cost: self.meter.read()?.since(reading),
            latency: Histogram::new(3)?,
        };
        self.generator.stop();
        self.until = now + DRAIN_PATIENCE;
        self.stage = Stage::Draining(Box::new(measured));
        Ok(())
    }

    /// Says whether requests or answers are missing.
    fn stalled(&self, served: u64) -> anyhow::Error {
        let served = served - self.served_before;
        let where_they_are = self.generator.describe();
        Wrong::Stalled(format!("{where_they_are}, the origin {served} times")).into()
    }

    fn outcome(&mut self) -> Result<Measured> {
        match std::mem::replace(&mut self.stage, Stage::Warming) {
            Stage::Draining(mut measured) => {
                measured.latency = self.generator.latency.clone();
                Ok(*measured)
            }
            Stage::Warming | Stage::Measuring { .. } => Err(anyhow!("the round has not ended")),
        }
    }
}
