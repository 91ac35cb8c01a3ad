//! The numbers among the settings, read, changed and shown by their tables in [`crate::numbers`].

use serde_json::{Number as JsonNumber, Value};

use super::error::{Code, FormError};
use super::fields::{Change, Field, Fields};
use super::json::join;
use super::shown::Shown;
use crate::TrafficType;
use crate::numbers::{Number, Scope, Unit};

/// What is to change in the numbers of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct NumbersChange {
    /// Where the object stands.
    pub path: String,
    /// A change for each row of its table.
    changes: Vec<Change<u64>>,
}

/// What is to change in something that can be turned on and off.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SwitchChange {
    Off,
    On,
    Numbers(NumbersChange),
}

impl NumbersChange {
    /// Reads an object that has these numbers and nothing else.
    pub fn read_object<T>(field: &Field<'_>, table: &[Number<T>]) -> Result<Self, FormError> {
        Self::read(&field.object(&names(table))?, table)
    }

    /// Reads these numbers among an object's fields.
    pub fn read<T>(fields: &Fields<'_>, table: &[Number<T>]) -> Result<Self, FormError> {
        let read = |number: &Number<T>| fields.change(number.name, |field| amount(field, number));
        Ok(Self {
            path: fields.path().to_owned(),
            changes: table.iter().map(read).collect::<Result<_, _>>()?,
        })
    }

    /// Every number gets its default back.
    pub fn reset<T>(table: &[Number<T>]) -> Self {
        Self {
            path: String::new(),
            changes: table.iter().map(|_| Change::Reset).collect(),
        }
    }

    /// Makes the changes.
    ///
    /// # Errors
    /// `http-only` when a number that only HTTP has is given for a TCP instance.
    pub fn apply<T: Default>(
        &self,
        table: &[Number<T>],
        onto: &mut T,
        traffic: TrafficType,
    ) -> Result<(), FormError> {
        for (number, change) in table.iter().zip(&self.changes) {
            let value = match change {
                Change::Keep => continue,
                Change::Reset => (number.place)(&mut T::default()).get(),
                Change::Set(_) if number.scope == Scope::Http && traffic == TrafficType::Tcp => {
                    return Err(http_only(&join(&self.path, number.name), number.name));
                }
                Change::Set(value) => Some(*value),
            };
            (number.place)(onto).set(value);
        }
        Ok(())
    }
}

impl Change<NumbersChange> {
    /// Makes the changes to an object as a whole.
    pub(super) fn apply_numbers<T: Default>(
        &self,
        table: &[Number<T>],
        onto: &mut T,
        traffic: TrafficType,
    ) -> Result<(), FormError> {
        match self {
            Self::Keep => {}
            Self::Reset => *onto = T::default(),
            Self::Set(change) => change.apply(table, onto, traffic)?,
        }
        Ok(())
    }
}

impl SwitchChange {
    pub fn read<T>(field: &Field<'_>, table: &[Number<T>]) -> Result<Self, FormError> {
        match field.value {
            Value::Bool(false) => Ok(Self::Off),
            Value::Bool(true) => Ok(Self::On),
            Value::Object(_) => NumbersChange::read_object(field, table).map(Self::Numbers),
            _ => Err(field.wrong_type("true, false or an object")),
        }
    }
}

impl Change<SwitchChange> {
    /// Turns it on or off. `true` brings all defaults; an object changes what it names.
    pub(super) fn apply_switch<T: Clone + Default>(
        &self,
        table: &[Number<T>],
        onto: &mut Option<T>,
        traffic: TrafficType,
    ) -> Result<(), FormError> {
        match self {
            Self::Keep => {}
            Self::Reset | Self::Set(SwitchChange::Off) => *onto = None,
            Self::Set(SwitchChange::On) => *onto = Some(T::default()),
            Self::Set(SwitchChange::Numbers(change)) => {
                let mut value = onto.clone().unwrap_or_default();
                change.apply(table, &mut value, traffic)?;
                *onto = Some(value);
            }
        }
        Ok(())
    }
}

/// The refusal of a field that has no meaning for TCP.
pub(super) fn http_only(path: &str, name: &str) -> FormError {
    FormError::new(
        Code::HttpOnly,
        path,
        format!(
            "`{name}` says something about HTTP, and a tcp instance does not read what it passes on"
        ),
        "leave it out, or make an http instance",
    )
}

/// The numbers that are not at their defaults.
pub(super) fn show<T: Clone + Default>(table: &[Number<T>], of: &T) -> Shown {
    let mut shown = Shown::default();
    for number in table {
        let value = number.value(of);
        if value != number.value(&T::default()) {
            shown.value(number.name, value.map(|value| written(number.unit, value)));
        }
    }
    shown
}

/// Something that can be turned on and off: `true` where all its numbers are at their defaults.
pub(super) fn show_switch<T: Clone + Default>(
    name: &'static str,
    table: &[Number<T>],
    of: Option<&T>,
    into: &mut Shown,
) {
    let Some(of) = of else {
        return;
    };
    let numbers = show(table, of);
    match numbers.is_empty() {
        true => into.value(name, Some(true)),
        false => into.object(name, numbers),
    }
}

fn names<T>(table: &[Number<T>]) -> Vec<&'static str> {
    table.iter().map(|number| number.name).collect()
}

fn amount<T>(field: &Field<'_>, number: &Number<T>) -> Result<u64, FormError> {
    match number.unit {
        Unit::Seconds => field.seconds_as_ms(number.min, number.max),
        Unit::Plain => field.integer(number.min, number.max),
    }
}

fn written(unit: Unit, value: u64) -> JsonNumber {
    match unit {
        Unit::Seconds => seconds(value),
        Unit::Plain => value.into(),
    }
}

/// Milliseconds as a number of seconds, whole where it is whole.
pub(super) fn seconds(ms: u64) -> JsonNumber {
    match ms % 1000 {
        0 => (ms / 1000).into(),
        #[expect(clippy::cast_precision_loss, reason = "at most a day, far below 2^53")]
        _ => JsonNumber::from_f64(ms as f64 / 1000.0).unwrap_or_else(|| (ms / 1000).into()),
    }
}
