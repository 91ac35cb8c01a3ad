//! What the controller's decisions cost, by how many instances there are: when one of them changes, when everything
//! is looked at, and when all are placed at once.
//!
//! Measured is the CPU time of one thread, so that what else the machine does counts little. A change is planned,
//! told, written and followed by its steps, as the controller does; its intent and its sight are given.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use model::{
    AutoScaling, Backend, BackendHost, Driver, Generation, HealthCheck, HealthProtocol, Heartbeat,
    HeartbeatSight, Instance, InstanceId, Intent, NicSight, Observation, Policy, ProbeSight,
    Project, ProjectId, Timeouts, Timestamp, TrafficType, VmShape, VmSight,
};
use planner::{Breaker, Inputs, Scope, Settings, Standing, Windows, diff, events, plan};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};
use store::layout::{StoredLayout, Written, read_layout, write_layout};
use store::{Durability, Store};

use bench::figures::{Stage, by_stage, print_table};

const SIZES: [u64; 3] = [100, 1_000, 10_000];
/// Instances that share a project and its subnet.
const IN_A_PROJECT: u64 = 10;
const STAGES: [Stage; 4] = [
    ("intent_us", "one intent, µs"),
    ("death_us", "one VM's death, µs"),
    ("whole_us", "everything, µs"),
    ("placement_us", "first placement, µs"),
];

/// Measures what a plan costs.
#[derive(Parser)]
struct Arguments {
    /// Rounds for each number of instances.
    rounds: usize,
    /// Where the figures go.
    results: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut cases = Vec::new();
    for size in SIZES {
        let rounds: anyhow::Result<Vec<Value>> =
            (0..arguments.rounds).map(|_| round(size)).collect();
        cases.push((
            format!("{size} instances"),
            by_stage(&STAGES, &Value::Array(rounds?)),
        ));
    }
    let lines: Vec<_> = cases
        .iter()
        .map(|(name, figures)| (name.clone(), figures))
        .collect();
    print_table(&STAGES, &lines);
    let ratios = ratios(&cases);
    println!("relative to {} instances: {ratios:#}", SIZES[0]);
    let figures: Map<String, Value> = cases.into_iter().collect();
    let all = json!({ "figures": figures, "ratios": ratios });
    std::fs::write(
        &arguments.results,
        serde_json::to_string_pretty(&all)? + "\n",
    )
    .with_context(|| format!("cannot write {}", arguments.results.display()))
}

/// How often each figure is of what it is with the fewest instances, by medians.
fn ratios(cases: &[(String, Value)]) -> Value {
    let median = |figures: &Value, stage: &str| figures.pointer(&format!("/{stage}/p50"))?.as_f64();
    let Some((_, least)) = cases.first() else {
        return Value::Null;
    };
    let of = |(name, figures): &(String, Value)| {
        let ratios = STAGES.iter().filter_map(|(stage, _)| {
            let ratio = median(figures, stage)? / median(least, stage)?.max(1.0);
            Some(((*stage).to_owned(), json!((ratio * 100.0).round() / 100.0)))
        });
        (name.clone(), Value::Object(ratios.collect()))
    };
    Value::Object(cases.iter().map(of).collect())
}

/// One figure for each stage.
fn round(size: u64) -> anyhow::Result<Value> {
    let mut world = World::of(size)?;
    let placement_us = world.measure(&Scope::All)?;
    world.make_all_serve();
    world.measure(&Scope::All)?;
    world.publish();
    world.measure(&Scope::All)?;
    let whole_us = world.measure(&Scope::All)?;
    // The store puts away what the placement wrote with the next change, which is no cost of that one.
    world.add_backend(InstanceId(size / 4))?;
    world.measure(&Scope::of([InstanceId(size / 4)]))?;
    let id = InstanceId(size / 2);
    world.add_backend(id)?;
    let intent_us = world.measure(&Scope::of([id]))?;
    let id = InstanceId(size / 3);
    world.kill(id)?;
    let death_us = world.measure(&Scope::of([id]))?;
    Ok(json!({
        "intent_us": intent_us, "death_us": death_us, "whole_us": whole_us, "placement_us": placement_us,
    }))
}

/// An installation with its store, and what is seen of it.
struct World {
    settings: Settings,
    intent: Intent,
    observed: Observation,
    now: Timestamp,
    store: Store,
    stored: StoredLayout,
    standing: Standing,
    _directory: tempfile::TempDir,
}

