//! Numbers that nobody can guess.

use rustix::rand::{GetRandomFlags, getrandom};

/// Sixteen random bytes in hexadecimal.
#[must_use]
pub fn token() -> String {
    format!("{:016x}{:016x}", seed(), seed())
}

/// A random number. On a machine whose entropy pool is not ready yet it is taken from what there is: a
/// balancer that waits for entropy would serve nobody.
#[must_use]
pub fn seed() -> u64 {
    let mut bytes = [0u8; 8];
    let _ = getrandom(&mut bytes, GetRandomFlags::INSECURE);
    u64::from_ne_bytes(bytes)
}
