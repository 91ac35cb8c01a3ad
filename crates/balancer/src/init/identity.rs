//! What tells a VM apart from its siblings besides its addresses: randomness, time and name.

use std::fs::File;
use std::os::fd::AsRawFd;

use model::Boot;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::system::sethostname;
use rustix::time::{ClockId, Timespec, clock_settime};

use super::error::InitError;

/// Bytes of a seed.
const SEED_BYTES: usize = 32;

/// Open files of this VM's processes.
const OPEN_FILES: u64 = 1 << 20;

/// Takes on what Boot says.
pub(super) fn assume(boot: &Boot) -> Result<(), InitError> {
    let seed = read_seed(&boot.seed).ok_or_else(|| {
        InitError::Missing(format!("the seed is not {SEED_BYTES} bytes in hexadecimal"))
    })?;
    add_entropy(&seed)?;
    clock_settime(ClockId::Realtime, time_of(boot.unix_time_ms))
        .map_err(InitError::system("set the clock"))?;
    sethostname(boot.hostname.as_bytes()).map_err(InitError::system("set the host name"))?;
    let limit = Rlimit {
        current: Some(OPEN_FILES),
        maximum: Some(OPEN_FILES),
    };
    setrlimit(Resource::Nofile, limit).map_err(InitError::system("raise the number of open files"))
}

fn read_seed(text: &str) -> Option<[u8; SEED_BYTES]> {
    if text.len() != 2 * SEED_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut seed = [0; SEED_BYTES];
    for (byte, at) in seed.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(seed)
}

fn time_of(unix_time_ms: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(unix_time_ms / 1000).unwrap_or(i64::MAX),
        // Below 10^9 by the remainder.
        tv_nsec: i64::try_from(unix_time_ms % 1000 * 1_000_000).unwrap_or(0),
    }
}

/// What RNDADDENTROPY takes: random(4).
#[repr(C)]
struct Entropy {
    bits: libc::c_int,
    bytes: libc::c_int,
    seed: [u8; SEED_BYTES],
}

/// `_IOW('R', 0x03, int[2])` of linux/random.h.
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;

/// `_IO('R', 0x07)` of linux/random.h.
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

/// Mixes the seed into the kernel's pool and counts it as random: a fresh VM has little else. Then has the
/// kernel draw new keys from the pool: a VM that was restored from a snapshot would otherwise go on for up to
/// a minute with the keys, and so with the random numbers, of its siblings.
fn add_entropy(seed: &[u8; SEED_BYTES]) -> Result<(), InitError> {
    let action = "seed the random number generator";
    let device = File::options().write(true).open("/dev/urandom");
    let device = device.map_err(InitError::system(action))?;
    let entropy = Entropy {
        bits: 8 * SEED_BYTES as libc::c_int,
        bytes: SEED_BYTES as libc::c_int,
        seed: *seed,
    };
    // SAFETY: the request reads one `Entropy`, whose `bytes` tells how much of `seed` there is.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), RNDADDENTROPY as _, &raw const entropy) };
    if result != 0 {
        return Err(InitError::system(action)(std::io::Error::last_os_error()));
    }
    // Refused only before the kernel has keys at all; the seed is what it will draw them from.
    // SAFETY: the request takes no argument.
    let _has_no_keys_yet = unsafe { libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG as _) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_32_bytes_in_hexadecimal_and_nothing_else() {
        assert_eq!(read_seed(&"0f".repeat(32)), Some([15; 32]));
        for text in [
            "",
            &"0f".repeat(31),
            &"0f".repeat(33),
            &"0g".repeat(32),
            &"+f".repeat(32),
            &"é".repeat(32),
        ] {
            assert_eq!(read_seed(text), None, "{text}");
        }
    }

    #[test]
    fn milliseconds_become_seconds_and_nanoseconds() {
        let time = time_of(1_700_000_000_123);
        assert_eq!((time.tv_sec, time.tv_nsec), (1_700_000_000, 123_000_000));
    }
}
