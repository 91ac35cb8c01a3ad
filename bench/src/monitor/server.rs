//! A program that is measured, and what it took of the machine.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::signals::end_with_us;

/// How long one may take to serve.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);
/// Of the times in `/proc/PID/stat`; on every architecture that Evenkeel runs on.
const TICKS_IN_A_SECOND: f64 = 100.0;
/// Fields of `/proc/PID/stat` after the name: `utime`, and `stime` after it.
const USER_TIME: usize = 11;

/// A running program. Ends when it is dropped, and with us.
pub struct Server {
    process: Child,
}

impl Server {
    /// # Errors
    /// Where the program is missing.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let process = end_with_us(command).spawn();
        Ok(Self {
            process: process.with_context(|| format!("{name} cannot be started"))?,
        })
    }

    /// The pipes that it was started with.
    pub fn pipes(&mut self) -> &mut Child {
        &mut self.process
    }

    /// Waits until something of it is there.
    ///
    /// # Errors
    /// Where it ends before that, or takes too long.
    pub fn await_<T>(&mut self, mut look: impl FnMut() -> Option<T>) -> Result<T> {
        let began = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            let ended = self.process.try_wait()?;
            ensure!(ended.is_none(), "a program ended with {ended:?}");
            ensure!(began.elapsed() < PATIENCE, "a program does not serve");
            sleep(PAUSE);
        }
    }

    /// Seconds of processor time that all its threads have used, by the kernel's account: in hundredths.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let text = self.account("stat")?;
        let (_, fields) = text.rsplit_once(')').context("stat has no name")?;
        let mut fields = fields.split_whitespace().skip(USER_TIME);
        let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok());
        let (user, system) = (ticks(), ticks());
        let ticks = user.context("no time")? + system.context("no time")?;
        Ok(ticks as f64 / TICKS_IN_A_SECOND)
    }

    /// The most MiB of memory that it has had resident.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn peak_mib(&self) -> Result<f64> {
        let text = self.account("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
        let kib: f64 = kib.context("no peak is told")?.trim().parse()?;
        Ok(kib / 1024.0)
    }

    fn account(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.process.id());
        fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _has_ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Bytes of all files in a directory whose names are meant: as long as they are, or as much of the disk as
/// they take where that is less.
///
/// # Errors
/// Where one cannot be read.
pub fn bytes_of(directory: &Path, is_meant: &dyn Fn(&str) -> bool) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            bytes += bytes_of(&entry.path(), is_meant)?;
        } else if is_meant(&entry.file_name().to_string_lossy()) {
            bytes += metadata.len().min(metadata.blocks() * 512);
        }
    }
    Ok(bytes)
}
