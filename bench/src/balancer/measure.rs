//! What a proxy costs: CPU time by the scheduler's own account, and memory by the kernel's.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// CPU time at one moment, or between two.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Of all tasks of the proxy.
    pub proxy: Duration,
    /// Of the kernel's thread that handles packets where tasks cannot be charged for it.
    pub ksoftirqd: Duration,
    /// What the hypervisor gave to others on the proxy's core, in ticks of 10 ms.
    pub stolen: Duration,
}

impl Reading {
    /// What was used since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            proxy: self.proxy.saturating_sub(earlier.proxy),
            ksoftirqd: self.ksoftirqd.saturating_sub(earlier.ksoftirqd),
            stolen: self.stolen.saturating_sub(earlier.stolen),
        }
    }

    /// What is charged to the proxy.
    pub fn charged(&self) -> Duration {
        self.proxy + self.ksoftirqd
    }
}

/// Reads what a proxy has used.
#[derive(Clone, Debug)]
pub struct Meter {
    processes: Vec<u32>,
    ksoftirqd: Vec<u32>,
    cores: Vec<usize>,
}

impl Meter {
    /// For these processes on these cores.
    pub fn new(processes: Vec<u32>, cores: Vec<usize>) -> Self {
        let ksoftirqd =
            processes_named(|name| cores.iter().any(|core| name == format!("ksoftirqd/{core}")));
        Self {
            processes,
            ksoftirqd,
            cores,
        }
    }

    /// Reads now.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn read(&self) -> Result<Reading> {
        let mut reading = Reading::default();
        for process in &self.processes {
            reading.proxy += tasks_time(*process)?;
        }
        for process in &self.ksoftirqd {
            reading.ksoftirqd += tasks_time(*process)?;
        }
        let statistics = fs::read_to_string("/proc/stat")?;
        for core in &self.cores {
            reading.stolen += stolen(&statistics, *core);
        }
        Ok(reading)
    }
}

/// Time on a CPU of all of a process's tasks.
fn tasks_time(process: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    let directory = format!("/proc/{process}/task");
    let tasks = fs::read_dir(&directory).with_context(|| format!("process {process} is gone"))?;
    for task in tasks {
        let path = task?.path().join("schedstat");
        let text = fs::read_to_string(&path)?;
        let time = text.split(' ').next().and_then(|field| field.parse().ok());
        sum += Duration::from_nanos(time.context("schedstat cannot be read")?);
    }
    Ok(sum)
}

/// The eighth figure of a core's line in /proc/stat, in ticks of 10 ms.
fn stolen(statistics: &str, core: usize) -> Duration {
    let name = format!("cpu{core} ");
    let ticks = statistics
        .lines()
        .find(|line| line.starts_with(&name))
        .and_then(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok());
    Duration::from_millis(ticks.unwrap_or(0) * 10)
}

/// Proportional set size of the processes, in bytes: private memory, and each one's part of what is shared.
///
/// # Errors
/// When a process is gone.
pub fn memory(processes: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for process in processes {
        let path = format!("/proc/{process}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
        let kib = text
            .lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        sum += kib.context("smaps_rollup cannot be read")? * 1024;
    }
    Ok(sum)
}

/// A process and the children that it has now.
pub fn family(process: u32) -> Vec<u32> {
    let mut family = vec![process];
    family.extend(processes().filter(|candidate| parent(*candidate) == Some(process)));
    family
}

fn parent(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

fn processes_named(wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    processes()
        .filter(|process| {
            fs::read_to_string(format!("/proc/{process}/comm"))
                .is_ok_and(|name| wanted(name.trim()))
        })
        .collect()
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}
