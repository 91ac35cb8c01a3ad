//! Percentages that were made of ticks: collectd's `cpu` plugin counts about a hundred ticks in a second and for each
//! processor, and tells what share of them each state had. Such a figure has no short decimals, but it is 100 n / d
//! for small n and d, but for what rounding made of it on the way, which is a unit in the last place or two.

use super::Malformed;
use super::bytes::{Reader, put_varint};
use super::column::{put_signed_column, signed_column};

/// Ticks that a processor has in a second.
const TICKS: i64 = 100;
/// So many processors are looked for, added up in one figure.
const MOST_PROCESSORS: i64 = 8;
/// What rounding may have made of a share, in units of the last place.
const ROUNDING: u64 = 15;

/// `None` if they are not all such shares.
pub(super) fn encode(values: &[f64]) -> Option<Vec<u8>> {
    let (usual, shares) = (1..=MOST_PROCESSORS).find_map(|processors| {
        let usual = processors * TICKS;
        let shares: Option<Vec<Share>> = values.iter().map(|value| share(*value, usual)).collect();
        Some((usual, shares?))
    })?;
    let mut out = Vec::new();
    put_varint(&mut out, usual as u64);
    for part in [
        |share: &Share| share.of,
        |share: &Share| share.ticks,
        |share: &Share| share.rounding,
    ] {
        let column: Vec<i64> = shares.iter().map(part).collect();
        put_signed_column(&mut out, &column);
    }
    Some(out)
}

pub(super) fn decode(bytes: &[u8], count: usize) -> Result<Vec<f64>, Malformed> {
    let mut from = Reader::new(bytes);
    let usual = i64::try_from(from.varint()?).map_err(|_| Malformed)?;
    let of = signed_column(&mut from, count)?;
    let ticks = signed_column(&mut from, count)?;
    let rounding = signed_column(&mut from, count)?;
    let shares = of.into_iter().zip(ticks).zip(rounding);
    Ok(shares
        .map(|((of, ticks), rounding)| {
            let bits = exact(ticks, usual.wrapping_add(of)).to_bits() as i64;
            f64::from_bits(bits.wrapping_add(rounding) as u64)
        })
        .collect())
}

/// A percentage: `ticks` of `usual + of`, and what rounding added.
struct Share {
    of: i64,
    ticks: i64,
    rounding: i64,
}

/// The share that is of the number of ticks that is next to the usual one.
fn share(value: f64, usual: i64) -> Option<Share> {
    if !(0.0..=101.0).contains(&value) {
        return None;
    }
    // What is counted while a second passes differs by a few ticks: an eighth is more than was ever seen.
    (0..=usual / 8).flat_map(|of| [of, -of]).find_map(|of| {
        let all = usual + of;
        let ticks = (value * all as f64 / 100.0).round() as i64;
        let rounding = (value.to_bits() as i64).wrapping_sub(exact(ticks, all).to_bits() as i64);
        (rounding.unsigned_abs() <= ROUNDING).then_some(Share {
            of,
            ticks,
            rounding,
        })
    })
}

fn exact(ticks: i64, all: i64) -> f64 {
    100.0 * ticks as f64 / all as f64
}
