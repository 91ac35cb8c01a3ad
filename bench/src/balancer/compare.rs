//! Runs a case: all proxies side by side, round by round, in an order that changes with the round.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bench::spread::Spread;
use hdrhistogram::Histogram;

use crate::cases::{self, Case, Task};
use crate::host::Cores;
use crate::load::{Body, Load, Measured, Pace, Timing, Workload};
use crate::measure;
use crate::parameters::Parameters;
use crate::proxies::{Kind, Mode, Proxy, Shape, Workshop};
use crate::summary::Sample;
use crate::wrk;

type Figures = BTreeMap<&'static str, f64>;

/// All that measuring takes.
pub struct Bench {
    /// Who makes the load.
    pub load: Load,
    /// Who makes the proxies.
    pub workshop: Workshop,
    /// Where both run.
    pub cores: Cores,
    /// How long and how much.
    pub parameters: Parameters,
    /// Who is compared in each case.
    pub kinds: Vec<Kind>,
}

impl Bench {
    /// Runs a case. A round that fails is in the samples, with the reason.
    ///
    /// # Errors
    /// When a proxy does not start.
    pub fn compare(&self, case: &Case, rate: Option<f64>) -> Result<Vec<Sample>> {
        let kinds = self.kinds_for(case);
        let proxies = match case.task {
            Task::Idle => Vec::new(),
            Task::Requests { .. } | Task::Wrk | Task::Latency => kinds
                .iter()
                .map(|kind| self.start(*kind, case.mode))
                .collect::<Result<Vec<_>>>()?,
        };
        let mut samples = Vec::new();
        for round in 0..self.parameters.rounds {
            let mut line = Vec::new();
            for place in 0..kinds.len() {
                let index = (place + round) % kinds.len();
                let Some(kind) = kinds.get(index).copied() else {
                    continue;
                };
                let outcome = match (case.task, proxies.get(index)) {
                    (Task::Requests { body, keep_alive }, Some(proxy)) => {
                        self.measure_requests(proxy, body, keep_alive)
                    }
                    (Task::Wrk, Some(proxy)) => self.measure_by_wrk(proxy),
                    (Task::Latency, Some(proxy)) => self.measure_latency(proxy, rate),
                    (_, _) => self.measure_idle(kind, case.mode),
                };
                let sample = to_sample(round, kind, outcome);
                line.push(match (&sample.error, sample.figures.get(case.figure)) {
                    (None, Some(value)) => format!("{} {value:.3}", kind.name()),
                    (error, _) => format!("{} FAILED: {error:?}", kind.name()),
                });
                samples.push(sample);
            }
            let rounds = self.parameters.rounds;
            let Case { id, figure, .. } = case;
            eprintln!(
                "{id} {}/{rounds}  {figure}:  {}",
                round + 1,
                line.join("  ")
            );
        }
        Ok(samples)
    }

    /// Large bodies are compared with one proxy more.
    fn kinds_for(&self, case: &Case) -> Vec<Kind> {
        let mut kinds = self.kinds.clone();
        if let Task::Requests {
            body: Body::TenMib, ..
        } = case.task
        {
            kinds.push(Kind::HaproxyPipes);
        }
        kinds
    }

    /// Starts a proxy in the shape that all cases of the comparison have.
    fn start(&self, kind: Kind, mode: Mode) -> Result<Proxy> {
        let shape = Shape {
            mode,
            backends: self.parameters.backends,
            threads: 1,
        };
        self.workshop.start(kind, shape, &[self.cores.proxy])
    }

    /// A closed loop, and what it cost.
    pub fn measure_requests(&self, proxy: &Proxy, body: Body, keep_alive: bool) -> Result<Figures> {
        let workload = Workload {
            target: proxy.front,
            body,
            keep_alive,
            connections: if body == Body::TenMib {
                self.parameters.connections_10_mib
            } else {
                self.parameters.connections
            },
            pace: Pace::Closed,
        };
        let measured = self.measure(proxy, workload, self.parameters.timing())?;
        Ok(cost(&measured))
    }

    fn measure_latency(&self, proxy: &Proxy, rate: Option<f64>) -> Result<Figures> {
        let rate = rate.context("HAProxy's throughput is not known")?;
        let workload = Workload {
            target: proxy.front,
            body: Body::OneKib,
            keep_alive: true,
            connections: self.parameters.connections_open_loop,
            pace: Pace::Open {
                interval: Duration::from_secs_f64(1.0 / rate),
            },
        };
        let measured = self.measure(proxy, workload, self.parameters.latency_timing())?;
        let mut figures = cost(&measured);
        figures.extend(quantiles(&measured.latency));
        let sent = measured.latency.len() as f64;
        let planned = rate * self.parameters.latency_timing().measured.as_secs_f64();
        ensure!(
            (sent / planned - 1.0).abs() < 0.01,
            "{sent} latencies, and {planned} requests were planned"
        );
        Ok(figures)
    }

