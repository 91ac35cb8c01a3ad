//! How the CPU time of a request grows with threads, backends and idle clients. Each round has all points of a
//! curve, one after the other. Where what grows is the machine's affair as well, as with threads, the peers have
//! the same curve.

use anyhow::Result;
use bench::spread::Spread;
use serde::Serialize;

use crate::cases::CPU_PER_REQUEST;
use crate::compare::Bench;
use crate::load::Body;
use crate::proxies::{Kind, Mode, Proxy, Shape};

/// A curve that is to be measured, with keep-alive requests for 1 KiB.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    /// Its name on the command line and in the results.
    pub id: &'static str,
    title: &'static str,
    kind: Kind,
    of: Of,
    /// How much there is of it at each point.
    points: &'static [usize],
    target: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// On as many cores as there are threads.
    Threads,
    /// All on the proxy's one core.
    ThreadsOnOneCore,
    Backends,
    Idle,
}

/// All curves.
pub const GROWTHS: [Growth; 6] = [
    Growth {
        id: "growth-threads",
        title: "threads",
        kind: Kind::Evenkeel,
        of: Of::Threads,
        points: &[1, 2],
        target: Some(1.15),
    },
    Growth {
        id: "growth-threads-one-core",
        title: "threads on one core",
        kind: Kind::Evenkeel,
        of: Of::ThreadsOnOneCore,
        points: &[1, 2],
        target: None,
    },
    Growth {
        id: "growth-threads-haproxy",
        title: "threads of HAProxy",
        kind: Kind::Haproxy,
        of: Of::Threads,
        points: &[1, 2],
        target: None,
    },
    Growth {
        id: "growth-threads-nginx",
        title: "workers of nginx",
        kind: Kind::Nginx,
        of: Of::Threads,
        points: &[1, 2],
        target: None,
    },
    Growth {
        id: "growth-backends",
        title: "backends",
        kind: Kind::Evenkeel,
        of: Of::Backends,
        points: &[10, 100, 1_000],
        target: None,
    },
    Growth {
        id: "growth-idle",
        title: "idle connections",
        kind: Kind::Evenkeel,
        of: Of::Idle,
        points: &[10, 100, 1_000, 10_000],
        target: None,
    },
];

/// A curve as it was measured.
#[derive(Serialize)]
pub struct Curve {
    /// Its id.
    pub curve: &'static str,
    /// What grows.
    pub title: &'static str,
    /// What is measured at each point.
    pub figure: &'static str,
    /// The points in their order.
    pub points: Vec<Point>,
    /// The last point divided by the first, round by round.
    pub growth: Option<Spread>,
    /// The largest growth that is good enough, where there is one.
    pub target: Option<f64>,
    /// Rounds that are worth nothing.
    pub errors: Vec<String>,
}

/// A point of a curve.
#[derive(Serialize)]
pub struct Point {
    /// How much there is of what grows.
    pub at: usize,
    /// Each round's figure; none where it is worth nothing.
    pub rounds: Vec<Option<f64>>,
    /// What they come to.
    pub spread: Option<Spread>,
}

impl Bench {
    /// Measures a curve.
    ///
    /// # Errors
    /// When a proxy does not start.
    pub fn grow(&self, growth: &Growth) -> Result<Curve> {
        let points: Vec<usize> = growth
            .points
            .iter()
            .map(|at| match growth.of {
                Of::Idle => (*at).min(self.parameters.idle_connections),
                Of::Threads | Of::ThreadsOnOneCore | Of::Backends => *at,
            })
            .collect();
        let proxies = points
            .iter()
            .map(|at| self.start_at(growth, *at))
            .collect::<Result<Vec<_>>>()?;
        let mut curve = vec![Vec::new(); points.len()];
        let mut errors = Vec::new();
        for round in 0..self.parameters.rounds {
            for ((at, proxy), figures) in points.iter().zip(&proxies).zip(&mut curve) {
                let outcome = self.measure_at(growth.of, *at, proxy);
                figures.push(outcome.as_ref().ok().copied());
                errors.extend(
                    outcome
                        .err()
                        .map(|error| format!("round {round}, {at}: {error:#}")),
                );
            }
            let line: Vec<_> = curve.iter().filter_map(|figures| figures.last()).collect();
            let (id, rounds) = (growth.id, self.parameters.rounds);
            eprintln!(
                "{id} {}/{rounds}  {CPU_PER_REQUEST}:  {points:?} → {line:.3?}",
                round + 1
            );
        }
        Ok(sum_up(growth, &points, curve, errors))
    }

    fn start_at(&self, growth: &Growth, at: usize) -> Result<Proxy> {
        let usual = Shape {
            mode: Mode::Http,
            backends: self.parameters.backends,
            threads: 1,
        };
        let one = [self.cores.proxy];
        let two = [self.cores.proxy, self.cores.second];
        let (shape, cores) = match growth.of {
            Of::Threads | Of::ThreadsOnOneCore => (
                Shape {
                    threads: at,
                    ..usual
                },
                if growth.of == Of::Threads && at > 1 {
                    &two[..]
                } else {
                    &one[..]
                },
            ),
            Of::Backends => (
                Shape {
                    backends: at,
                    ..usual
                },
                &one[..],
            ),
            Of::Idle => (usual, &one[..]),
        };
        self.workshop.start(growth.kind, shape, cores)
    }

    fn measure_at(&self, of: Of, at: usize, proxy: &Proxy) -> Result<f64> {
        if of == Of::Idle {
            self.hold(proxy, at)?;
        }
        let figures = self.measure_requests(proxy, Body::OneKib, true);
        if of == Of::Idle {
            self.load.release()?;
        }
        figures?
            .get(CPU_PER_REQUEST)
            .copied()
            .ok_or_else(|| anyhow::anyhow!("no answers"))
    }
}

fn sum_up(
    growth: &Growth,
    points: &[usize],
    curve: Vec<Vec<Option<f64>>>,
    errors: Vec<String>,
) -> Curve {
    let ends = curve.first().zip(curve.last());
    let ratios = ends.into_iter().flat_map(|(first, last)| {
        let pairs = first.iter().zip(last);
        pairs.filter_map(|(first, last)| Some((*last)? / (*first)?))
    });
    let of_ends = Spread::of(ratios);
    let points = points.iter().zip(curve).map(|(at, rounds)| Point {
        at: *at,
        spread: Spread::of(rounds.iter().copied().flatten()),
        rounds,
    });
    Curve {
        curve: growth.id,
        title: growth.title,
        figure: CPU_PER_REQUEST,
        points: points.collect(),
        growth: of_ends,
        target: growth.target,
        errors,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_of_rounds_in_which_both_ends_are_valid() {
        let first = vec![Some(10.0), None, Some(20.0)];
        let last = vec![Some(11.0), Some(99.0), Some(24.0)];
        let curve = sum_up(&GROWTHS[0], &[1, 2], vec![first, last], Vec::new());
        let growth = curve.growth.unwrap();
        assert_eq!((growth.min, growth.max), (1.1, 1.2));
    }
}
