//! Hashes that spread keys over backends: the same on every thread, in every balancer and after every
//! restart, so that all of them send a key to the same backend.
//!
//! They have no secret. Whoever chooses keys can choose them so that they all go to one backend; nothing
//! but the spreading of load may rest on these hashes.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Odd, and without a pattern: the golden ratio's fraction.
const SALT: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes any bytes, eight at a time.
///
/// Source: the folded multiplication of Wang Yi's wyhash (2019), which takes both halves of a product of 64
/// by 64 bits. Deviation: one accumulator and one constant, enough for keys of this length.
#[must_use]
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    let mut hash = SALT ^ bytes.len() as u64;
    for word in &mut words {
        hash = fold(hash ^ word.iter().rev().fold(0, append));
    }
    let rest = words.remainder().iter().rev().fold(0, append);
    mix(fold(hash ^ rest))
}

/// Hashes a client's address.
#[must_use]
pub fn hash_address(address: Ipv4Addr) -> u64 {
    mix(u64::from(address.to_bits()))
}

/// A number that stands for a backend, wherever and whenever it is asked for.
#[must_use]
pub fn identity_of(address: SocketAddrV4) -> u64 {
    mix((u64::from(address.ip().to_bits()) << 16) | u64::from(address.port()))
}

fn append(word: u64, byte: &u8) -> u64 {
    (word << 8) | u64::from(*byte)
}

fn fold(value: u64) -> u64 {
    let product = u128::from(value) * u128::from(SALT);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The finisher of SplitMix64; see [`Random`](crate::Random). Different numbers give different numbers.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(SALT);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_that_look_alike_hash_apart() {
        let mut keys = vec![String::new(), "\0".to_owned(), "\0\0".to_owned()];
        keys.extend((0..20_000).map(|id| format!("/article?id={id}")));
        let hashes: BTreeSet<_> = keys.iter().map(|key| hash_bytes(key.as_bytes())).collect();
        assert_eq!(hashes.len(), keys.len());
    }

    #[test]
    fn each_bit_of_a_hash_is_set_for_half_of_the_keys() {
        let addresses =
            (0..10_000u32).map(|host| hash_address(Ipv4Addr::from_bits(0x0a00_0000 + host)));
        let paths = (0..10_000u32).map(|id| hash_bytes(format!("/a/{id}").as_bytes()));
        for hashes in [addresses.collect::<Vec<_>>(), paths.collect()] {
            for bit in 0..64 {
                let set = hashes.iter().filter(|hash| *hash >> bit & 1 == 1).count();
                assert!((4_800..=5_200).contains(&set), "bit {bit}: {set}");
            }
        }
    }

    #[test]
    fn hashes_stay_what_they_are_from_release_to_release() {
        // A balancer that is replaced must send each key where the one before it did.
        assert_eq!(hash_bytes(b"/index.html"), 9_234_559_745_690_914_087);
        assert_eq!(
            hash_address(Ipv4Addr::new(192, 0, 2, 7)),
            15_347_982_739_067_671_328
        );
    }
}
