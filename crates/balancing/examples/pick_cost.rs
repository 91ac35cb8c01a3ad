//! What a pick costs, in nanoseconds, by algorithm and number of backends:
//! `cargo run --release -p balancing --example pick_cost`.
//!
//! Each pick is one that begins and ends a request, as in the balancer; keys are new ones every time, or a
//! hundred that come over and over.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use balancing::{Latency, Load, Maglev, Picker, Random, Seat, View};
use model::{Algorithm, HashKey};

const PICKS: u32 = 200_000;
const ROUNDS: usize = 7;

struct Loads(Vec<Load>);

impl View for Loads {
    fn may_take(&self, position: usize) -> bool {
        self.0.get(position).is_some_and(|load| load.active < 1_000)
    }

    fn load(&self, position: usize) -> Load {
        self.0.get(position).copied().unwrap_or_default()
    }
}

fn main() {
    println!(
        "{:40} {:>8} {:>8} {:>8}",
        "ns per pick, of backends:", 10, 100, 1_000
    );
    for (name, algorithm, weights, keys) in [
        ("round robin, equal weights", Algorithm::RoundRobin, 1, 100),
        (
            "round robin, weights 1 to 256",
            Algorithm::RoundRobin,
            256,
            100,
        ),
        ("least connections", Algorithm::LeastConnections, 256, 100),
        ("peak EWMA", Algorithm::PeakEwma, 256, 100),
        (
            "source hash, known clients",
            Algorithm::SourceHash,
            256,
            100,
        ),
        (
            "source hash, new clients",
            Algorithm::SourceHash,
            256,
            u64::MAX,
        ),
        (
            "Maglev",
            Algorithm::Maglev { key: HashKey::Uri },
            256,
            u64::MAX,
        ),
    ] {
        let costs = [10, 100, 1_000].map(|count| cost(&algorithm, count, weights, keys));
        let [few, some, many] = costs;
        println!("{name:40} {few:8.1} {some:8.1} {many:8.1}");
    }
}

/// The median of some rounds.
fn cost(algorithm: &Algorithm, count: u64, weights: u64, keys: u64) -> f64 {
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|_| round(algorithm, count, weights, keys))
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or_default()
}

fn round(algorithm: &Algorithm, count: u64, weights: u64, keys: u64) -> f64 {
    let mut random = Random::new(1);
    let mut latency = Latency::default();
    latency.observe(1_000, 0);
    let seats: Vec<_> = (0..count)
        .map(|identity| Seat {
            identity,
            weight: u32::try_from(1 + random.next_u64() % weights).unwrap_or(1),
            backup: false,
            load: Load { active: 0, latency },
        })
        .collect();
    let backends: Vec<_> = seats
        .iter()
        .map(|seat| {
            (
                seat.identity,
                u16::try_from(seat.weight).unwrap_or(1),
                false,
            )
        })
        .collect();
    let mut picker = Picker::new(algorithm, &seats, &Arc::new(Maglev::new(&backends)), 1);
    let mut loads = Loads(seats.iter().map(|seat| seat.load).collect());
    let began = Instant::now();
    for now in 0..u64::from(PICKS) {
        let key = random.next_u64() % keys;
        if let Some(position) = black_box(picker.pick(black_box(key), now, &loads))
            && let Some(load) = loads.0.get_mut(position)
        {
            // Every other request is still under way when the next comes.
            load.active = u32::from(now % 2 == 0);
            picker.set_active(position, load.active);
            picker.observe(1_000);
        }
    }
    began.elapsed().as_nanos() as f64 / f64::from(PICKS)
}
