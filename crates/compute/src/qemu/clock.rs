//! The host's time stamp counter, which a guest under TCG reads directly.

use std::time::Duration;

/// How long the counter is watched. Reading both clocks takes well under a microsecond, so the
/// figure is good to about ten parts in a million.
const WATCHED: Duration = Duration::from_millis(100);

/// Measures the counter's rate in kHz. `None` where there is no such counter.
///
/// `/proc/cpuinfo` is no substitute: it shows the processor's clock of the moment, which on many
/// machines is not the counter's.
#[cfg(target_arch = "x86_64")]
pub(crate) async fn measure_tsc_khz() -> Option<u64> {
    use std::time::Instant;
    let (start, first) = (Instant::now(), read_tsc());
    tokio::time::sleep(WATCHED).await;
    let (last, passed) = (read_tsc(), start.elapsed());
    let ticks = u128::from(last.checked_sub(first)?);
    let khz = ticks.checked_mul(1_000_000)? / passed.as_nanos().max(1);
    u64::try_from(khz).ok().filter(|khz| *khz > 0)
}

#[cfg(target_arch = "x86_64")]
fn read_tsc() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and Linux lets programs use it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Measures the counter's rate in kHz. `None` where there is no such counter.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) async fn measure_tsc_khz() -> Option<u64> {
    None
}
