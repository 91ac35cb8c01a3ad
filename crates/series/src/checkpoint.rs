//! All that is in memory, as bytes: what a restart begins from.

use crate::blocks::Blocks;
use crate::coding::{Effort, Malformed, Reader, decode, encode, put_bytes, put_signed, put_varint};
use crate::one_series::Series;
use crate::state::{Forgotten, State};
use crate::track::{BLOCK, Track};
use crate::window::{Draft, Open, Window};
use crate::{Cell, Kind, Level, Options};

/// Things of one kind that a checkpoint has at most, so that damaged bytes claim no memory.
const MOST: usize = 1 << 22;

/// What is told of all series together.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) now_ms: i64,
    pub(crate) watermark: i64,
    pub(crate) next_id: u32,
    pub(crate) next_segment: u64,
    pub(crate) dropped: u64,
    pub(crate) levels: Vec<Level>,
    /// By level, the slot before which nothing is told.
    pub(crate) sealed: Vec<i64>,
    /// What owners lost.
    pub(crate) forgotten: Vec<(u64, Forgotten)>,
}

/// What is in front of the series, of which there are so many.
pub(crate) fn put_head(out: &mut Vec<u8>, head: &Head, series: usize) {
    put_signed(out, head.now_ms);
    put_signed(out, head.watermark);
    put_varint(out, u64::from(head.next_id));
    put_varint(out, head.next_segment);
    put_varint(out, head.dropped);
    put_varint(out, head.sealed.len() as u64);
    for (level, sealed) in head.levels.iter().zip(&head.sealed) {
        put_varint(out, u64::from(level.step));
        put_signed(out, *sealed);
    }
    put_varint(out, head.forgotten.len() as u64);
    for (owner, forgotten) in &head.forgotten {
        put_varint(out, *owner);
        put_varint(out, forgotten.series);
        put_signed(out, forgotten.until);
    }
    put_varint(out, series as u64);
}

/// The state that was written; what was kept in resolutions that are not kept any more is left out.
pub(crate) fn read_state(bytes: &[u8], options: &Options) -> Result<State, Malformed> {
    let mut from = Reader::new(bytes);
    let now_ms = from.signed()?;
    let mut state = State::new(options.clone(), now_ms);
    state.watermark = from.signed()?;
    state.next_id = u32::try_from(from.varint()?).map_err(|_| Malformed)?;
    state.next_segment = from.varint()?;
    state.dropped = from.varint()?;
    let mut steps = Vec::new();
    for _ in 0..from.length(MOST)? {
        let (step, sealed) = (from.varint()?, from.signed()?);
        let level = options
            .levels
            .iter()
            .position(|level| u64::from(level.step) == step);
        if let Some(place) = level.and_then(|level| state.sealed.get_mut(level)) {
            *place = sealed;
        }
        steps.push(level);
    }
    for _ in 0..from.length(MOST)? {
        let owner = from.varint()?;
        let (series, until) = (from.varint()?, from.signed()?);
        state.note_forgotten(owner, Forgotten { series, until });
    }
    for _ in 0..from.length(MOST)? {
        let id = u32::try_from(from.varint()?).map_err(|_| Malformed)?;
        let series = series(&mut from, &steps, options.levels.len())?;
        state.insert(id, series);
    }
    Ok(state)
}

pub(crate) fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Gauge => 0,
        Kind::Counter => 1,
        Kind::Latencies => 2,
    }
}

pub(crate) fn kind(byte: u8) -> Result<Kind, Malformed> {
    match byte {
        0 => Ok(Kind::Gauge),
        1 => Ok(Kind::Counter),
        2 => Ok(Kind::Latencies),
        _ => Err(Malformed),
    }
}