impl World {
    fn of(size: u64) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let store = Store::open(&directory.path().join("store.db"), Durability::Volatile)?;
        let mut intent = Intent::default();
        for n in 1..=size {
            let project = ProjectId(n.div_ceil(IN_A_PROJECT));
            intent
                .projects
                .entry(project)
                .or_insert_with(|| named(project));
            intent
                .instances
                .insert(InstanceId(n), asked(InstanceId(n), project)?);
        }
        let mut observed = Observation::default();
        observed.network.front = true;
        Ok(Self {
            settings: Settings {
                mac_salt: [1, 2],
                front: "10.200.0.1/15".parse()?,
                driver: Driver::Process,
                shape: VmShape::default(),
                windows: Windows::default(),
                breaker: Breaker::default(),
            },
            intent,
            observed,
            now: Timestamp(1_000_000),
            stored: read_layout(&store)?,
            store,
            standing: Standing::default(),
            _directory: directory,
        })
    }

    /// The CPU time of one decision, from the plan to the steps that follow from it.
    fn measure(&mut self, scope: &Scope) -> anyhow::Result<u64> {
        self.now.0 += 1;
        let inputs = Inputs {
            settings: &self.settings,
            intent: &self.intent,
            observed: &self.observed,
            now: self.now,
        };
        let began = cpu_us();
        let planned = plan(inputs, &self.standing, scope);
        let told = events(inputs, &self.standing, &planned.standing);
        if planned.changed.is_some() {
            let layout = planned.standing.layout().clone();
            let Written::Stands(stored) = write_layout(&self.store, &self.stored, layout)? else {
                anyhow::bail!("nobody else writes");
            };
            self.stored = stored;
        }
        let effects = diff(inputs, &planned.standing, &planned.scope);
        let took = cpu_us() - began;
        drop((told, effects));
        self.standing = planned.standing;
        Ok(took)
    }

    fn make_all_serve(&mut self) {
        for instance in self.standing.layout().instances.values() {
            for id in instance.vms.keys() {
                self.observed
                    .vms
                    .insert(*id, healthy(instance.config.generation));
                let whole = NicSight {
                    front: true,
                    tenant: true,
                    fenced: Some(false),
                    lost: false,
                };
                self.observed.network.vm_nics.insert(*id, whole);
                let probes = self.observed.probes.entry("local".into()).or_default();
                probes.insert(*id, answered());
            }
        }
    }

    fn publish(&mut self) {
        self.observed.dns_serial = Some(self.standing.layout().dns.serial);
    }

    fn add_backend(&mut self, id: InstanceId) -> anyhow::Result<()> {
        let asked = self
            .intent
            .instances
            .get_mut(&id)
            .context("it was asked for")?;
        asked.backends.push(backend(99));
        Ok(())
    }

    fn kill(&mut self, id: InstanceId) -> anyhow::Result<()> {
        let standing = self.standing.layout().instances.get(&id);
        let vm = standing.and_then(|standing| standing.vms.keys().next());
        let sight = vm
            .and_then(|vm| self.observed.vms.get_mut(vm))
            .context("it is seen")?;
        sight.pid = None;
        sight.exit = Some("killed by signal 9".into());
        Ok(())
    }
}

/// Microseconds that this thread was on a processor.
fn cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let us = time
        .tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(time.tv_nsec / 1_000);
    u64::try_from(us).unwrap_or_default()
}

fn named(id: ProjectId) -> Project {
    Project {
        id,
        user: "john".into(),
        name: format!("p{id}"),
        label: format!("p{id}"),
        generation: Generation(1),
        created_at: Timestamp(0),
    }
}

fn asked(id: InstanceId, project: ProjectId) -> anyhow::Result<Instance> {
    Ok(Instance {
        id,
        project,
        name: format!("i{id}"),
        label: format!("i{id}"),
        former_labels: Default::default(),
        traffic: TrafficType::Http,
        port: 80,
        subnet: "1.1.1.0/24".parse()?,
        backends: vec![backend(10), backend(11)],
        health_check: HealthCheck {
            protocol: HealthProtocol::Http,
            port: None,
            request_path: "/".into(),
            host: None,
            expected_status: Vec::new(),
            expected_body: None,
            criteria: model::Criteria::default(),
        },
        auto_scaling: AutoScaling::Off,
        timeouts: Timeouts::default(),
        policy: Policy::default(),
        generation: Generation(1),
        created_at: Timestamp(0),
    })
}

fn backend(last: u8) -> Backend {
    Backend {
        host: BackendHost::Address([1, 1, 1, last].into()),
        port: 8080,
        weight: 1,
        backup: false,
        max_connections: None,
    }
}

fn healthy(generation: Generation) -> VmSight {
    let heartbeat = Heartbeat {
        sequence: 7,
        uptime_ms: 60_000,
        generation: Some(generation),
        refused: None,
        progress_age_ms: Some(200),
        lag_ms: 0,
        counters: model::Counters::default(),
        latency: model::Latency::default(),
        draining: Some(false),
        deserted_ms: None,
        backends: Vec::new(),
    };
    VmSight {
        driver: Driver::Process,
        pid: Some(4711),
        accelerator: "process".into(),
        watched_ms: 60_000,
        heartbeat: Some(HeartbeatSight {
            age_ms: 100,
            late_ms: 0,
            heartbeat,
        }),
        exit: None,
    }
}

fn answered() -> ProbeSight {
    ProbeSight {
        answered: true,
        since: Timestamp(0),
        streak: 3,
        evidence: "answered".into(),
    }
}
