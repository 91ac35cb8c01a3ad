//! When the cells are: slots in ascending order, as runs of equal distance.
//!
//! Gorilla (Pelkonen et al., VLDB 2015) writes a bit for each time whose distance is that of the one before. Here
//! times are slots already, so what comes regularly is one run however long it is, and costs three bytes a chunk.

use super::Malformed;
use super::bytes::{Reader, put_signed, put_varint};

/// Appends the slots. They ascend.
pub(super) fn put_slots(out: &mut Vec<u8>, slots: &[i64]) {
    let Some(first) = slots.first() else { return };
    put_signed(out, *first);
    let mut run: Option<(u64, u64)> = None;
    for pair in slots.windows(2) {
        let [before, slot] = pair else { continue };
        let distance = slot.wrapping_sub(*before) as u64;
        run = match run {
            Some((same, length)) if same == distance => Some((same, length + 1)),
            other => {
                put_run(out, other);
                Some((distance, 1))
            }
        };
    }
    put_run(out, run);
}

fn put_run(out: &mut Vec<u8>, run: Option<(u64, u64)>) {
    if let Some((distance, length)) = run {
        put_varint(out, distance);
        put_varint(out, length);
    }
}

/// Reads `count` slots.
pub(super) fn slots(from: &mut Reader, count: usize) -> Result<Vec<i64>, Malformed> {
    let mut slots = Vec::with_capacity(count);
    if count == 0 {
        return Ok(slots);
    }
    let mut slot = from.signed()?;
    slots.push(slot);
    while slots.len() < count {
        let distance = i64::try_from(from.varint()?).map_err(|_| Malformed)?;
        let length = from.length(count - slots.len())?;
        if distance == 0 || length == 0 {
            return Err(Malformed);
        }
        for _ in 0..length {
            slot = slot.checked_add(distance).ok_or(Malformed)?;
            slots.push(slot);
        }
    }
    Ok(slots)
}
