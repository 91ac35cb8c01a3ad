//! The cells of one series in a stretch of time.

use super::Malformed;
use super::bytes::{Reader, put_varint};
use super::column::{column, put_column};
use super::histograms::{histograms, put_histograms};
use super::slots::{put_slots, slots};
use crate::{Bucket, Cell, Histogram};

/// How hard to look for the smallest form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// For what stays in memory for minutes.
    Little,
    /// For what goes into a file.
    Most,
}

const SINGLES: u8 = 0;
const BUCKETS: u8 = 1;
const HISTOGRAMS: u8 = 2;
const MOSTLY_SINGLES: u8 = 3;

/// Of so many cells one may have more than one reading, and is written apart.
const ODD_ONE_IN: usize = 16;

/// A chunk of cells whose slots ascend, all of the kind of the first.
pub(crate) fn encode(cells: &[(i64, Cell)], effort: Effort) -> Vec<u8> {
    let mut out = Vec::new();
    let mut figures = Vec::new();
    let mut latencies = Vec::new();
    for (_, cell) in cells {
        match cell {
            Cell::Figures(bucket) => figures.push(*bucket),
            Cell::Latencies(histogram) => latencies.push(histogram),
        }
    }
    let slots: Vec<i64> = cells.iter().map(|(slot, _)| *slot).collect();
    let odd = figures
        .iter()
        .filter(|bucket| bucket.single().is_none())
        .count();
    let kind = match odd {
        _ if figures.is_empty() => HISTOGRAMS,
        0 => SINGLES,
        _ if odd * ODD_ONE_IN <= figures.len() => MOSTLY_SINGLES,
        _ => BUCKETS,
    };
    out.push(kind);
    put_varint(&mut out, slots.len() as u64);
    put_slots(&mut out, &slots);
    match kind {
        HISTOGRAMS => put_histograms(&mut out, &latencies),
        BUCKETS => put_buckets(&mut out, &figures, effort),
        _ => {
            let highest: Vec<f64> = figures.iter().map(|bucket| bucket.max).collect();
            put_column(&mut out, &highest, effort);
        }
    }
    if kind == MOSTLY_SINGLES {
        put_odd(&mut out, &figures, odd);
    }
    out
}

/// The cells that have more than one reading, by their place.
fn put_odd(out: &mut Vec<u8>, figures: &[Bucket], odd: usize) {
    put_varint(out, odd as u64);
    for (place, bucket) in figures.iter().enumerate() {
        if bucket.single().is_none() {
            put_varint(out, place as u64);
            put_varint(out, bucket.count);
            out.extend(bucket.min.to_le_bytes());
            out.extend(bucket.sum.to_le_bytes());
        }
    }
}

fn take_odd(from: &mut Reader, buckets: &mut [Bucket]) -> Result<(), Malformed> {
    for _ in 0..from.length(buckets.len())? {
        let place = from.length(buckets.len())?;
        let bucket = buckets.get_mut(place).ok_or(Malformed)?;
        bucket.count = from.varint()?;
        if bucket.count == 0 {
            return Err(Malformed);
        }
        bucket.min = f64::from_le_bytes(from.array()?);
        bucket.sum = f64::from_le_bytes(from.array()?);
    }
    Ok(())
}

fn put_buckets(out: &mut Vec<u8>, buckets: &[Bucket], effort: Effort) {
    let parts = [
        |bucket: &Bucket| bucket.count as f64,
        |bucket: &Bucket| bucket.min,
        |bucket: &Bucket| bucket.max,
        |bucket: &Bucket| bucket.sum,
    ];
    for part in parts {
        let column: Vec<f64> = buckets.iter().map(part).collect();
        put_column(out, &column, effort);
    }
}

/// The cells of a chunk; a chunk of more than `most` is refused. So whatever the bytes are, there is memory for `most`
/// cells and no more: some dozens of bytes for each, and 31 kB where they claim to be full histograms.
pub(crate) fn decode(bytes: &[u8], most: usize) -> Result<Vec<(i64, Cell)>, Malformed> {
    let mut from = Reader::new(bytes);
    let kind = from.byte()?;
    let count = from.length(most)?;
    let slots = slots(&mut from, count)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let cells: Vec<Cell> = match kind {
        SINGLES | MOSTLY_SINGLES => {
            let highest = column(&mut from, count)?;
            let mut buckets: Vec<Bucket> = highest.into_iter().map(Bucket::of).collect();
            if kind == MOSTLY_SINGLES {
                take_odd(&mut from, &mut buckets)?;
            }
            buckets.into_iter().map(Cell::Figures).collect()
        }
        BUCKETS => buckets(&mut from, count)?,
        HISTOGRAMS => {
            let histograms: Vec<Histogram> = histograms(&mut from, count)?;
            histograms.into_iter().map(Cell::Latencies).collect()
        }
        _ => return Err(Malformed),
    };
    Ok(slots.into_iter().zip(cells).collect())
}

fn buckets(from: &mut Reader, count: usize) -> Result<Vec<Cell>, Malformed> {
    let counts = column(from, count)?;
    let mins = column(from, count)?;
    let maxs = column(from, count)?;
    let sums = column(from, count)?;
    let buckets = counts.into_iter().zip(mins).zip(maxs).zip(sums);
    buckets
        .map(|(((count, min), max), sum)| {
            Ok(Cell::Figures(Bucket {
                count: whole_count(count)?,
                min,
                max,
                sum,
            }))
        })
        .collect()
}

/// A count that travelled as a number like the others.
fn whole_count(number: f64) -> Result<u64, Malformed> {
    let count = number as u64;
    if count > 0 && count as f64 == number {
        Ok(count)
    } else {
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buckets() -> impl Strategy<Value = Vec<(i64, Cell)>> {
        let cell = (1i64..400, prop::bool::weighted(0.05), any::<[f64; 3]>());
        prop::collection::vec(cell, 0..200).prop_map(|cells| {
            let mut slot = -7;
            let place = |(distance, is_odd, [a, b, c]): (i64, bool, [f64; 3])| {
                slot += distance;
                let mut bucket = Bucket::of(a);
                if is_odd {
                    bucket = Bucket {
                        count: 7,
                        min: b,
                        max: a,
                        sum: c,
                    };
                }
                (slot, Cell::Figures(bucket))
            };
            cells.into_iter().map(place).collect()
        })
    }

    fn histograms() -> impl Strategy<Value = Vec<(i64, Cell)>> {
        let latencies = prop::collection::vec((any::<u64>(), 0u32..64), 0..40);
        prop::collection::vec(latencies, 0..30).prop_map(|cells| {
            let cell = |latencies: Vec<(u64, u32)>| {
                let mut histogram = Histogram::new();
                latencies
                    .iter()
                    .for_each(|(latency, shift)| histogram.record(latency >> shift));
                Cell::Latencies(histogram)
            };
            (0..)
                .map(|slot: i64| slot * 3)
                .zip(cells.into_iter().map(cell))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn cells_come_back_as_they_were(cells in prop_oneof![buckets().boxed(), histograms().boxed()]) {
            for effort in [Effort::Little, Effort::Most] {
                let bytes = encode(&cells, effort);
                prop_assert_eq!(decode(&bytes, cells.len()).unwrap(), cells.clone());
                if !cells.is_empty() {
                    prop_assert!(decode(&bytes, cells.len() - 1).is_err(), "more than was allowed");
                }
            }
        }

        #[test]
        fn damaged_chunks_make_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..5) {
            let bytes: Vec<u8> = std::iter::once(kind).chain(bytes).collect();
            let _ = decode(&bytes, 1_000);
        }
    }
}