    /// The closed loop by a program that nobody here wrote.
    fn measure_by_wrk(&self, proxy: &Proxy) -> Result<Figures> {
        let duration = self.parameters.timing().measured;
        let connections = self.parameters.connections;
        let meter = proxy.meter();
        let before = meter.read()?;
        let run = wrk::run(proxy.front, connections, duration, self.cores.load)?;
        let cost_of_run = meter.read()?.since(&before);
        Ok(cost(&Measured {
            answers: run.answers,
            received: run.answers * u64::try_from(Body::OneKib.bytes())?,
            elapsed: run.elapsed,
            cost: cost_of_run,
            latency: Histogram::new(3)?,
        }))
    }

    /// Memory of a fresh proxy before and after many clients have come, asked once, and stayed.
    fn measure_idle(&self, kind: Kind, mode: Mode) -> Result<Figures> {
        let proxy = self.start(kind, mode)?;
        let connections = self.parameters.idle_connections;
        // What the traffic needs by itself is there before.
        self.measure_requests(&proxy, Body::OneKib, true)?;
        let before = measure::memory(&proxy.processes())?;
        self.hold(&proxy, connections)?;
        let after = measure::memory(&proxy.processes())?;
        self.load.release()?;
        let (before, after) = (before as f64, after as f64);
        Ok([
            (cases::MEMORY, (after - before) / connections as f64),
            ("memory_before_bytes", before),
            ("memory_after_bytes", after),
        ]
        .into())
    }

    /// Has clients connect, ask once, and stay.
    pub fn hold(&self, proxy: &Proxy, connections: usize) -> Result<()> {
        self.load.hold(Workload {
            target: proxy.front,
            body: Body::OneKib,
            keep_alive: true,
            connections,
            pace: Pace::Once {
                at_once: self.parameters.connections,
            },
        })
    }

    fn measure(&self, proxy: &Proxy, workload: Workload, timing: Timing) -> Result<Measured> {
        self.load.measure(workload, timing, proxy.meter())
    }

    /// The rate of the open loop: a share of what HAProxy did at the most in `samples`, or, without any, in
    /// rounds made for it.
    ///
    /// # Errors
    /// When HAProxy cannot be measured.
    pub fn open_loop_rate(&self, samples: &[Sample]) -> Result<f64> {
        let of_haproxy = |sample: &&Sample| sample.proxy == Kind::Haproxy;
        let mut rates: Vec<f64> = samples
            .iter()
            .filter(of_haproxy)
            .filter_map(|sample| sample.figures.get(cases::RATE).copied())
            .collect();
        if rates.is_empty() {
            let proxy = self.start(Kind::Haproxy, Mode::Http)?;
            for _ in 0..3 {
                let figures = self.measure_requests(&proxy, Body::OneKib, true)?;
                rates.extend(figures.get(cases::RATE));
            }
        }
        let saturation = Spread::of(rates).context("HAProxy has no valid round")?;
        Ok((saturation.median * self.parameters.open_loop_share).round())
    }
}

fn to_sample(round: usize, proxy: Kind, outcome: Result<Figures>) -> Sample {
    let (figures, error) = match outcome {
        Ok(figures) => (figures, None),
        Err(error) => (Figures::new(), Some(format!("{error:#}"))),
    };
    Sample {
        round,
        proxy,
        figures,
        error,
    }
}

/// The figures of a measurement. Where answers are large, only bytes can be counted to the moment.
fn cost(measured: &Measured) -> Figures {
    let (answers, received) = (measured.answers as f64, measured.received as f64);
    let seconds = measured.elapsed.as_secs_f64();
    let charged = measured.cost.charged().as_secs_f64();
    let mut figures = Figures::from([
        (cases::CPU_PER_GB, charged * 1e9 / received),
        (cases::RATE, answers / seconds),
        (cases::GB_RATE, received / 1e9 / seconds),
        ("answers", answers),
        ("received_bytes", received),
        ("seconds", seconds),
        ("proxy_cpu_seconds", measured.cost.proxy.as_secs_f64()),
        ("ksoftirqd_seconds", measured.cost.ksoftirqd.as_secs_f64()),
        ("stolen_seconds", measured.cost.stolen.as_secs_f64()),
        ("core_in_use", charged / seconds),
    ]);
    if answers > 0.0 {
        figures.insert(cases::CPU_PER_REQUEST, charged * 1e6 / answers);
    }
    figures
}

fn quantiles(latency: &Histogram<u64>) -> Figures {
    let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
    [
        (cases::P50, at(0.5)),
        (cases::P99, at(0.99)),
        (cases::P999, at(0.999)),
        ("max_us", latency.max() as f64 / 1e3),
        ("latencies", latency.len() as f64),
    ]
    .into()
}
