//! Whether the host has the memory for one VM more, so that none that runs is harmed by one that comes.
//!
//! ```text
//!   what the host, or the cgroup, has available
//!     − the reserve                            so that the host goes on as well
//!     − what VMs that are there may yet take   each up to what it was promised
//!     − what VMs under way were promised       several may start at once
//!     = what is left for one more
//! ```
//!
//! A machine is promised all of its memory, though most of them never use it: a guest cannot be told later
//! that there is none. A process is not; what it takes is bounded by its cgroup, and seen. Machines of the pool
//! are promised as much, and give way when a VM would have to wait.

use std::fs;
use std::path::{Path, PathBuf};

use model::{Driver, VmShape};

use crate::readiness::Accelerator;

/// What QEMU takes beside the guest's memory: mostly, under TCG, the code that it made of the guest's.
const TCG_MIB: u64 = 96;
/// The same under KVM.
const KVM_MIB: u64 = 32;
/// What a balancer takes that is a process of the host and has little to do.
const PROCESS_MIB: u64 = 32;
/// Figures in words are rounded down to so many, so that they stand still where little changes.
const STEP_MIB: u64 = 16;

/// What one VM is promised, in MiB.
pub(crate) fn need_mib(driver: Driver, accelerator: &str, shape: VmShape) -> u64 {
    let guest = u64::from(shape.memory_mib);
    match driver {
        Driver::Process => guest.min(PROCESS_MIB),
        Driver::Qemu if accelerator == Accelerator::Kvm.to_string() => guest + KVM_MIB,
        Driver::Qemu => guest + TCG_MIB,
    }
}

/// One VM's share, in MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub promised: u64,
    /// What it has taken of that.
    pub used: u64,
}

/// The memory that there is, and what was promised of it, in MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What can be had without harm to anybody.
    pub available: u64,
    /// What is to stay available.
    pub reserve: u64,
    /// What all VMs may be promised together.
    pub limit: Option<u64>,
    /// What VMs were promised.
    pub promised: u64,
    /// What of that they have not taken yet.
    pub owed: u64,
}

impl Memory {
    /// Counts VMs in.
    pub(crate) fn with(mut self, shares: impl IntoIterator<Item = Share>) -> Self {
        for Share { promised, used } in shares {
            self.promised += promised;
            self.owed += promised.saturating_sub(used);
        }
        self
    }

    /// What is left for one more.
    pub(crate) fn room(&self) -> u64 {
        let host = self.available.saturating_sub(self.reserve + self.owed);
        let limit = self.limit.map(|limit| limit.saturating_sub(self.promised));
        limit.map_or(host, |limit| limit.min(host))
    }

    /// Why one that needs so much has to wait, and what to do.
    pub(crate) fn refusal(&self, need: u64) -> String {
        let Self {
            available,
            reserve,
            limit,
            promised,
            owed,
        } = *self;
        let by_limit = limit.filter(|limit| promised + need > *limit);
        match by_limit {
            Some(limit) => format!(
                "it waits for memory: it needs {need} MiB, and of the {limit} MiB that VMs may have together \
                 {promised} MiB are promised to others; delete instances, lower `vm.memory_mib`, or raise \
                 `compute.memory_limit_mib`; it starts by itself when there is room"
            ),
            None => format!(
                "it waits for memory: it needs {need} MiB, and of the {} MiB that this host has available {reserve} \
                 MiB are kept in reserve and {} MiB are promised to other VMs; free memory, delete instances, lower \
                 `vm.memory_mib`, or lower `compute.memory_reserve_mib`; it starts by itself when there is room",
                rounded(available),
                rounded(owed)
            ),
        }
    }
}

fn rounded(mib: u64) -> u64 {
    mib / STEP_MIB * STEP_MIB
}

/// What can be had, in MiB: the least that the kernel or any of these cgroups says. Everything where neither
/// can be read, since nothing is known then.
pub(crate) fn available_mib(cgroups: &[PathBuf]) -> u64 {
    let host = fs::read_to_string("/proc/meminfo").ok();
    let host = host.and_then(|text| field_kib(&text, "MemAvailable:"));
    let groups = cgroups.iter().filter_map(|group| room_in(group));
    let least = groups.chain(host.map(|kib| kib / 1024)).min();
    least.unwrap_or(u64::MAX / 2)
}

