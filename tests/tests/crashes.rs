//! A server that is killed with SIGKILL at moments that nobody chose.
//!
//! Each round gives an order and kills the server some time after, then starts it again and waits until
//! the host shows exactly what `info` tells. The moments come from a seed, so a run can be repeated as
//! far as a machine repeats itself.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::Duration;

use end_to_end::{Door, Driver, Evenkeel, Host, Vm, World, eventually};
use serde_json::{Value, json};

const SUBNET: &str = "1.1.1.0/24";

#[test]
fn killed_while_it_makes_and_removes_processes_it_leaks_nothing_and_forgets_nothing() {
    let spans = [0, 30, 100, 300].map(Duration::from_millis);
    Run::new(Driver::Process, 0x5eed_0001).go(20, &spans);
}

#[test]
fn killed_while_it_makes_and_removes_vms_it_leaks_nothing_and_forgets_nothing() {
    let spans = [0, 100, 600, 4_000].map(Duration::from_millis);
    Run::new(Driver::Machine, 0x5eed_0002).go(6, &spans);
}

/// What users want, by project: its instances with their number of VMs, and what is attached.
type Intent = BTreeMap<String, (BTreeMap<String, u64>, BTreeSet<String>)>;

#[derive(Clone, Debug)]
enum Order {
    CreateProject(String),
    DeleteProject(String),
    CreateInstance(String, String, u64),
    Resize(String, String, u64),
    DeleteInstance(String, String),
    Attach(String, String),
    Detach(String, String),
}

struct Run {
    driver: Driver,
    dice: Dice,
}

impl Run {
    fn new(driver: Driver, seed: u64) -> Self {
        Self {
            driver,
            dice: Dice(seed),
        }
    }

    fn go(mut self, rounds: u32, spans: &[Duration]) {
        let host = Host::new();
        host.shell("ip link add c0 type veth peer name c1");
        let mut evenkeel = Evenkeel::start(&host, self.driver);
        let door = evenkeel.door();
        for project in ["p0", "p1"] {
            door.do_("create", "project", json!({ "name": project }));
        }
        let mut intent = read_intent(&door);
        for round in 0..rounds {
            let order = self.dice.order(&intent);
            let bystanders = bystanders(&door, &order);
            let span = self.dice.pick(spans);
            println!("round {round}: {order:?}, killed after {span:?}");
            let answer = std::thread::scope(|scope| {
                let asked = scope.spawn(|| order.ask(&door));
                sleep(span);
                evenkeel.kill();
                asked.join().expect("asking does not panic")
            });
            if self.dice.below(3) == 0 {
                let program = std::env::var("EVENKEEL_PROGRAM").expect("the tests know it");
                let config = host.path("evenkeel.toml").display().to_string();
                let seconds = self.dice.pick(spans).as_secs_f32();
                let _killed = host.try_shell(&format!(
                    "timeout --signal KILL {seconds} {program} serve --config {config} 2>/dev/null"
                ));
            }
            evenkeel.resume();
            let stands = read_intent(&door);
            let obeyed = order.applied(&intent);
            let refused_or_lost = answer.is_none() && stands == intent;
            assert!(
                stands == obeyed || refused_or_lost,
                "{order:?}: {answer:?}, and {stands:?}"
            );
            intent = stands;
            await_settled(&host, &door);
            assert_undisturbed(&door, &bystanders);
        }
        for project in intent.keys() {
            door.do_(
                "delete",
                "project",
                json!({ "name": project, "cascade": true }),
            );
        }
        let left = World::seen(&host).beyond(&World::front());
        assert!(
            left.is_empty(),
            "when all was deleted, there was still {left:?}"
        );
        host.shell("ip link show c0 && ip link show c1");
    }
}

impl Order {
    /// Sends it; `None` when the server died before it answered.
    fn ask(&self, door: &Door) -> Option<()> {
        let (action, kind, info) = match self {
            Self::CreateProject(p) => ("create", "project", json!({ "name": p })),
            Self::DeleteProject(p) => ("delete", "project", json!({ "name": p, "cascade": true })),
            Self::CreateInstance(p, name, vms) => (
                "create",
                "instance",
                json!({
                    "project": p, "name": name, "subnet": SUBNET,
                    "backend": { "auto-scaling": { "min": vms, "max": vms } },
                }),
            ),
            Self::Resize(p, name, vms) => (
                "update",
                "instance",
                json!({
                    "project": p, "name": name,
                    "backend": { "auto-scaling": { "min": vms, "max": vms } },
                }),
            ),
            Self::DeleteInstance(p, name) => {
                ("delete", "instance", json!({ "project": p, "name": name }))
            }
            Self::Attach(p, port) => (
                "update",
                "subnet",
                json!({ "project": p, "subnet": SUBNET, "attach": [port] }),
            ),
            Self::Detach(p, port) => (
                "update",
                "subnet",
                json!({ "project": p, "subnet": SUBNET, "detach": [port] }),
            ),
        };
        let answer = door.ask(action, kind, info).ok()?;
        assert_eq!(answer["status"], "successful", "{self:?}: {answer:#}");
        Some(())
    }

