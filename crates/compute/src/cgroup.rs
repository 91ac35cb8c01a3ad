//! A cgroup for each VM: what it uses can be counted, and a process VM's memory is bounded.
//!
//! The groups lie at the top of the hierarchy and not below the controller's own group, since
//! whoever stops the controller's group must not stop the VMs. Both cgroup versions are known: on
//! version 1 (or a mix) the `cpuacct` and `memory` hierarchies are used, else version 2. Without a
//! writable cgroup VMs run all the same, uncounted and unbounded.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{InstallationId, VmId};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

/// Attempts to make a group.
const CREATION_ATTEMPTS: u32 = 5;

/// Attempts to remove a group, which is busy until its last process is wholly gone.
const REMOVAL_ATTEMPTS: u32 = 100;

/// Between two such attempts.
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    /// Version 1, CPU time.
    CpuAccounting,
    /// Version 1, memory.
    Memory,
    /// Version 2, everything.
    Unified,
}

/// Where one installation has its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroups {
    /// Each hierarchy with the directory that is the installation's.
    hierarchies: Vec<(Controller, PathBuf)>,
}

impl Cgroups {
    /// Looks where cgroups are mounted.
    pub(crate) fn find(installation: &InstallationId) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self::among(&mounts, installation)
    }

    fn among(mountinfo: &str, installation: &InstallationId) -> Self {
        let mounted = || mountinfo.lines().filter_map(read_mount);
        let find = |wanted: Controller| {
            let root = mounted()
                .find(|(controllers, _)| controllers.contains(&wanted))?
                .1;
            Some((
                wanted,
                Path::new(root).join(format!("evenkeel-{installation}")),
            ))
        };
        let first: Vec<_> = [Controller::CpuAccounting, Controller::Memory]
            .into_iter()
            .filter_map(find)
            .collect();
        let hierarchies = match first.is_empty() {
            true => find(Controller::Unified).into_iter().collect(),
            false => first,
        };
        Self { hierarchies }
    }

    /// Why VMs cannot have cgroups, as a sentence; `None` when they can.
    pub(crate) fn obstacle(&self) -> Option<String> {
        if self.hierarchies.is_empty() {
            return Some("no cgroup hierarchy is mounted, so VMs' memory is not bounded and their use is not counted".to_owned());
        }
        let refused = self.hierarchies.iter().find_map(|(_, directory)| {
            let error = fs::create_dir_all(directory).err()?;
            Some(format!("cgroups are not writable ({}: {error}), so VMs' memory is not bounded and their use is not counted", directory.display()))
        });
        self.remove_empty_parents();
        refused
    }

    /// Makes the group of `vm`, with a bound on memory where one is given, and returns the files into
    /// which a process writes `0` to join. What cannot be made is left out and logged.
    pub(crate) fn ensure(&self, vm: VmId, memory_mib: Option<u32>) -> Vec<OwnedFd> {
        let mut entrances = Vec::new();
        for (controller, parent) in &self.hierarchies {
            match ensure_one(*controller, &parent.join(format!("vm{vm}")), memory_mib) {
                Ok(entrance) => entrances.push(entrance),
                Err(error) => {
                    tracing::warn!(%vm, %error, cgroup = %parent.display(), "no cgroup for the VM; going on without");
                }
            }
        }
        entrances
    }

    /// Removes the group of `vm`, whose process has ended, with whatever it may have left running. One that is not there is no error.
    pub(crate) async fn remove(&self, vm: VmId) -> Result<(), (PathBuf, io::Error)> {
        for (_, parent) in &self.hierarchies {
            let group = parent.join(format!("vm{vm}"));
            end_processes(&group);
            remove_one(&group).await.map_err(|error| (group, error))?;
        }
        self.remove_empty_parents();
        Ok(())
    }

    /// Where a bound on all VMs' memory may stand: the installation's group and the one it lies in.
    pub(crate) fn bounds(&self) -> Vec<PathBuf> {
        let counts = |controller: &Controller| *controller != Controller::CpuAccounting;
        let own = self.hierarchies.iter().filter(|(it, _)| counts(it));
        own.flat_map(|(_, group)| [Some(group.clone()), group.parent().map(PathBuf::from)])
            .flatten()
            .collect()
    }

    /// The VMs that have a group, in no order, some twice.
    pub(crate) fn list(&self) -> Vec<VmId> {
        let parents = self.hierarchies.iter();
        parents
            .flat_map(|(_, parent)| crate::directory::list(parent).unwrap_or_default())
            .collect()
    }

    /// A parent that still has groups refuses, which is as it should be.
    fn remove_empty_parents(&self) {
        for (_, parent) in &self.hierarchies {
            let _in_use = fs::remove_dir(parent);
        }
    }
}