/// What a cgroup's limit leaves, in MiB; `None` where it has none. What it holds of files can be given back.
fn room_in(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let number = |text: String| text.trim().parse::<u64>().ok();
    let (limit, usage) = match read("memory.max") {
        Some(limit) => (number(limit)?, read("memory.current")?),
        None => (
            number(read("memory.limit_in_bytes")?)?,
            read("memory.usage_in_bytes")?,
        ),
    };
    let statistics = read("memory.stat").unwrap_or_default();
    let files = statistics
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| matches!(*name, "total_inactive_file" | "inactive_file"));
    let files = files.and_then(|(_, bytes)| bytes.parse::<u64>().ok());
    let used = number(usage)?.saturating_sub(files.unwrap_or(0));
    Some(limit.saturating_sub(used) >> 20)
}

/// What a process has taken for itself, in MiB: pages that it shares with its siblings are not among them.
pub(crate) fn used_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    field_kib(&status, "RssAnon:").unwrap_or(0) / 1024
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Share = Share {
        promised: 224,
        used: 0,
    };

    fn host(available: u64) -> Memory {
        Memory {
            available,
            reserve: 256,
            ..Memory::default()
        }
    }

    #[test]
    fn what_was_promised_and_is_not_taken_yet_is_no_room_for_another() {
        assert_eq!(host(1_000).room(), 744);
        assert_eq!(host(1_000).with([ONE]).room(), 520);
        let grown = Share { used: 200, ..ONE };
        assert_eq!(host(800).with([grown]).room(), 520);
        let overgrown = Share { used: 300, ..ONE };
        assert_eq!(host(700).with([overgrown]).room(), 444);
        assert_eq!(host(100).with([ONE; 9]).room(), 0);
    }

    #[test]
    fn a_limit_counts_what_was_promised_whoever_uses_it() {
        let limited = Memory {
            limit: Some(500),
            ..host(10_000)
        };
        let grown = Share { used: 224, ..ONE };
        assert_eq!(limited.with([grown]).room(), 276);
        assert_eq!(limited.with([ONE; 2]).room(), 52);
        let words = limited.with([ONE; 2]).refusal(224);
        assert!(words.contains("compute.memory_limit_mib"), "{words}");
        let words = host(300).refusal(224);
        assert!(words.contains("compute.memory_reserve_mib"), "{words}");
    }

    #[test]
    fn a_cgroup_leaves_what_its_limit_says_of_either_version() {
        let group = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(group.path().join(name), text).unwrap();
        assert_eq!(room_in(group.path()), None);
        write("memory.limit_in_bytes", "1073741824\n");
        write("memory.usage_in_bytes", "536870912\n");
        assert_eq!(room_in(group.path()), Some(512));
        write("memory.max", "max\n");
        write("memory.current", "536870912\n");
        assert_eq!(room_in(group.path()), None);
        write("memory.max", "1073741824\n");
        write("memory.stat", "anon 1\ninactive_file 104857600\n");
        assert_eq!(room_in(group.path()), Some(612));
    }

    #[test]
    fn a_machine_needs_more_than_its_guest_has_and_a_process_no_more_than_it_may() {
        let shape = |memory_mib| VmShape {
            memory_mib,
            ..VmShape::default()
        };
        assert_eq!(need_mib(Driver::Qemu, "tcg", shape(128)), 224);
        assert_eq!(need_mib(Driver::Qemu, "kvm", shape(128)), 160);
        assert_eq!(need_mib(Driver::Process, "process", shape(128)), 32);
        assert_eq!(need_mib(Driver::Process, "process", shape(16)), 16);
    }

    #[test]
    fn this_machine_and_this_process_have_memory() {
        assert!(available_mib(&[]) > 0);
        let held = std::hint::black_box(vec![1_u8; 4 << 20]);
        assert!(used_mib(std::process::id()) >= 4);
        drop(held);
    }
}