    /// What is wanted once it stands.
    fn applied(&self, before: &Intent) -> Intent {
        let mut after = before.clone();
        let project =
            |after: &mut Intent, name: &String| after.get(name).cloned().unwrap_or_default();
        match self {
            Self::DeleteProject(p) => drop(after.remove(p)),
            Self::CreateProject(p) => drop(after.insert(p.clone(), project(&mut after.clone(), p))),
            Self::CreateInstance(p, name, vms) | Self::Resize(p, name, vms) => {
                after
                    .entry(p.clone())
                    .or_default()
                    .0
                    .insert(name.clone(), *vms);
            }
            Self::DeleteInstance(p, name) => {
                after.entry(p.clone()).or_default().0.remove(name);
            }
            Self::Attach(p, port) => {
                after.entry(p.clone()).or_default().1.insert(port.clone());
            }
            Self::Detach(p, port) => {
                after.entry(p.clone()).or_default().1.remove(port);
            }
        }
        after
    }

    /// The instance or project that it may disturb.
    fn touches(&self, project: &str, instance: &str) -> bool {
        match self {
            Self::DeleteProject(p) => p == project,
            Self::Resize(p, name, _) | Self::DeleteInstance(p, name) => {
                p == project && name == instance
            }
            _ => false,
        }
    }
}

/// Numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("it is below a usize")
    }

    /// A moment between one of the spans and the one before.
    fn pick(&mut self, spans: &[Duration]) -> Duration {
        let upper = 1 + self.below(spans.len() - 1);
        let (from, to) = (spans[upper - 1], spans[upper]);
        from + (to - from) * u32::try_from(self.below(1_000)).expect("it is small") / 1_000
    }

    /// An order that can be obeyed.
    fn order(&mut self, intent: &Intent) -> Order {
        let attached = |port: &str| intent.values().any(|(_, ports)| ports.contains(port));
        let mut orders = Vec::new();
        for p in ["p0", "p1"].map(str::to_owned) {
            let Some((instances, ports)) = intent.get(&p) else {
                orders.extend([Order::CreateProject(p.clone()), Order::CreateProject(p)]);
                continue;
            };
            orders.push(Order::DeleteProject(p.clone()));
            for name in ["i0", "i1"].map(str::to_owned) {
                let (p, made) = (p.clone(), instances.get(&name));
                match made {
                    Some(vms) => orders.extend([
                        Order::Resize(p.clone(), name.clone(), 3 - vms),
                        Order::DeleteInstance(p, name),
                    ]),
                    None => orders.extend(
                        [1, 2].map(|vms| Order::CreateInstance(p.clone(), name.clone(), vms)),
                    ),
                }
            }
            for port in ["c0", "c1"].map(str::to_owned) {
                if ports.contains(&port) {
                    orders.push(Order::Detach(p.clone(), port));
                } else if !attached(&port) {
                    orders.push(Order::Attach(p.clone(), port));
                }
            }
        }
        let chosen = self.below(orders.len());
        orders.swap_remove(chosen)
    }
}

/// What the store says that users want.
fn read_intent(door: &Door) -> Intent {
    let mut intent = Intent::new();
    for (project, instances) in projects(door) {
        let wanted = instances.iter().map(|info| {
            let vms = info["backend"]["auto-scaling"]["min"].as_u64().unwrap_or(1);
            (text(&info["name"]), vms)
        });
        let wanted = wanted.collect();
        let subnets = door.do_("info", "subnet", json!({ "project": project }));
        let subnets = list(&subnets["subnets"]);
        let ports =
            subnets.flat_map(|subnet| subnet["interfaces"].as_array().into_iter().flatten());
        let ports = ports.map(text).collect();
        intent.insert(project, (wanted, ports));
    }
    intent
}

/// The names of all projects, and all that is told of their instances.
fn projects(door: &Door) -> Vec<(String, Vec<Value>)> {
    let system = door.do_("info", "system", json!({}));
    let projects = list(&system["projects"]);
    let with_instances = projects.map(|project| {
        let instances = list(&project["instances"]);
        let infos = instances.map(|instance| {
            let named = json!({ "project": project["name"], "name": instance["name"] });
            door.do_("info", "instance", named)
        });
        (text(&project["name"]), infos.collect())
    });
    with_instances.collect()
}

/// Waits until each instance is as it was asked for, and the host as that needs. That there are no
/// backends is no concern here.
fn await_settled(host: &Host, door: &Door) {
    eventually("all instances stand", || {
        let all = projects(door).into_iter().flat_map(|(_, infos)| infos);
        let waiting = all.flat_map(|info| list(&info["waiting_for"]).cloned().collect::<Vec<_>>());
        let waiting: Vec<_> = waiting
            .filter(|waiting| waiting["for"] != "backends")
            .collect();
        if waiting.is_empty() {
            Ok(())
        } else {
            Err(waiting)
        }
    });
    World::await_told(host, door);
}

/// The serving VMs of instances that the order is not about.
fn bystanders(door: &Door, order: &Order) -> Vec<Vm> {
    let mut vms = Vec::new();
    for (project, instances) in projects(door) {
        let others = instances
            .iter()
            .filter(|info| !order.touches(&project, &text(&info["name"])));
        vms.extend(others.flat_map(Vm::read).filter(|vm| !vm.leaves));
    }
    vms
}

fn assert_undisturbed(door: &Door, bystanders: &[Vm]) {
    let instances = projects(door)
        .into_iter()
        .flat_map(|(_, instances)| instances);
    let vms: Vec<Vm> = instances.flat_map(|info| Vm::read(&info)).collect();
    for bystander in bystanders {
        let same = vms
            .iter()
            .any(|vm| (vm.id, vm.pid) == (bystander.id, bystander.pid));
        assert!(same, "{bystander:?} was disturbed; there are {vms:?}");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
