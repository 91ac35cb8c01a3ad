//! Reading values with their place in the request, so that every refusal can name it.

use serde_json::{Map, Value};

use super::error::{Code, FormError, quoted};
use super::json::join;
use super::time::from_rfc3339;
use crate::Timestamp;

/// A value together with where it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// Where: `info.backend.entities[1]`.
    pub path: String,
    /// What.
    pub value: T,
}

impl<T> At<T> {
    pub(super) fn new(path: impl Into<String>, value: T) -> Self {
        Self {
            path: path.into(),
            value,
        }
    }
}

/// One part of a JSON merge patch (RFC 7396): a field that was left out stays, null brings the
/// default back, anything else is the new value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Change<T> {
    /// The field was left out.
    #[default]
    Keep,
    /// The field is null.
    Reset,
    /// The field has a value.
    Set(T),
}

impl<T> Change<T> {
    /// What the field is after the change.
    pub(super) fn over(self, current: T, default: T) -> T {
        match self {
            Self::Keep => current,
            Self::Reset => default,
            Self::Set(value) => value,
        }
    }
}

/// One value and its place.
#[derive(Clone, Debug)]
pub(super) struct Field<'v> {
    pub path: String,
    pub value: &'v Value,
}

/// An object whose fields are all known.
#[derive(Debug)]
pub(super) struct Fields<'v> {
    path: String,
    object: &'v Map<String, Value>,
}

impl<'v> Fields<'v> {
    /// The field, where it was given.
    pub fn get(&self, name: &str) -> Option<Field<'v>> {
        self.object.get(name).map(|value| Field {
            path: self.path_of(name),
            value,
        })
    }

    /// The field, where it was given as something other than null.
    pub fn given(&self, name: &str) -> Option<Field<'v>> {
        self.get(name).filter(|field| !field.value.is_null())
    }

    /// The field, or the refusal that it is missing.
    pub fn required(&self, name: &str, hint: &str) -> Result<Field<'v>, FormError> {
        self.get(name).ok_or_else(|| self.missing(name, hint))
    }

    /// The refusal that the field is missing.
    pub fn missing(&self, name: &str, hint: &str) -> FormError {
        FormError::new(
            Code::MissingField,
            self.path_of(name),
            format!("`{name}` is missing"),
            hint,
        )
    }

    /// The field's part of a merge patch, read by `read` where it has a value.
    pub fn change<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Field<'v>) -> Result<T, FormError>,
    ) -> Result<Change<T>, FormError> {
        match self.get(name) {
            None => Ok(Change::Keep),
            Some(field) if field.value.is_null() => Ok(Change::Reset),
            Some(field) => read(&field).map(Change::Set),
        }
    }

    /// Where the object stands.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where a field of it stands, or would stand.
    pub fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }
}

impl<'v> Field<'v> {
    /// A point in time, as RFC 3339 writes it in UTC.
    pub fn moment(&self) -> Result<Timestamp, FormError> {
        let text = self.text()?;
        from_rfc3339(text).ok_or_else(|| {
            FormError::new(
                Code::BadTime,
                &self.path,
                format!("`{}` is no time", quoted(text)),
                "write it in UTC, such as 2026-11-22T17:51:32Z",
            )
        })
    }

    /// The request as a whole.
    pub fn root(value: &'v Value) -> Self {
        Self {
            path: String::new(),
            value,
        }
    }

