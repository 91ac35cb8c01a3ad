//! Everything that Evenkeel made on a host, as the host itself shows it, and as `info` says it should be.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Door, Host, eventually};

/// Lists what carries our names. The host's own namespace is called `host`, and every bridge `br`.
const LOOK: &str = r#"
list() {
  ip -o link show | sed -E 's/^[0-9]+: ([^:@]+).*/\1/; s/^br[0-9]+$/br/' | grep -vx lo | sed "s,^,link $1/,"
  nft list ruleset 2>/dev/null | sed -nE "
    s,^table ([a-z]+) ek .*,table $1/\1,p
    s,^.*chain (ek[ft][0-9]+) .*,chain $1/\1,p
    s,^.*\"(ek[ft][0-9]+)\" : goto.*,element $1/\1,p"
  nft list ruleset 2>/dev/null | sed -n '/set fenced {/,/}$/p' | grep -oE '"ek[ft][0-9]+"|[0-9.]{7,}' |
    tr -d '"' | sed "s,^,fenced $1/,"
}
list host | grep -E '^(link host/ek|element|fenced|chain|table)'
ip neigh show nud permanent dev ek-front 2>/dev/null | sed -E 's/^([0-9.]+) .*/neighbour \1/'
for namespace in $(ls /run/netns 2>/dev/null | grep '^ek-'); do
  echo "namespace $namespace"
  nsenter --net=/run/netns/$namespace bash -c "$(declare -f list); list $namespace"
done
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | grep -oE '(--owner|-name) evenkeel-[0-9a-f]{8}-[a-z0-9]+' |
  sed -E 's/.*-/process /'
ls @run@/vms 2>/dev/null | grep -E '^(vm|trial|pool)' | sed 's/^/directory /'
for directory in @run@/vms/vm*; do
  [ -e $directory/qmp.sock ] || (cd @run@/vms && find $(basename $directory) -mindepth 1 2>/dev/null | sed 's/^/file /')
done
for installation in @installations@; do
  find /sys/fs/cgroup{,/*}/evenkeel-$installation* -depth -type d 2>/dev/null | sed -E 's,.*/evenkeel-[0-9a-f]+/?,cgroup ,' | sort -u
done
true
"#;

/// What is there, one thing a line, in alphabetical order.
#[derive(Clone, PartialEq, Eq)]
pub struct World(Vec<String>);

impl World {
    /// What the host shows now.
    ///
    /// # Panics
    /// When it cannot be looked at.
    #[must_use]
    pub fn seen(host: &Host) -> Self {
        let installations = host.installations().into_iter().collect::<Vec<_>>();
        let script = LOOK
            .replace("@run@", &host.path("run").display().to_string())
            .replace("@installations@", &installations.join(" "));
        let output = host.command("bash").args(["-c", &script]).output();
        let output = output.expect("util-linux has nsenter");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaints}");
        let text = String::from_utf8_lossy(&output.stdout);
        let vms = host.path("run/vms");
        let lines = text
            .lines()
            .map(|line| owner_of(line, &vms).unwrap_or_else(|| line.to_owned()));
        Self::sorted(lines.collect())
    }

    /// What should be there by all that `info` tells: a front network, and what projects, subnets and
    /// VMs need.
    ///
    /// # Panics
    /// When the door does not answer.
    #[must_use]
    pub fn told(door: &Door) -> Self {
        let Self(mut lines) = Self::front();
        let system = door.do_("info", "system", json!({}));
        for project in list(&system["projects"]) {
            tell_project(door, project, &mut lines);
        }
        if lines.iter().any(|line| line.starts_with("cgroup ")) {
            lines.push("cgroup ".into());
        }
        Self::sorted(lines)
    }

    /// The same without the machines of the pool that wait, which belong to nobody and come when they like, and
    /// without the one of which a snapshot is being made.
    #[must_use]
    pub fn without_pool(&self) -> Self {
        let is_unowned = |line: &String| {
            let name = line.rsplit(['/', ' ']).next().unwrap_or_default();
            name.starts_with("pool") || name == "trial" || is_spare(name)
        };
        let owned = self.0.iter().filter(|line| !is_unowned(line));
        Self(owned.cloned().collect())
    }

    /// What an installation without projects has.
    #[must_use]
    pub fn front() -> Self {
        let lines = ["link host/ek-front", "table host/bridge", "table host/inet"];
        Self(lines.map(str::to_owned).to_vec())
    }

    /// How many things there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing at all is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until the host shows what `info` tells, and nothing else.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn await_told(host: &Host, door: &Door) {
        eventually("the world is as info tells", || {
            let (seen, told) = (Self::seen(host), Self::told(door));
            match (seen.beyond(&told), told.beyond(&seen)) {
                (surplus, missing) if surplus.is_empty() && missing.is_empty() => Ok(()),
                (surplus, missing) => Err(format!("surplus {surplus:?}, missing {missing:?}")),
            }
        });
    }

    fn sorted(mut lines: Vec<String>) -> Self {
        lines.sort_unstable();
        Self(lines)
    }

    /// What is here and not in `other`.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Vec<String> {
        let mut rest = other.0.clone();
        let mut found = Vec::new();
        for line in &self.0 {
            match rest.iter().position(|known| known == line) {
                Some(place) => drop(rest.swap_remove(place)),
                None => found.push(line.clone()),
            }
        }
        found
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

