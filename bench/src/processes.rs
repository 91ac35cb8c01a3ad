//! What the kernel tells of processes.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::events::unix_ms;

/// What the kernel counts processes' starts in, for whatever processor: USER_HZ.
const TICK_MS: u64 = 10;
/// Behind the name, which may have spaces and ends with a parenthesis: the field `starttime` of proc(5).
const START_AFTER_NAME: usize = 19;

/// When a process began, in milliseconds since the Unix epoch, right to a tick of 10 ms; none of one that is not there.
#[must_use]
pub fn began_ms(pid: u64) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let since_boot_ms = ticks_at_start(&stat)? * TICK_MS;
    let boottime = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boottime.tv_sec).ok()?;
    let up_ms = seconds * 1_000 + u64::try_from(boottime.tv_nsec).ok()? / 1_000_000;
    Some(unix_ms().saturating_sub(up_ms.saturating_sub(since_boot_ms)))
}

fn ticks_at_start(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields
        .split_whitespace()
        .nth(START_AFTER_NAME)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_began_before_now_and_after_the_machine() {
        let now = unix_ms();
        let began = began_ms(std::process::id().into()).unwrap();
        assert!(
            began <= now + TICK_MS && began + 3_600_000 > now,
            "{began} {now}"
        );
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_hides_nothing() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        assert_eq!(ticks_at_start(stat), Some(4_711));
    }
}
