//! What is asked for, or happens, while the server is killed.

use end_to_end::{Door, Host, Vm, eventually};
use serde_json::{Value, json};

use super::stage::Stage;

const SUBNET: &str = "1.1.1.0/24";
/// The host's end of a cable that is nobody's.
pub const PORT: &str = "c0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    CreateProject,
    CreateInstance,
    Update,
    Attach,
    Detach,
    ScaleOut,
    ScaleIn,
    Failover,
    Return,
    Delete,
}

/// What users want. No project is no more than that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub project: bool,
    /// How many VMs the instance is to have, and which backend; none by an empty name.
    pub instance: Option<(u64, String)>,
    pub port: bool,
}

impl Flow {
    /// What is wanted before and after it.
    pub fn wanted(self) -> (Wanted, Wanted) {
        let nothing = Wanted::default;
        let project = || Wanted {
            project: true,
            ..nothing()
        };
        let instance = |vms: u64, entity: &str| Wanted {
            instance: Some((vms, entity.to_owned())),
            ..project()
        };
        let one = || instance(1, "1.1.1.10:8080");
        let attached = |wanted: Wanted| Wanted {
            port: true,
            ..wanted
        };
        match self {
            Self::CreateProject => (nothing(), project()),
            Self::CreateInstance => (project(), one()),
            Self::Update => (one(), instance(1, "1.1.1.11:8080")),
            Self::Attach => (project(), attached(project())),
            Self::Detach => (attached(project()), project()),
            Self::ScaleOut => (one(), instance(2, "1.1.1.10:8080")),
            Self::ScaleIn => (instance(2, "1.1.1.10:8080"), one()),
            Self::Failover => (one(), one()),
            // Without a backend there is none whose checks a VM that returned has to await.
            Self::Return => (instance(1, ""), instance(1, "")),
            Self::Delete => (attached(one()), nothing()),
        }
    }

    /// How long a VM may be down before it is given up.
    pub fn grace_ms(self) -> u64 {
        match self {
            Self::Return => 600_000,
            _ => 500,
        }
    }

    /// Makes what it begins with, beyond what is wanted, and returns the VM that it is about.
    pub fn prepare(self, stage: &Stage<'_>) -> Option<Vm> {
        let [vm] = stage.vms().try_into().ok()?;
        if self == Self::Return {
            signal(stage.host, &vm, "STOP");
            eventually("it is replaced", || {
                let vms = stage.vms();
                let whole = vms.len() == 2 && stage.waits_for().is_empty();
                if whole { Ok(()) } else { Err(vms) }
            });
        }
        Some(vm)
    }

    /// Has it happen; `None` when the server died before it answered.
    pub fn go(self, host: &Host, door: &Door, vm: Option<&Vm>) -> Option<()> {
        match self {
            Self::Failover => signal(host, vm?, "KILL"),
            Self::Return => signal(host, vm?, "CONT"),
            _ => {
                let (before, after) = self.wanted();
                return ask(door, &before, &after);
            }
        }
        Some(())
    }
}

/// Under the process driver the process that forwards is a child of the VM's.
fn signal(host: &Host, vm: &Vm, signal: &str) {
    let pid = vm.pid.expect("it serves");
    host.shell(&format!("kill -{signal} {pid} $(pgrep --parent {pid})"));
}

impl Wanted {
    /// What the store says; `None` when the server does not answer.
    pub fn read(door: &Door) -> Option<Self> {
        let tell =
            |kind: &str, which: Value| Some(door.ask("info", kind, which).ok()?["info"].take());
        let system = tell("system", json!({}))?;
        let Some(project) = system["projects"].as_array().and_then(|all| all.first()) else {
            return Some(Self::default());
        };
        let instances = project["instances"].as_array();
        let instance = match instances.is_some_and(|instances| !instances.is_empty()) {
            true => Some(read_instance(&tell("instance", json!({ "name": "web" }))?)),
            false => None,
        };
        let subnets = tell("subnet", json!({ "project": "p" }))?;
        let subnets = subnets["subnets"].as_array().into_iter().flatten();
        let mut ports = subnets.flat_map(|subnet| subnet["interfaces"].as_array().into_iter());
        Some(Self {
            project: true,
            instance,
            port: ports.any(|ports| ports.contains(&json!(PORT))),
        })
    }
}

fn read_instance(info: &Value) -> (u64, String) {
    let backend = &info["backend"];
    let entity = backend["entities"][0].as_str().unwrap_or_default();
    let vms = backend["auto-scaling"]["min"].as_u64().unwrap_or(1);
    (vms, entity.to_owned())
}

/// Asks for each difference; `None` when an answer did not come.
pub fn ask(door: &Door, before: &Wanted, after: &Wanted) -> Option<()> {
    let do_ = |action: &str, kind: &str, info: Value| {
        let answer = door.ask(action, kind, info).ok()?;
        assert_eq!(
            answer["status"], "successful",
            "{action} {kind}: {answer:#}"
        );
        Some(())
    };
    match (before.project, after.project) {
        (true, false) => {
            let all = json!({ "name": "p", "cascade": true });
            return do_("delete", "project", all);
        }
        (false, true) => do_("create", "project", json!({ "name": "p" }))?,
        _ => {}
    }
    if before.port != after.port {
        let verb = if after.port { "attach" } else { "detach" };
        let change = json!({ "project": "p", "subnet": SUBNET, verb: [PORT] });
        do_("update", "subnet", change)?;
    }
    let form = |vms: u64, entity: &str| {
        let entities: &[&str] = if entity.is_empty() { &[] } else { &[entity] };
        json!({
            "project": "p", "name": "web", "subnet": SUBNET,
            "backend": { "entities": entities, "auto-scaling": { "min": vms, "max": vms } },
        })
    };
    match (&before.instance, &after.instance) {
        (None, Some((vms, entity))) => do_("create", "instance", form(*vms, entity))?,
        (Some(_), None) => {
            let named = json!({ "project": "p", "name": "web" });
            do_("delete", "instance", named)?;
        }
        (Some(old), Some((vms, entity))) if before.instance != after.instance => {
            let mut change = form(*vms, entity);
            change["subnet"].take();
            let backend = &mut change["backend"];
            if old.1 == *entity {
                backend["entities"].take();
            }
            let change = without_nulls(&change);
            do_("update", "instance", change)?;
        }
        _ => {}
    }
    Some(())
}

/// An object without its absent members: `null` would take settings back.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(name, member)| (name.clone(), without_nulls(member)))
            .collect(),
        other => other.clone(),
    }
}
