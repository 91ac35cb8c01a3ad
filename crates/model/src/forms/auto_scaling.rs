//! `auto-scaling`: true, false, or bounds on the number of VMs and targets for each.

use serde_json::Value;

use super::entity::narrow;
use super::error::{Code, FormError};
use super::fields::{Change, Field};
use super::numbers::{self, NumbersChange};
use super::shown::Shown;
use crate::numbers::AUTO_SCALING;
use crate::{AutoScaling, DEFAULT_MAX_VMS, MAX_VMS, Scaling, TrafficType};

/// What is to change in the number of VMs.
#[derive(Clone, Debug, PartialEq)]
pub enum AutoScalingChange {
    /// One VM.
    Off,
    /// All defaults: from one VM to [`DEFAULT_MAX_VMS`].
    On,
    /// What an object names.
    Scaling(ScalingChange),
}

/// What is to change in bounds and targets.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingChange {
    path: String,
    min: Change<u32>,
    max: Change<u32>,
    targets: NumbersChange,
}

impl AutoScalingChange {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, FormError> {
        match field.value {
            Value::Bool(false) => Ok(Self::Off),
            Value::Bool(true) => Ok(Self::On),
            Value::Object(_) => ScalingChange::read(field).map(Self::Scaling),
            _ => Err(field.wrong_type("true, false or {\"min\": 1, \"max\": 4}")),
        }
    }

    /// The changed number of VMs.
    ///
    /// # Errors
    /// `out-of-range` when the least would be more than the most.
    pub(super) fn apply(
        self,
        current: AutoScaling,
        traffic: TrafficType,
    ) -> Result<AutoScaling, FormError> {
        let had = match current {
            AutoScaling::Off => None,
            AutoScaling::Between(scaling) => Some(scaling),
        };
        match self {
            Self::Off => Ok(AutoScaling::Off),
            Self::On => Ok(AutoScaling::Between(Scaling::default())),
            Self::Scaling(change) => change.apply(had, traffic).map(AutoScaling::Between),
        }
    }
}

impl ScalingChange {
    fn read(field: &Field<'_>) -> Result<Self, FormError> {
        let known: Vec<_> = ["min", "max"]
            .into_iter()
            .chain(AUTO_SCALING.iter().map(|number| number.name))
            .collect();
        let fields = field.object(&known)?;
        let count = |f: &Field<'_>| Ok(u32::from(narrow(f.integer(1, u64::from(MAX_VMS))?)));
        Ok(Self {
            path: field.path.clone(),
            min: fields.change("min", count)?,
            max: fields.change("max", count)?,
            targets: NumbersChange::read(&fields, &AUTO_SCALING)?,
        })
    }

    /// A bound that nobody gave makes room for the other.
    fn apply(self, had: Option<Scaling>, traffic: TrafficType) -> Result<Scaling, FormError> {
        let mut scaling = had.unwrap_or_default();
        self.targets.apply(&AUTO_SCALING, &mut scaling, traffic)?;
        scaling.min = match self.min {
            Change::Set(min) => min,
            Change::Reset => 1,
            Change::Keep => scaling.min,
        };
        scaling.max = match self.max {
            Change::Set(max) => max,
            Change::Keep if had.is_some() => scaling.max,
            Change::Keep | Change::Reset => scaling.min.max(DEFAULT_MAX_VMS),
        };
        let Scaling { min, max, .. } = scaling;
        match min <= max {
            true => Ok(scaling),
            false => Err(FormError::new(
                Code::OutOfRange,
                self.path,
                format!("`min` would be {min}, which is more than `max`, {max}"),
                "give both, `min` at most as large as `max`",
            )),
        }
    }
}

/// Both bounds, and the targets that are not at their defaults.
pub(super) fn show(scaling: AutoScaling, into: &mut Shown) {
    match scaling {
        AutoScaling::Off => into.value("auto-scaling", Some(false)),
        AutoScaling::Between(scaling) => {
            let mut shown = Shown::default();
            shown.value("min", Some(scaling.min));
            shown.value("max", Some(scaling.max));
            shown.append(numbers::show(&AUTO_SCALING, &scaling));
            into.object("auto-scaling", shown);
        }
    }
}
