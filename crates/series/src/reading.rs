//! What comes in, and why it may not be taken.

use crate::Histogram;

/// A series, for as long as the log knows its name. Ids are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub(crate) u32);

/// What a series is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A figure that goes up and down, or one that counts anew for each reading.
    Gauge,
    /// A count that only rises, but begins anew when what it counts does: kept as its rises.
    Counter,
    /// Latencies of a span, as a histogram.
    Latencies,
}

/// One reading of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Of a gauge; finite.
    Gauge(f64),
    /// Of a counter, since it began.
    Count(u64),
    /// The latencies since the reading before.
    Latencies(Histogram),
}

impl Reading {
    /// Of which kind of series it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Gauge(_) => Kind::Gauge,
            Self::Count(_) => Kind::Counter,
            Self::Latencies(_) => Kind::Latencies,
        }
    }
}

/// Why a reading, or a new series, was not taken. Each is counted, by [`Refusal::reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// Its time is further back than samples may come late.
    #[error("the sample comes too late")]
    Late,
    /// Its time is further ahead of the log's clock than a sample may be.
    #[error("the sample is from the future")]
    Ahead,
    /// Its slot has a sample of that time, or of a later one.
    #[error("the sample was taken before")]
    Duplicate,
    /// It is infinite or no number.
    #[error("the sample is not a finite number")]
    NotFinite,
    /// It is not of the kind that its series is.
    #[error("the sample is of another kind than its series")]
    WrongKind,
    /// No series has the id, any more or at all.
    #[error("no series has this id")]
    Unknown,
    /// There are as many series as there may be.
    #[error("the log has as many series as it may")]
    TooManySeries,
    /// The owner has as many series as it may.
    #[error("the owner has as many series as it may")]
    TooManyOfOwner,
    /// The name is empty or too long.
    #[error("the name of a series has 1 to {MOST_NAME} bytes")]
    BadName,
}

/// Bytes of a series' name.
pub(crate) const MOST_NAME: usize = 255;

impl Refusal {
    /// All words of [`Self::reason`].
    pub const REASONS: [&'static str; 9] = [
        "late",
        "ahead",
        "duplicate",
        "not_finite",
        "wrong_kind",
        "unknown",
        "too_many_series",
        "too_many_of_owner",
        "bad_name",
    ];

    /// One word for each, by which they are counted.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Ahead => "ahead",
            Self::Duplicate => "duplicate",
            Self::NotFinite => "not_finite",
            Self::WrongKind => "wrong_kind",
            Self::Unknown => "unknown",
            Self::TooManySeries => "too_many_series",
            Self::TooManyOfOwner => "too_many_of_owner",
            Self::BadName => "bad_name",
        }
    }
}
