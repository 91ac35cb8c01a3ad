//! What happens between two checkpoints, as bytes of the write-ahead log.

use crate::checkpoint::{cells, kind, kind_byte, put_cells};
use crate::coding::{Malformed, Reader, put_bytes, put_signed, put_varint};
use crate::state::Retired;
use crate::{Cell, Kind, Reading};

/// What is written to the log between two checkpoints, in the order in which it was done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A series was made.
    Register {
        id: u32,
        owner: u64,
        name: String,
        kind: Kind,
    },
    /// A reading was taken.
    Add {
        id: u32,
        time_ms: i64,
        reading: Reading,
    },
    /// Time passed.
    Pass { now_ms: i64 },
    /// A series left its place, or was forgotten.
    Retire(Retired),
}

/// Appends a step. Times are relative to the log's clock.
pub(crate) fn put_step(out: &mut Vec<u8>, step: &Step, clock_ms: i64) {
    match step {
        Step::Pass { now_ms } => {
            out.push(0);
            put_signed(out, *now_ms);
        }
        Step::Retire(retired) => {
            let (tag, id) = match retired {
                Retired::Idle(id) => (5, id),
                Retired::Empty(id) => (6, id),
                Retired::Forgotten(id) => (7, id),
            };
            out.push(tag);
            put_varint(out, u64::from(*id));
        }
        Step::Register {
            id,
            owner,
            name,
            kind,
        } => {
            out.extend([1, kind_byte(*kind)]);
            put_varint(out, u64::from(*id));
            put_varint(out, *owner);
            put_bytes(out, name.as_bytes());
        }
        Step::Add {
            id,
            time_ms,
            reading,
        } => {
            out.push(match reading {
                Reading::Gauge(_) => 2,
                Reading::Count(_) => 3,
                Reading::Latencies(_) => 4,
            });
            put_varint(out, u64::from(*id));
            put_signed(out, time_ms.wrapping_sub(clock_ms));
            match reading {
                Reading::Gauge(figure) => put_varint(out, figure.to_bits().reverse_bits()),
                Reading::Count(count) => put_varint(out, *count),
                Reading::Latencies(histogram) => {
                    put_cells(out, &[(0, Cell::Latencies(histogram.clone()))]);
                }
            }
        }
    }
}

/// Reads a step.
pub(crate) fn step(from: &mut Reader, clock_ms: i64) -> Result<Step, Malformed> {
    let tag = from.byte()?;
    if tag == 0 {
        return Ok(Step::Pass {
            now_ms: from.signed()?,
        });
    }
    let new_kind = if tag == 1 {
        Some(kind(from.byte()?)?)
    } else {
        None
    };
    let id = u32::try_from(from.varint()?).map_err(|_| Malformed)?;
    match tag {
        5 => return Ok(Step::Retire(Retired::Idle(id))),
        6 => return Ok(Step::Retire(Retired::Empty(id))),
        7 => return Ok(Step::Retire(Retired::Forgotten(id))),
        _ => {}
    }
    if let Some(kind) = new_kind {
        let owner = from.varint()?;
        let name = String::from_utf8(from.bytes()?.to_vec()).map_err(|_| Malformed)?;
        return Ok(Step::Register {
            id,
            owner,
            name,
            kind,
        });
    }
    let time_ms = from.signed()?.wrapping_add(clock_ms);
    let reading = match tag {
        2 => Reading::Gauge(f64::from_bits(from.varint()?.reverse_bits())),
        3 => Reading::Count(from.varint()?),
        4 => match cells(from)?.pop() {
            Some((_, Cell::Latencies(histogram))) => Reading::Latencies(histogram),
            _ => return Err(Malformed),
        },
        _ => return Err(Malformed),
    };
    Ok(Step::Add {
        id,
        time_ms,
        reading,
    })
}
