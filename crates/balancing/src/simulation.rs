//! A simulated balancer with some threads and backends, for tests: so many clients, each of which asks again
//! as soon as it is answered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use model::Algorithm;

use crate::{Latency, Load, Maglev, Picker, Random, Seat, View};

/// A balancer and its backends.
pub struct Simulation {
    algorithm: Algorithm,
    weights: Vec<u32>,
    threads: Vec<Thread>,
    random: Random,
    /// How long each backend takes to answer.
    pub latencies_us: Vec<u64>,
    /// By which share of it an answer may be quicker or slower.
    pub noise: f64,
    /// Backends that refuse at once.
    pub refusing: Vec<usize>,
}

struct Thread {
    picker: Picker,
    loads: Vec<Load>,
    slowest: Latency,
}

struct All<'a>(&'a [Load]);

impl View for All<'_> {
    fn may_take(&self, _: usize) -> bool {
        true
    }

    fn load(&self, position: usize) -> Load {
        self.0[position]
    }
}

impl Simulation {
    /// Backends that take 10 ms, and one thread.
    pub fn new(algorithm: &Algorithm, weights: &[u32], seed: u64) -> Self {
        let mut simulation = Self {
            algorithm: algorithm.clone(),
            weights: weights.to_vec(),
            threads: Vec::new(),
            random: Random::new(seed),
            latencies_us: vec![10_000; weights.len()],
            noise: 0.0,
            refusing: Vec::new(),
        };
        simulation.threads(1);
        simulation
    }

    /// Has so many threads.
    pub fn threads(&mut self, count: usize) {
        let seats: Vec<_> = (0..)
            .zip(&self.weights)
            .map(|(identity, &weight)| Seat {
                identity,
                weight,
                backup: false,
                load: Load::default(),
            })
            .collect();
        self.threads = (0..count)
            .map(|_| Thread {
                picker: Picker::new(
                    &self.algorithm,
                    &seats,
                    &Arc::new(Maglev::default()),
                    self.random.next_u64(),
                ),
                loads: vec![Load::default(); seats.len()],
                slowest: Latency::default(),
            })
            .collect();
    }

    /// Answers `requests` of `clients`, each of which stays with one thread; returns each backend's share.
    pub fn run(&mut self, clients: usize, requests: usize) -> Vec<f64> {
        let mut ends = BinaryHeap::new();
        let mut taken = vec![0.0; self.weights.len()];
        for client in 0..clients {
            self.ask(client, 0, &mut ends, &mut taken);
        }
        for _ in clients..requests {
            let Reverse((now, client, position, took)) = ends.pop().unwrap();
            let at = client % self.threads.len();
            let thread = &mut self.threads[at];
            let load = &mut thread.loads[position];
            load.active -= 1;
            thread.picker.set_active(position, load.active);
            let failure_us = thread.picker.failure_us(thread.slowest, now);
            let counted = if self.refusing.contains(&position) {
                failure_us.unwrap_or(took)
            } else {
                thread.picker.observe(took);
                thread.slowest.observe(took, now);
                took
            };
            thread.loads[position].latency.observe(counted, now);
            self.ask(client, now, &mut ends, &mut taken);
        }
        taken.iter().map(|taken| taken / requests as f64).collect()
    }

    fn ask(
        &mut self,
        client: usize,
        now: u64,
        ends: &mut BinaryHeap<Reverse<(u64, usize, usize, u64)>>,
        taken: &mut [f64],
    ) {
        let at = client % self.threads.len();
        let key = self.random.next_u64();
        let thread = &mut self.threads[at];
        let position = thread.picker.pick(key, now, &All(&thread.loads)).unwrap();
        let load = &mut thread.loads[position];
        load.active += 1;
        thread.picker.set_active(position, load.active);
        taken[position] += 1.0;
        let swing = (self.random.next_u64() % 2_001) as f64 / 1_000.0 - 1.0;
        let took = self.latencies_us[position] as f64 * (1.0 + swing * self.noise);
        let took = if self.refusing.contains(&position) {
            100
        } else {
            took as u64
        };
        ends.push(Reverse((now + took, client, position, took)));
    }
}
