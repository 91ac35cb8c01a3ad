//! An object of which only some fields are shown, in an order that people like.

use serde::Serialize;
use serde_json::Value;

/// The fields to show. A `serde_json` object would sort them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shown(Vec<(&'static str, Part)>);

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Part {
    Value(Value),
    Object(Shown),
}

impl Shown {
    /// Shows a field, where there is something to show.
    pub fn value(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        self.0
            .extend(value.map(|value| (name, Part::Value(value.into()))));
    }

    /// Shows an object, unless it is empty.
    pub fn object(&mut self, name: &'static str, object: Self) {
        if !object.is_empty() {
            self.0.push((name, Part::Object(object)));
        }
    }

    /// Shows all that the other one shows, after what is there.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Shown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, part)| (name, part)))
    }
}