fn ensure_one(
    controller: Controller,
    group: &Path,
    memory_mib: Option<u32>,
) -> io::Result<OwnedFd> {
    if controller == Controller::Unified {
        delegate_memory(group);
    }
    make_group(group)?;
    let limit_file = match controller {
        Controller::CpuAccounting => None,
        Controller::Memory => Some("memory.limit_in_bytes"),
        Controller::Unified => Some("memory.max"),
    };
    if let (Some(file), Some(memory_mib)) = (limit_file, memory_mib) {
        let bytes = u64::from(memory_mib) << 20;
        if let Err(error) = fs::write(group.join(file), bytes.to_string()) {
            tracing::warn!(%error, cgroup = %group.display(), "memory is not bounded");
        }
    }
    let entrance = fs::OpenOptions::new()
        .write(true)
        .open(group.join("cgroup.procs"))?;
    Ok(entrance.into())
}

/// Makes a group with its parent, which whoever removes another VM's group may just be removing.
fn make_group(group: &Path) -> io::Result<()> {
    let attempts = (0..CREATION_ATTEMPTS).map(|_| fs::create_dir_all(group));
    let mut last = Ok(());
    for attempt in attempts {
        match attempt {
            Err(error) if error.kind() == io::ErrorKind::NotFound => last = Err(error),
            other => return other,
        }
    }
    last
}

/// Version 2 gives a group the `memory` controller only when all groups above hand it down.
fn delegate_memory(group: &Path) {
    let Some(parent) = group.parent() else {
        return;
    };
    let _made_again_below = fs::create_dir_all(parent);
    for above in [parent.parent(), Some(parent)].into_iter().flatten() {
        if let Err(error) = fs::write(above.join("cgroup.subtree_control"), "+memory") {
            tracing::debug!(%error, cgroup = %above.display(), "memory is not handed down");
        }
    }
}

/// Ends what is left in a group. Balancers end with their supervisor, so this is for what nobody expects.
fn end_processes(group: &Path) {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let pids = listed.lines().filter_map(|line| line.parse().ok());
    for pid in pids.filter_map(Pid::from_raw) {
        let _has_ended = kill_process(pid, Signal::KILL);
    }
}

async fn remove_one(group: &Path) -> io::Result<()> {
    let mut attempt = 1;
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && attempt < REMOVAL_ATTEMPTS =>
            {
                attempt += 1;
                sleep(REMOVAL_PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Reads one line of mountinfo(5): the controllers of a cgroup mount and where it is mounted.
fn read_mount(line: &str) -> Option<(Vec<Controller>, &str)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mountpoint = mount.split(' ').nth(4)?;
    let mut fields = filesystem.split(' ');
    let controllers = match fields.next()? {
        "cgroup2" => vec![Controller::Unified],
        "cgroup" => fields
            .nth(1)?
            .split(',')
            .filter_map(|option| match option {
                "cpuacct" => Some(Controller::CpuAccounting),
                "memory" => Some(Controller::Memory),
                _ => None,
            })
            .collect(),
        _ => return None,
    };
    Some((controllers, mountpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_on_version_1_on_version_2_and_on_a_mix() {
        let v1 = "30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                  31 29 0:27 / /sys/fs/cgroup/memory rw,relatime shared:1 - cgroup cgroup rw,memory\n";
        let v2 = "28 24 0:25 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let hybrid = format!("{v1}40 29 0:39 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
        let installation = InstallationId("0a1b2c3d".to_owned());
        let paths = |mountinfo: &str| -> Vec<String> {
            Cgroups::among(mountinfo, &installation)
                .hierarchies
                .iter()
                .map(|(controller, path)| format!("{controller:?} {}", path.display()))
                .collect()
        };
        let both = [
            "CpuAccounting /sys/fs/cgroup/cpu,cpuacct/evenkeel-0a1b2c3d",
            "Memory /sys/fs/cgroup/memory/evenkeel-0a1b2c3d",
        ];
        assert_eq!(paths(v1), both);
        assert_eq!(paths(&hybrid), both);
        assert_eq!(paths(v2), ["Unified /sys/fs/cgroup/evenkeel-0a1b2c3d"]);
        assert!(paths("1 2 0:3 / /proc rw - proc proc rw\n").is_empty());
    }
}