    /// The object, all of whose fields are `known`.
    pub fn object(&self, known: &[&str]) -> Result<Fields<'v>, FormError> {
        let Value::Object(object) = self.value else {
            return Err(self.wrong_type("an object"));
        };
        match object.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(unknown_field(&self.path, name, known)),
            None => Ok(Fields {
                path: self.path.clone(),
                object,
            }),
        }
    }

    /// The array's items, at most `bound` of them.
    pub fn items(&self, bound: usize) -> Result<Vec<Self>, FormError> {
        let Value::Array(items) = self.value else {
            return Err(self.wrong_type("an array"));
        };
        if items.len() > bound {
            return Err(FormError::new(
                Code::TooMany,
                &self.path,
                format!("{} items, where at most {bound} are supported", items.len()),
                "give fewer",
            ));
        }
        let place = |(i, value)| Self {
            path: format!("{}[{i}]", self.path),
            value,
        };
        Ok(items.iter().enumerate().map(place).collect())
    }

    pub fn text(&self) -> Result<&'v str, FormError> {
        self.value.as_str().ok_or_else(|| self.wrong_type("a text"))
    }

    pub fn flag(&self) -> Result<bool, FormError> {
        self.value
            .as_bool()
            .ok_or_else(|| self.wrong_type("true or false"))
    }

    /// A whole number from `min` to `max`.
    pub fn integer(&self, min: u64, max: u64) -> Result<u64, FormError> {
        let Value::Number(number) = self.value else {
            return Err(self.wrong_type("a whole number"));
        };
        match number.as_u64() {
            Some(n) if (min..=max).contains(&n) => Ok(n),
            None if number.is_f64() => Err(self.wrong_type("a whole number")),
            _ => Err(self.out_of_range(&format!("from {min} to {max}"))),
        }
    }

    /// A number of seconds, whole or fractional, as milliseconds.
    pub fn seconds_as_ms(&self, min_ms: u64, max_ms: u64) -> Result<u64, FormError> {
        let seconds = self
            .value
            .as_f64()
            .ok_or_else(|| self.wrong_type("a number of seconds"))?;
        let ms = (seconds * 1000.0).round();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the bounds are far below 2^53, and what is cast lies within them"
        )]
        match (min_ms as f64..=max_ms as f64).contains(&ms) {
            true => Ok(ms as u64),
            false => Err(self.out_of_range(&format!(
                "from {} to {} seconds",
                min_ms as f64 / 1000.0,
                max_ms as f64 / 1000.0
            ))),
        }
    }

    /// One of a few words, in any case. It may stand in an array of its own, as the templates write it.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, FormError> {
        let inner = match self.value {
            Value::Array(items) if items.len() == 1 => items.first(),
            value => Some(value),
        };
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let word = inner
            .and_then(Value::as_str)
            .ok_or_else(|| self.wrong_type(&format!("one of {}", listed(&names))))?;
        let found = choices
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word));
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            FormError::new(
                Code::UnknownValue,
                &self.path,
                format!("`{}` is none of {}", quoted(word), listed(&names)),
                suggestion(word, &names)
                    .unwrap_or_else(|| format!("use one of {}", listed(&names))),
            )
        })
    }

    pub fn out_of_range(&self, range: &str) -> FormError {
        FormError::new(
            Code::OutOfRange,
            &self.path,
            format!("{} is out of range", quoted(&self.value.to_string())),
            format!("give a number {range}"),
        )
    }

    pub fn wrong_type(&self, wanted: &str) -> FormError {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        FormError::new(
            Code::WrongType,
            &self.path,
            format!("this is {found}, and {wanted} is wanted"),
            format!("give {wanted}"),
        )
    }
}

fn unknown_field(path: &str, name: &str, known: &[&str]) -> FormError {
    let listed = format!("known fields: {}", listed(known));
    let hint = match suggestion(name, known) {
        Some(suggestion) => format!("{suggestion} ({listed})"),
        None => listed,
    };
    FormError::new(
        Code::UnknownField,
        join(path, name),
        format!("there is no field `{}` here", quoted(name)),
        hint,
    )
}

fn listed(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// The most characters of a word for which a near one is looked for.
const MAX_SUGGESTED_CHARS: usize = 40;

/// The nearest known word, where one is near enough to be a slip of the fingers.
fn suggestion(word: &str, known: &[&str]) -> Option<String> {
    if word.chars().count() > MAX_SUGGESTED_CHARS {
        return None;
    }
    let word = word.to_ascii_lowercase();
    known
        .iter()
        .map(|name| (distance(&word, &name.to_ascii_lowercase()), name))
        .min()
        .filter(|(distance, name)| distance * 3 <= name.len().max(3))
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

/// Levenshtein's edit distance, row by row (Wagner and Fischer 1974).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (cb, &above) in b.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(ca != cb))
                .min(above + 1)
                .min(left + 1);
            diagonal = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_fingers_get_a_suggestion() {
        let known = ["traffic_type", "health-check", "name", "port"];
        for (slip, meant) in [
            ("traffic-type", Some("traffic_type")),
            ("health_check", Some("health-check")),
            ("nmae", None),
            ("names", Some("name")),
            ("Port", Some("port")),
            ("colour", None),
        ] {
            let meant = meant.map(|name| format!("did you mean `{name}`?"));
            assert_eq!(suggestion(slip, &known), meant, "{slip}");
        }
    }

    #[test]
    fn distance_is_levenshteins() {
        for (a, b, d) in [
            ("", "", 0),
            ("kitten", "sitting", 3),
            ("a", "", 1),
            ("", "ab", 2),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }
}
