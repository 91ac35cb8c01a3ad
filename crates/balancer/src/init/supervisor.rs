//! Keeps the balancer running, and reaps every process that ends.

use std::convert::Infallible;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use model::{Boot, GuestMessage};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use super::channel::Channel;
use super::error::InitError;
use super::mounts::STATE;

/// Wait before a second quick start; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Longest wait before a start.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A balancer that lived that long is started again at once.
const LONG_LIFE: Duration = Duration::from_secs(5);

/// Runs the balancer for ever.
///
/// It inherits the channel, is told who this VM is by a file, and keeps its configuration in another,
/// so that its successor serves without asking the host.
pub(super) fn supervise(channel: &Channel, boot: &Boot) -> Result<Infallible, InitError> {
    write_boot(boot)?;
    let mut backoff = Backoff::default();
    loop {
        let started = Instant::now();
        let balancer = spawn(channel)?;
        let end = reap_until(balancer)?;
        let pause = backoff.after(started.elapsed());
        let text = format!(
            "the balancer {end}; starting it again in {} ms",
            pause.as_millis()
        );
        eprintln!("evenkeel init: {text}");
        channel.say(&GuestMessage::Log {
            level: "error".to_owned(),
            text,
        });
        sleep(pause);
    }
}

/// Hands Boot on, without the seed, which has served its purpose.
fn write_boot(boot: &Boot) -> Result<(), InitError> {
    let path = boot_file();
    let boot = Boot {
        seed: String::new(),
        ..boot.clone()
    };
    serde_json::to_vec(&boot)
        .map_err(std::io::Error::from)
        .and_then(|text| fs::write(&path, text))
        .map_err(InitError::system(format!("write {path}")))
}

fn boot_file() -> String {
    format!("{STATE}/boot.json")
}

fn spawn(channel: &Channel) -> Result<Pid, InitError> {
    let child = Command::new("/proc/self/exe")
        .arg0("evenkeel-balancer")
        .args([
            "run",
            "--channel-fd",
            &channel.descriptor().as_raw_fd().to_string(),
        ])
        .args(["--config-file", &format!("{STATE}/config.json")])
        .args(["--boot-file", &boot_file()])
        .spawn()
        .map_err(InitError::system("start the balancer"))?;
    Ok(Pid::from_child(&child))
}

/// Reaps whatever ends until `balancer` does, and says how it did.
fn reap_until(balancer: Pid) -> Result<String, InitError> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == balancer => return Ok(words(status)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(InitError::system("wait for the balancer")(error)),
        }
    }
}

fn words(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// How long to wait before the next start.
#[derive(Default)]
struct Backoff {
    quick_ends: u32,
}

impl Backoff {
    /// The wait after a balancer that lived for `life`: none the first time and after a long life.
    fn after(&mut self, life: Duration) -> Duration {
        if life >= LONG_LIFE {
            self.quick_ends = 0;
        }
        let factor = match self.quick_ends {
            0 => 0,
            more => 1u32.checked_shl(more - 1).unwrap_or(u32::MAX),
        };
        self.quick_ends = self.quick_ends.saturating_add(1).min(31);
        FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balancer_is_started_at_once_then_ever_later_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let quick = Duration::from_millis(3);
        let mut after = |life| backoff.after(life).as_millis();
        assert_eq!(
            [(); 9].map(|()| after(quick)),
            [0, 10, 20, 40, 80, 160, 320, 640, 1000]
        );
        for _ in 0..100 {
            assert_eq!(after(quick), 1000);
        }
        assert_eq!(after(LONG_LIFE), 0, "a long life forgives");
        assert_eq!(after(quick), 10);
    }
}
