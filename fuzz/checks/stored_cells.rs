//! What lies in the files of the monitor log: nothing makes a reader panic, and cells that were read are written again
//! as what they were.

use series::Cell;
use series::fuzzing::{decode_cells, encode_cells, read_whole};

/// Cells of one series that a segment has of the finest level.
const MOST: usize = 600;
/// Counts up to this are kept exactly, as no count of readings comes near to it.
const EXACT: u64 = 1 << 53;

/// Checks any bytes.
pub fn check(data: &[u8]) {
    read_whole(data);
    let Some(cells) = decode_cells(data, MOST) else {
        return;
    };
    assert!(cells.len() <= MOST);
    assert!(cells.is_sorted_by(|(a, _), (b, _)| a < b), "slots ascend");
    if !cells.iter().all(|(_, cell)| is_exact(cell)) {
        return;
    }
    for chunk in encode_cells(&cells) {
        let again = decode_cells(&chunk, MOST).expect("what was written is sound");
        assert!(cells.iter().map(bits).eq(again.iter().map(bits)));
    }
}

fn is_exact(cell: &Cell) -> bool {
    match cell {
        Cell::Figures(bucket) => bucket.count <= EXACT,
        Cell::Latencies(_) => true,
    }
}

/// All that a cell is, to the bit: a figure that is not a number equals nothing.
fn bits((slot, cell): &(i64, Cell)) -> (i64, Vec<u64>, String) {
    match cell {
        Cell::Figures(bucket) => {
            let figures = [bucket.min, bucket.max, bucket.sum].map(f64::to_bits);
            let bits = std::iter::once(bucket.count).chain(figures).collect();
            (*slot, bits, String::new())
        }
        Cell::Latencies(histogram) => (*slot, Vec::new(), format!("{histogram:?}")),
    }
}
