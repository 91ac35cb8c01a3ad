//! A host with a server that tells its steps.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use end_to_end::{Door, Driver, Evenkeel, Host, Vm, World, eventually, host_of, within};
use serde_json::{Value, json};

use super::flow::{Flow, PORT, Wanted, ask};
use super::point::Point;

/// How long a restart may take to reach a step of its own.
const DEATH: Duration = Duration::from_secs(30);

pub struct Stage<'h> {
    pub host: &'h Host,
    pub door: Door,
    evenkeel: Evenkeel<'h>,
    steps: PathBuf,
    /// The instance's name in DNS, once it is known.
    name: Option<String>,
}

impl<'h> Stage<'h> {
    pub fn new(host: &'h Host, driver: Driver, flow: Flow) -> Self {
        host.shell(&format!("ip link add {PORT} type veth peer name c1"));
        let grace = format!("[failover]\ngrace_ms = {}\n", flow.grace_ms());
        Evenkeel::configure(host, driver, &grace);
        let steps = host.path("steps");
        fs::create_dir(&steps).expect("the host's directory can be written");
        let mut evenkeel = Evenkeel::stopped(host);
        evenkeel.tell_steps(&steps);
        evenkeel.resume();
        if driver == Driver::Restored {
            evenkeel.await_snapshot();
        }
        Self {
            host,
            door: evenkeel.door(),
            evenkeel,
            steps,
            name: None,
        }
    }

    /// Brings it to where users want this, and nothing else.
    pub fn bring_to(&mut self, wanted: &Wanted) {
        let standing = Wanted::read(&self.door).expect("the door answers");
        ask(&self.door, &standing, wanted).expect("the door answers");
        self.await_settled(wanted);
    }

    /// The instance's VMs; none when there is no instance.
    pub fn vms(&self) -> Vec<Vm> {
        self.info().as_ref().map(Vm::read).unwrap_or_default()
    }

    /// What the instance waits for, but for backends, of which there are none.
    pub fn waits_for(&self) -> Vec<Value> {
        let info = self.info().unwrap_or_default();
        let waiting = info["waiting_for"].as_array().cloned().unwrap_or_default();
        let is_of_ours = |waiting: &Value| {
            let what = waiting["for"].as_str();
            what.is_some_and(|what| !what.starts_with("backend"))
        };
        waiting.into_iter().filter(is_of_ours).collect()
    }

    fn info(&self) -> Option<Value> {
        let named = json!({ "project": "p", "name": "web" });
        let answer = self.door.ask("info", "instance", named).ok()?;
        (answer["status"] == "successful").then(|| answer["info"].clone())
    }

    fn learn_name(&mut self) {
        let info = self.info();
        let url = info.as_ref().and_then(|info| info["url"].as_str());
        if let Some(url) = url {
            self.name = Some(host_of(url).to_owned());
        }
    }

    /// Waits until the instance is as it is wanted, the host as that needs, and the zone as that says.
    pub fn await_settled(&mut self, wanted: &Wanted) {
        self.learn_name();
        eventually("it is as wanted", || self.look_if_wanted(wanted));
        World::await_told(self.host, &self.door);
        eventually("DNS names what serves", || self.look_up());
    }

    /// Whether all is as wanted, by a quick look.
    pub fn look_if_wanted(&self, wanted: &Wanted) -> Result<(), String> {
        let count = wanted.instance.as_ref().map_or(0, |(vms, _)| *vms);
        let vms = self.vms();
        let all_serve = vms.iter().all(|vm| vm.state == "serving" && !vm.leaves);
        let waiting = self.waits_for();
        let stands = Wanted::read(&self.door);
        let is_wanted = stands.as_ref() == Some(wanted) && vms.len() as u64 == count;
        match is_wanted && all_serve && waiting.is_empty() {
            true => Ok(()),
            false => Err(format!("{stands:?} {vms:?} {waiting:?}")),
        }
    }

    /// Whether the published zone has the serving VMs' addresses under the instance's name, and no others.
    fn look_up(&self) -> Result<(), String> {
        let Some(name) = &self.name else {
            return Ok(());
        };
        let question = format!("dig +short +time=1 +tries=1 @10.200.0.1 {name} A");
        let said = self.host.try_shell(&question).stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        let named: BTreeSet<String> = said.lines().map(str::to_owned).collect();
        let serving: BTreeSet<String> = self.vms().into_iter().map(|vm| vm.address).collect();
        match named == serving {
            true => Ok(()),
            false => Err(format!("it names {named:?}, and {serving:?} serve")),
        }
    }

    /// The steps that it passed, from `from` on.
    pub fn passed(&self, from: usize) -> Vec<String> {
        let passed = fs::read_to_string(self.steps.join("passed")).unwrap_or_default();
        passed.lines().skip(from).map(str::to_owned).collect()
    }

    /// Has the server die at a point that it passes from now on.
    pub fn order_death(&self, point: &Point) {
        let _ = fs::remove_file(self.steps.join("killed"));
        let draft = self.steps.join("kill.new");
        fs::write(&draft, point.to_string()).expect("the host's directory can be written");
        fs::rename(&draft, self.steps.join("kill")).expect("the directory is the same");
    }

    /// Takes the order back. Returns whether it was obeyed.
    pub fn forbid_death(&mut self) -> bool {
        let _ = fs::remove_file(self.steps.join("kill"));
        let is_obeyed = self.steps.join("killed").exists();
        if is_obeyed {
            eventually(
                "it is dead",
                || {
                    if self.has_died() { Ok(()) } else { Err(()) }
                },
            );
        }
        is_obeyed
    }

    pub fn has_died(&mut self) -> bool {
        self.evenkeel.has_ended()
    }

    /// Kills it from outside.
    pub fn kill(&mut self) {
        self.evenkeel.kill();
    }

    /// Starts it again, and has that start die at the nth step that it passes.
    pub fn restart_and_die(&mut self, nth: u32) {
        self.order_death(&Point {
            step: "*".to_owned(),
            time: nth,
        });
        self.evenkeel.launch();
        within(DEATH, "the restart dies", || {
            if self.evenkeel.has_ended() {
                Ok(())
            } else {
                Err(())
            }
        });
    }

    pub fn restart(&mut self) {
        let _ = fs::remove_file(self.steps.join("kill"));
        self.evenkeel.resume();
    }

    /// Waits until the server dies, or all has been as wanted for `calm`.
    pub fn await_death(&mut self, wanted: &Wanted, calm: Duration) {
        let mut since = None;
        eventually("it dies or is done", || {
            if self.has_died() {
                return Ok(());
            }
            if let Err(seen) = self.look_if_wanted(wanted) {
                since = None;
                return Err(seen);
            }
            let since = *since.get_or_insert_with(Instant::now);
            if since.elapsed() > calm {
                Ok(())
            } else {
                Err("it is done for a moment".to_owned())
            }
        });
    }
}
