//! What is known of a figure in a span of time, and of many in the same way.

use crate::Histogram;

/// Readings of one span: how many, the lowest, the highest, and their sum.
///
/// Of a counter the readings are its rises. Buckets of neighbouring spans, or of several series, merge into what
/// one bucket of all their readings would be, but for the last bits of `sum`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Readings; never 0.
    pub count: u64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// All of them added up.
    pub sum: f64,
}

impl Bucket {
    /// Of one reading.
    #[must_use]
    pub fn of(reading: f64) -> Self {
        Self {
            count: 1,
            min: reading,
            max: reading,
            sum: reading,
        }
    }

    /// Takes another's readings as well.
    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
    }

    /// The mean of the readings.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// The reading, if it is of one alone.
    pub(crate) fn single(&self) -> Option<f64> {
        let bits = self.sum.to_bits();
        let is_single = self.count == 1 && self.min.to_bits() == bits && self.max.to_bits() == bits;
        is_single.then_some(self.sum)
    }
}

/// What a series has in one slot.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Of a gauge, or the rises of a counter.
    Figures(Bucket),
    /// Of latencies.
    Latencies(Histogram),
}

impl Cell {
    /// Takes what another knows as well. Cells of one series are of one kind; another kind's tells nothing.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Figures(mine), Self::Figures(theirs)) => mine.merge(theirs),
            (Self::Latencies(mine), Self::Latencies(theirs)) => mine.merge(theirs),
            _ => {}
        }
    }
}
