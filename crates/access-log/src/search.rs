//! Finding lines, in files that another process may be writing.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use std::net::Ipv4Addr;

use model::InstanceId;
use model::access::{AccessHead, AccessKind, AccessRecord};

use crate::piece::{Piece, pieces};
use crate::writer::{list, tail_of};

/// Bytes of records that one search looks at. What it has not come to then is for the next one.
pub const SCAN_BYTES: u64 = 64 << 20;

/// What is looked for: lines of which all of this holds.
#[derive(Clone, Debug)]
pub struct Question {
    /// From this time on, in microseconds of Unix time.
    pub from_us: u64,
    /// Up to this time.
    pub to_us: u64,
    /// From the line with this number on; absent for the newest ones.
    pub start: Option<u64>,
    /// How many lines.
    pub limit: usize,
    /// Only those that failed.
    pub failed: bool,
    /// With such a status.
    pub status: Option<RangeInclusive<u16>>,
    /// Of this backend.
    pub backend: Option<(Ipv4Addr, Option<u16>)>,
    /// Whose path begins so.
    pub path: Option<String>,
    /// With this id, or this `traceparent`.
    pub request: Option<String>,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            from_us: 0,
            to_us: u64::MAX,
            start: None,
            limit: 100,
            failed: false,
            status: None,
            backend: None,
            path: None,
            request: None,
        }
    }
}

/// A line with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub number: u64,
    /// All but the text.
    pub head: AccessHead,
    /// The method.
    pub method: String,
    /// The host that was asked for.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// The request's id.
    pub id: String,
    /// The `traceparent`.
    pub trace: String,
    /// What was malformed.
    pub detail: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The lines, in the order in which they came.
    pub lines: Vec<Line>,
    /// The number of the first line that was not looked at: where to go on.
    pub next: u64,
    /// Whether there may be more of what was asked for: from there on or, where the newest were asked for, before the
    /// first.
    pub more: bool,
}

/// Searches an instance's log below `directory`. Takes in [`SCAN_BYTES`] at the most, and blocks meanwhile.
///
/// # Errors
/// Those of the files; one that was removed in between is none.
pub fn search(directory: &Path, instance: InstanceId, question: &Question) -> io::Result<Found> {
    let directory = directory.join(instance.0.to_string());
    // First the tail: what leaves it stands in a segment by then.
    let tail = read(&tail_of(&directory))?;
    let segments = list(&directory)?;
    let mut search = Search {
        question,
        left: SCAN_BYTES,
        found: Found {
            next: question.start.unwrap_or(0),
            ..Found::default()
        },
    };
    match question.start {
        Some(_) => {
            let starts: Vec<u64> = segments.iter().skip(1).map(|later| later.first).collect();
            for (at, segment) in segments.iter().enumerate() {
                if starts
                    .get(at)
                    .is_some_and(|start| *start <= search.found.next)
                {
                    continue;
                }
                if !search.forward(&read(&segment.path)?) {
                    return Ok(search.found);
                }
            }
            search.forward(&tail);
        }
        None => {
            let end = match segments.last() {
                Some(last) => pieces(&read(&last.path)?).0.last().map_or(0, Piece::end),
                None => 0,
            };
            let mut goes_on = search.backward(&tail, end);
            for segment in segments.iter().rev() {
                goes_on = goes_on && search.backward(&read(&segment.path)?, 0);
            }
            search.found.lines.reverse();
        }
    }
    Ok(search.found)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

struct Search<'q> {
    question: &'q Question,
    /// Bytes that may still be looked at.
    left: u64,
    found: Found,
}

impl Search<'_> {
    /// Looks at a file's pieces from the first on; false when enough was seen.
    fn forward(&mut self, bytes: &[u8]) -> bool {
        for piece in pieces(bytes).0 {
            if piece.end() <= self.found.next {
                continue;
            }
            if !self.may_look(&piece) {
                return false;
            }
            for (number, record) in numbered(&piece, &self.records(&piece)) {
                if number < self.found.next {
                    continue;
                }
                if self.found.lines.len() >= self.question.limit {
                    self.found.more = true;
                    return false;
                }
                self.found.next = number + 1;
                self.take(number, record);
            }
            self.found.next = self.found.next.max(piece.end());
        }
        true
    }

    /// Looks at a file's pieces from the last on, but not at records before `from`; false when enough was seen.
    fn backward(&mut self, bytes: &[u8], from: u64) -> bool {
        for piece in pieces(bytes).0.iter().rev() {
            if piece.end() <= from {
                continue;
            }
            self.found.next = self.found.next.max(piece.end());
            if !self.may_look(piece) {
                return false;
            }
            let records = self.records(piece);
            let all: Vec<_> = numbered(piece, &records).collect();
            for (number, record) in all.into_iter().rev() {
                if number < from {
                    continue;
                }
                if self.found.lines.len() >= self.question.limit {
                    self.found.more = true;
                    return false;
                }
                self.take(number, record);
            }
        }
        true
    }

    fn may_look(&mut self, piece: &Piece<'_>) -> bool {
        let bytes = match self.is_in_time(piece) {
            true => u64::from(piece.header.raw),
            false => 0,
        };
        self.found.more |= bytes > self.left;
        let may = bytes <= self.left;
        self.left = self.left.saturating_sub(bytes);
        may
    }

    fn is_in_time(&self, piece: &Piece<'_>) -> bool {
        let [earliest, latest] = piece.header.times;
        latest >= self.question.from_us && earliest <= self.question.to_us
    }

    /// A piece's records; none where its time is not asked for.
    fn records(&self, piece: &Piece<'_>) -> Vec<u8> {
        match self.is_in_time(piece) {
            true => piece.records().unwrap_or_default(),
            false => Vec::new(),
        }
    }

    fn take(&mut self, number: u64, record: AccessRecord<'_>) {
        if self.question.is_answered_by(&record) {
            self.found.lines.push(Line::new(number, record));
        }
    }
}

impl Line {
    /// The line of a record.
    #[must_use]
    pub fn new(number: u64, record: AccessRecord<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            number,
            head: record.head,
            method: text(record.method()),
            host: text(record.host()),
            path: text(record.path()),
            id: text(record.id()),
            trace: text(record.trace()),
            detail: text(record.detail()),
        }
    }
}

fn numbered<'r>(
    piece: &Piece<'_>,
    records: &'r [u8],
) -> impl Iterator<Item = (u64, AccessRecord<'r>)> + use<'r> {
    (piece.header.first..).zip(AccessRecord::read_all(records))
}

impl Question {
    /// A gap answers every question that its time answers: nobody knows what was in it.
    fn is_answered_by(&self, record: &AccessRecord<'_>) -> bool {
        let head = &record.head;
        let in_time = (self.from_us..=self.to_us).contains(&head.ended_us);
        let is_backend = |(address, port): (Ipv4Addr, Option<u16>)| {
            *head.backend.ip() == address && port.is_none_or(|port| port == head.backend.port())
        };
        let is_request = |id: &String| {
            let id = id.as_bytes();
            record.id() == id || record.trace().split(|byte| *byte == b'-').nth(1) == Some(id)
        };
        in_time
            && (head.kind == AccessKind::Gap
                || ((!self.failed || head.has_failed())
                    && self
                        .status
                        .as_ref()
                        .is_none_or(|it| it.contains(&head.status))
                    && self.backend.is_none_or(is_backend)
                    && self.request.as_ref().is_none_or(is_request)
                    && self
                        .path
                        .as_ref()
                        .is_none_or(|path| record.path().starts_with(path.as_bytes()))))
    }
}
