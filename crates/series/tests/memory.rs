//! Whatever bytes are read as a chunk, they panic nothing and take no more memory than the cells that they may have.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Register;

use proptest::prelude::*;
use series::fuzzing::{decode_cells, encode_cells};
use series::{Bucket, Cell, Histogram};

/// Counts what this thread holds, and the most that it held.
struct Counting;

thread_local! {
    static HELD: Register<usize> = const { Register::new(0) };
    static PEAK: Register<usize> = const { Register::new(0) };
}

// SAFETY: all is left to the system's allocator; what is counted takes no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _at_the_end_of_the_thread = HELD.try_with(|held| {
            held.set(held.get().wrapping_add(layout.size()));
            PEAK.with(|peak| peak.set(peak.get().max(held.get())));
        });
        // SAFETY: the caller keeps the system's allocator's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        let _at_the_end_of_the_thread =
            HELD.try_with(|held| held.set(held.get().wrapping_sub(layout.size())));
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Cells of a segment of the finest level.
const MOST: usize = 600;
/// Models, the slots and what a decoder holds whatever it reads.
const FIXED: usize = 16 << 10;
/// A cell of figures, as columns and as what they become.
const OF_FIGURES: usize = 160;
/// A cell that is a histogram with all of its 1,920 buckets, while the list of them grows.
const OF_LATENCIES: usize = 80 << 10;

/// Reads bytes and returns how much memory was held meanwhile, and what they are.
fn decode(bytes: &[u8]) -> (usize, Option<Vec<(i64, Cell)>>) {
    let before = HELD.get();
    PEAK.set(before);
    let cells = decode_cells(bytes, MOST);
    (PEAK.get() - before, cells)
}

fn check(bytes: &[u8]) {
    let is_of_latencies = bytes.first() == Some(&2);
    let each = if is_of_latencies {
        OF_LATENCIES
    } else {
        OF_FIGURES
    };
    let (peak, _) = decode(bytes);
    assert!(peak <= MOST * each + FIXED, "{peak} bytes for {bytes:?}");
}

fn figures() -> impl Strategy<Value = Vec<(i64, Cell)>> {
    let figure = prop_oneof![
        any::<f64>(),
        (0..1_000i32).prop_map(f64::from),
        (0..100i32).prop_map(|ticks| 100.0 * f64::from(ticks) / 99.0),
    ];
    let cell = (figure, 1..3u64).prop_map(|(figure, count)| {
        let bucket = Bucket::of(figure);
        Cell::Figures(Bucket { count, ..bucket })
    });
    prop::collection::vec(cell, 1..MOST).prop_map(|cells| (0..).zip(cells).collect())
}

fn latencies() -> impl Strategy<Value = Vec<(i64, Cell)>> {
    let cell = prop::collection::vec(1..1_000_000u64, 0..50).prop_map(|latencies| {
        let mut histogram = Histogram::new();
        latencies.iter().for_each(|us| histogram.record(*us));
        Cell::Latencies(histogram)
    });
    prop::collection::vec(cell, 1..50).prop_map(|cells| (0..).zip(cells).collect())
}

proptest! {
    #[test]
    fn any_bytes_are_read_within_the_memory_of_the_cells_that_they_may_have(
        kind in 0u8..5,
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        check(&[&[kind][..], &bytes].concat());
    }

    #[test]
    fn damaged_chunks_are_read_within_the_memory_of_the_cells_that_they_may_have(
        cells in prop_oneof![figures().boxed(), latencies().boxed()],
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for mut chunk in encode_cells(&cells) {
            for (at, byte) in &damage {
                let at = at.index(chunk.len());
                chunk[at] = *byte;
            }
            check(&chunk);
            check(&chunk[..cut.index(chunk.len())]);
        }
    }
}

#[test]
fn a_chunk_that_claims_all_that_it_may_takes_what_it_claims() {
    // Histograms, of which nothing but zeros follows: the coder reads each bit as set.
    let claims = [&[2, 0xd8, 4, 0, 1, 0xd7, 4, 64, 64, 0][..], &[0; 8]].concat();
    check(&claims);
    let (peak, _) = decode(&[0, 0xd8, 4, 0, 1, 0xd7, 4, 0, 0]);
    assert!(peak > MOST * 16, "it is counted: {peak}");
    assert_eq!(
        decode(&[0, 0xff, 0xff, 0xff, 0xff, 1, 0, 1]),
        (0, None),
        "too many are refused"
    );
}
