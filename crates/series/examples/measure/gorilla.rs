//! How many bytes the same samples take as Gorilla (Pelkonen et al., VLDB 2015) writes them, in Prometheus's variant:
//! times in milliseconds, chunks of 120 samples, counters as they are read. Only counted, to compare with.

/// Samples of a chunk.
const CHUNK: usize = 120;
/// Bits in front of a chunk: how many samples it has.
const HEAD: u64 = 16;

/// Bytes for these times, in milliseconds, and figures; without any index.
pub fn bytes(samples: &[(i64, f64)]) -> u64 {
    samples
        .chunks(CHUNK)
        .map(|chunk| chunk_bits(chunk).div_ceil(8))
        .sum()
}

fn chunk_bits(samples: &[(i64, f64)]) -> u64 {
    let mut bits = HEAD;
    let mut before: Option<(i64, f64)> = None;
    let mut distance: Option<i64> = None;
    let mut window = None;
    for (time, figure) in samples.iter().copied() {
        let Some((last_time, last)) = before.replace((time, figure)) else {
            bits += 48 + 64;
            continue;
        };
        let passed = time - last_time;
        bits += match distance.replace(passed) {
            Some(distance) => time_bits(passed - distance),
            None => 16,
        };
        bits += figure_bits(figure.to_bits() ^ last.to_bits(), &mut window);
    }
    bits
}

/// Bits of the difference of two distances.
fn time_bits(difference: i64) -> u64 {
    match difference {
        0 => 1,
        -8_191..=8_192 => 2 + 14,
        -65_535..=65_536 => 3 + 17,
        -524_287..=524_288 => 4 + 20,
        _ => 4 + 64,
    }
}

/// Bits of a figure XOR the one before. `window` is where the last one had its bits: zeros in front and behind.
fn figure_bits(differs: u64, window: &mut Option<(u32, u32)>) -> u64 {
    if differs == 0 {
        return 1;
    }
    let (front, behind) = (differs.leading_zeros().min(31), differs.trailing_zeros());
    if let Some((before, after)) = *window
        && front >= before
        && behind >= after
    {
        return 2 + u64::from(64 - before - after);
    }
    *window = Some((front, behind));
    2 + 5 + 6 + u64::from(64 - front - behind)
}