/// A machine of the pool that has become a VM keeps its tag; whose it is, the VM's directory tells.
fn owner_of(line: &str, vms: &Path) -> Option<String> {
    let number: u64 = line.strip_prefix("process pool")?.parse().ok()?;
    let entries = std::fs::read_dir(vms).ok()?.flatten();
    let mut owners = entries.filter_map(|entry| {
        let record = std::fs::read(entry.path().join("vm.json")).ok()?;
        let record: Value = serde_json::from_slice(&record).ok()?;
        let name = entry.file_name().into_string().ok()?;
        (name.starts_with("vm") && record["spare"] == number).then_some(name)
    });
    Some(format!("process {}", owners.next()?))
}

fn is_spare(link: &str) -> bool {
    link.starts_with("ekpf") || link.starts_with("ekpt")
}

fn tell_project(door: &Door, project: &Value, lines: &mut Vec<String>) {
    let (user, name, id) = (&project["user"], &project["name"], &project["id"]);
    let namespace = format!("ek-p{id}");
    lines.push(format!("namespace {namespace}"));
    lines.push(format!("table {namespace}/bridge"));
    let of_project = json!({ "user": user, "project": name });
    let subnets = door.do_("info", "subnet", of_project);
    for subnet in list(&subnets["subnets"]) {
        lines.push(format!("link {namespace}/br"));
        let ports = list(&subnet["interfaces"]).filter_map(Value::as_str);
        lines.extend(ports.map(|port| format!("link {namespace}/{port}")));
    }
    for instance in list(&project["instances"]) {
        let named = json!({ "user": user, "project": name, "name": instance["name"] });
        let info = door.do_("info", "instance", named);
        list(&info["vms"]).for_each(|vm| tell_vm(&namespace, vm, lines));
    }
}

fn tell_vm(project: &str, vm: &Value, lines: &mut Vec<String>) {
    let id = &vm["id"];
    for (namespace, link) in [("host", format!("ekf{id}")), (project, format!("ekt{id}"))] {
        for thing in ["link", "chain", "element"] {
            lines.push(format!("{thing} {namespace}/{link}"));
        }
    }
    let address = vm["address"].as_str().unwrap_or_default();
    lines.push(format!("neighbour {address}"));
    if is_fenced(vm) {
        lines.push(format!("fenced host/ekf{id}"));
        lines.push(format!("fenced host/{address}"));
        lines.push(format!("fenced {project}/ekt{id}"));
    }
    for thing in ["process", "directory", "cgroup"] {
        lines.push(format!("{thing} vm{id}"));
    }
    if vm["driver"] == "process" {
        let files = ["balancer.log", "channel.sock", "log.pipe", "vm.json"];
        lines.extend(files.map(|file| format!("file vm{id}/{file}")));
        let namespace = format!("ek-v{id}");
        lines.push(format!("namespace {namespace}"));
        lines.extend(["front", "tenant"].map(|link| format!("link {namespace}/{link}")));
    }
}

/// Whether the host has closed its ports.
fn is_fenced(vm: &Value) -> bool {
    let aside = vm["aside"].as_str().unwrap_or_default();
    aside.contains("its ports are closed")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
