//! How much of its processors a VM without a machine uses: what its cgroup counts, or, where it has none, what
//! this process has used.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::VmId;
use rustix::time::{ClockId, clock_gettime};

/// The processors' time over the last while.
pub(super) struct Processor {
    source: Source,
    threads: u32,
    last: Option<(Instant, Duration)>,
}

/// Where the time is counted.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    /// Version 1: a file with nanoseconds.
    Nanoseconds(PathBuf),
    /// Version 2: a file with a line `usage_usec`.
    Statistics(PathBuf),
    /// The kernel's count of this process.
    Process,
}

impl Processor {
    /// Of a VM with so many processors.
    pub(super) fn of(vm: VmId, threads: usize) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (groups, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
        let source = Source::among(&groups, &mounts, vm).filter(|source| source.used().is_some());
        Self {
            source: source.unwrap_or(Source::Process),
            threads: u32::try_from(threads.max(1)).unwrap_or(u32::MAX),
            last: None,
        }
    }

    /// The share since the last call, of all processors, in percent; nothing the first time.
    pub(super) fn share_percent(&mut self, now: Instant) -> Option<f64> {
        let used = self.source.used()?;
        let (then, before) = self.last.replace((now, used))?;
        let passed = now.saturating_duration_since(then) * self.threads;
        if passed.is_zero() {
            return None;
        }
        let share = used.saturating_sub(before).as_secs_f64() / passed.as_secs_f64();
        // The supervisor and the control thread run beside those that forward.
        Some((share * 100.0).min(100.0))
    }
}

impl Source {
    /// The VM's own group among those that this process is in, by /proc/self/cgroup and mountinfo.
    fn among(groups: &str, mounts: &str, vm: VmId) -> Option<Self> {
        let name = format!("vm{vm}");
        let own = |controller: &str| {
            groups.lines().find_map(|line| {
                let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
                let fits = controllers.split(',').any(|one| one == controller);
                let is_own = Path::new(group)
                    .file_name()
                    .is_some_and(|last| *last == *name);
                (fits && is_own).then_some(group)
            })
        };
        let first = own("cpuacct").and_then(|group| {
            let mounted = mounted(mounts, |kind, options| {
                kind == "cgroup" && options.split(',').any(|option| option == "cpuacct")
            })?;
            Some(Self::Nanoseconds(
                mounted.join_group(group)?.join("cpuacct.usage"),
            ))
        });
        first.or_else(|| {
            let mounted = mounted(mounts, |kind, _| kind == "cgroup2")?;
            Some(Self::Statistics(
                mounted.join_group(own("")?)?.join("cpu.stat"),
            ))
        })
    }

    /// The time that was used until now.
    fn used(&self) -> Option<Duration> {
        match self {
            Self::Nanoseconds(path) => {
                let text = fs::read_to_string(path).ok()?;
                text.trim().parse().ok().map(Duration::from_nanos)
            }
            Self::Statistics(path) => {
                let text = fs::read_to_string(path).ok()?;
                let mut lines = text.lines();
                let usage = lines.find_map(|line| line.strip_prefix("usage_usec "))?;
                usage.parse().ok().map(Duration::from_micros)
            }
            Self::Process => {
                let used = clock_gettime(ClockId::ProcessCPUTime);
                Duration::try_from(used).ok()
            }
        }
    }
}

/// Where a hierarchy is mounted, and which of its groups is there.
struct Mounted<'a> {
    root: &'a str,
    point: &'a str,
}

impl Mounted<'_> {
    fn join_group(&self, group: &str) -> Option<PathBuf> {
        let below = Path::new(group).strip_prefix(self.root).ok()?;
        Some(Path::new(self.point).join(below))
    }
}

/// The first mount whose kind and options fit; proc(5) has the fields.
fn mounted(mounts: &str, fits: impl Fn(&str, &str) -> bool) -> Option<Mounted<'_>> {
    mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let mut kind = kind.split(' ');
        let (kind, options) = (kind.next()?, kind.nth(1)?);
        fits(kind, options).then_some(Mounted { root, point })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "36 25 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct\n\
        41 25 0:37 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const SECOND: &str =
        "24 22 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_vms_own_group_is_found_whatever_the_version() {
        let find = |groups, mounts| Source::among(groups, mounts, VmId(7));
        let first = "4:cpu,cpuacct:/evenkeel-ab/vm7\n1:memory:/evenkeel-ab/vm7\n0::/\n";
        let usage = "/sys/fs/cgroup/cpu,cpuacct/evenkeel-ab/vm7/cpuacct.usage";
        assert_eq!(find(first, FIRST), Some(Source::Nanoseconds(usage.into())));
        let second = "0::/evenkeel-ab/vm7\n";
        let statistics = "/sys/fs/cgroup/evenkeel-ab/vm7/cpu.stat";
        assert_eq!(
            find(second, SECOND),
            Some(Source::Statistics(statistics.into()))
        );
        for groups in [
            "4:cpu,cpuacct:/\n",
            "4:cpu,cpuacct:/evenkeel-ab/vm8\n",
            "0::/user.slice\n",
            "",
        ] {
            assert_eq!(find(groups, FIRST), None, "{groups}");
            assert_eq!(find(groups, SECOND), None, "{groups}");
        }
    }

    #[test]
    fn the_share_is_of_all_processors_and_over_the_time_between() {
        let mut processor = Processor {
            source: Source::Process,
            threads: 4,
            last: None,
        };
        let now = Instant::now();
        assert_eq!(processor.share_percent(now), None);
        let used = processor.source.used().unwrap();
        processor.last = Some((now, used.saturating_sub(Duration::from_millis(1))));
        let share = processor
            .share_percent(now + Duration::from_secs(1))
            .unwrap();
        assert!(share > 0.0 && share <= 100.0, "{share}");
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| fs::write(file.path(), text).unwrap();
        for (source, before, after) in [
            (
                Source::Nanoseconds(file.path().into()),
                "0\n",
                "2000000000\n",
            ),
            (
                Source::Statistics(file.path().into()),
                "usage_usec 0\nuser_usec 0\n",
                "usage_usec 2000000\nuser_usec 1\n",
            ),
        ] {
            let mut processor = Processor {
                source,
                threads: 4,
                last: None,
            };
            write(before);
            assert_eq!(processor.share_percent(now), None);
            write(after);
            let share = processor.share_percent(now + Duration::from_secs(1));
            assert_eq!(share, Some(50.0));
        }
    }
}