/// A series, without what lies before what is told of each level.
pub(crate) fn put_series(out: &mut Vec<u8>, id: u32, series: &Series, sealed: &[i64]) {
    put_varint(out, u64::from(id));
    put_varint(out, series.owner);
    put_bytes(out, series.name.as_bytes());
    out.extend([kind_byte(series.kind), u8::from(series.is_live)]);
    put_signed(out, series.written);
    put_varint(out, series.first_segment);
    put_varint(
        out,
        series
            .newest_segment
            .map_or(0, |number| number.saturating_add(1)),
    );
    put_window(out, &series.window);
    for (track, first) in series.tracks.iter().zip(sealed) {
        let from = |cells: &[(i64, Cell)]| cells.partition_point(|(slot, _)| slot < first);
        for cells in [track.part.as_slice(), &track.cells] {
            put_cells(out, cells.get(from(cells)..).unwrap_or_default());
        }
        track.blocks.put(out, *first);
    }
}

fn series(from: &mut Reader, steps: &[Option<usize>], levels: usize) -> Result<Series, Malformed> {
    let owner = from.varint()?;
    let name = std::str::from_utf8(from.bytes()?).map_err(|_| Malformed)?;
    let name = name.into();
    let kind = kind(from.byte()?)?;
    let is_live = from.byte()? != 0;
    let written = from.signed()?;
    let first_segment = from.varint()?;
    let newest_segment = from.varint()?.checked_sub(1);
    let window = window(from)?;
    let mut tracks = vec![Track::default(); levels];
    for level in steps {
        let part = cells(from)?.pop();
        let cells = cells(from)?;
        let blocks = Blocks::read(from)?;
        if let Some(track) = level.and_then(|level| tracks.get_mut(level)) {
            *track = Track {
                part,
                cells,
                blocks,
            };
        }
    }
    Ok(Series {
        owner,
        name,
        kind,
        written,
        is_live,
        first_segment,
        newest_segment,
        window,
        tracks,
    })
}

pub(crate) fn put_cells(out: &mut Vec<u8>, cells: &[(i64, Cell)]) {
    put_bytes(out, &encode(cells, Effort::Little));
}

pub(crate) fn cells(from: &mut Reader) -> Result<Vec<(i64, Cell)>, Malformed> {
    decode(from.bytes()?, BLOCK)
}

fn put_window(out: &mut Vec<u8>, window: &Window) {
    out.push(u8::from(window.newest.is_some()));
    let (time, slot) = window.newest.unwrap_or_default();
    put_signed(out, time);
    put_signed(out, slot);
    out.push(u8::from(window.count.is_some()));
    put_varint(out, window.count.unwrap_or_default());
    put_varint(out, window.open.len() as u64);
    for open in &window.open {
        put_signed(out, open.newest_ms);
        let cell = match &open.draft {
            Draft::Count(count) => {
                out.push(1);
                put_signed(out, open.slot);
                put_varint(out, *count);
                continue;
            }
            Draft::Gauge(bucket) => Cell::Figures(*bucket),
            Draft::Latencies(histogram) => Cell::Latencies(histogram.clone()),
        };
        out.push(0);
        put_cells(out, &[(open.slot, cell)]);
    }
}

fn window(from: &mut Reader) -> Result<Window, Malformed> {
    let has_newest = from.byte()? != 0;
    let newest = (from.signed()?, from.signed()?);
    let has_count = from.byte()? != 0;
    let count = from.varint()?;
    let mut window = Window {
        newest: has_newest.then_some(newest),
        count: has_count.then_some(count),
        ..Window::default()
    };
    for _ in 0..from.length(MOST)? {
        let newest_ms = from.signed()?;
        let (slot, draft) = if from.byte()? == 1 {
            (from.signed()?, Draft::Count(from.varint()?))
        } else {
            match cells(from)?.pop().ok_or(Malformed)? {
                (slot, Cell::Figures(bucket)) => (slot, Draft::Gauge(bucket)),
                (slot, Cell::Latencies(histogram)) => (slot, Draft::Latencies(histogram)),
            }
        };
        window.open.push_back(Open {
            slot,
            newest_ms,
            draft,
        });
    }
    Ok(window)
}
