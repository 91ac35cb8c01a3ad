//! A column of histograms: gaps between buckets, and counts, each by a model that learns over all of them.

use super::Malformed;
use super::bytes::{Reader, put_bytes};
use super::number::{Number, bits_of};
use super::range::{Decoder, Encoder};
use crate::Histogram;

/// A bucket's index has at most so many bits.
const INDEX_BITS: u32 = 11;

struct Models {
    sizes: Number,
    gaps: Number,
    counts: Number,
    sums: Number,
}

impl Models {
    fn new(count_bits: u32, sum_bits: u32) -> Self {
        Self {
            sizes: Number::new(INDEX_BITS),
            gaps: Number::new(INDEX_BITS),
            counts: Number::new(count_bits),
            sums: Number::new(sum_bits),
        }
    }
}

/// Appends the histograms.
pub(super) fn put_histograms(out: &mut Vec<u8>, histograms: &[&Histogram]) {
    let counts = histograms.iter().flat_map(|histogram| histogram.buckets());
    let count_bits = counts.map(|(_, count)| bits_of(*count)).max().unwrap_or(0);
    let sums = histograms.iter().map(|histogram| bits_of(histogram.sum()));
    let sum_bits = sums.max().unwrap_or(0);
    out.extend([count_bits as u8, sum_bits as u8]);
    let mut models = Models::new(count_bits, sum_bits);
    let mut encoder = Encoder::new();
    for histogram in histograms {
        let buckets = histogram.buckets();
        models.sizes.encode(&mut encoder, buckets.len() as u64);
        models.sums.encode(&mut encoder, histogram.sum());
        let mut next = 0;
        for (index, count) in buckets {
            models
                .gaps
                .encode(&mut encoder, u64::from(index.wrapping_sub(next)));
            models.counts.encode(&mut encoder, *count);
            next = index.wrapping_add(1);
        }
    }
    put_bytes(out, &encoder.finish());
}

/// Reads so many histograms.
pub(super) fn histograms(from: &mut Reader, count: usize) -> Result<Vec<Histogram>, Malformed> {
    let (count_bits, sum_bits) = (from.byte()?, from.byte()?);
    if count_bits > 64 || sum_bits > 64 {
        return Err(Malformed);
    }
    let mut models = Models::new(count_bits.into(), sum_bits.into());
    let mut decoder = Decoder::new(from.bytes()?);
    (0..count)
        .map(|_| histogram(&mut models, &mut decoder))
        .collect()
}

fn histogram(models: &mut Models, decoder: &mut Decoder) -> Result<Histogram, Malformed> {
    let size = models.sizes.decode(decoder)?;
    let sum = models.sums.decode(decoder)?;
    let mut next = 0u64;
    let mut buckets = Vec::new();
    for _ in 0..size {
        let index = next + models.gaps.decode(decoder)?;
        next = index + 1;
        let index = u16::try_from(index).map_err(|_| Malformed)?;
        buckets.push((index, models.counts.decode(decoder)?));
    }
    Histogram::from_buckets(buckets, sum).ok_or(Malformed)
}
