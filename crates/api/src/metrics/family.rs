//! Figures as those who collect metrics see them: families of samples, told apart by labels. They know no format.

use std::sync::Arc;

use model::Timestamp;

/// What kind of figure a family is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only rises, but begins anew when what counts does. Its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often something took how long, by fixed bounds.
    Histogram,
    /// How often something was done and how long it took together.
    Summary,
}

/// All samples of one name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Family {
    /// In base units: seconds, bytes, shares of 1.
    pub name: &'static str,
    /// One sentence about what it is.
    pub help: &'static str,
    pub kind: Kind,
    /// Since when it is counted, where that is known.
    pub since: Option<Timestamp>,
    /// Of no two are the labels the same.
    pub samples: Vec<Sample>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub labels: Labels,
    pub value: Value,
}

/// What a sample says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    /// Of a histogram, or of a summary, which has one part and no bounds.
    Times {
        /// Ascending, in microseconds.
        bounds_us: &'static [u64],
        /// How many there were up to each bound and beyond the one before, and last those beyond all.
        parts: Vec<u64>,
        /// All of them added up, in microseconds.
        sum_us: u64,
    },
}

/// Names and values, in the order in which they are told. A copy shares the texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels(Vec<(&'static str, Arc<str>)>);

impl Family {
    pub fn new(name: &'static str, help: &'static str, kind: Kind) -> Self {
        Self {
            name,
            help,
            kind,
            since: None,
            samples: Vec::new(),
        }
    }

    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, Kind::Counter)
    }

    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, Kind::Gauge)
    }

    /// With one more sample.
    pub fn with(mut self, labels: Labels, value: f64) -> Self {
        self.add(labels, value);
        self
    }

    /// Counted since then.
    pub fn since(mut self, since: Option<Timestamp>) -> Self {
        self.since = since;
        self
    }

    pub fn add(&mut self, labels: Labels, value: f64) {
        let value = Value::Number(value);
        self.samples.push(Sample { labels, value });
    }
}

impl Labels {
    pub fn none() -> Self {
        Self::default()
    }

    /// With one more label.
    pub fn and(&self, name: &'static str, value: impl Into<Arc<str>>) -> Self {
        let mut labels = self.0.clone();
        labels.push((name, value.into()));
        Self(labels)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, &**value))
    }
}
