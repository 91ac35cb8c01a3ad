//! `auto-scaling`: true, false, or the least and the most VMs.

use serde_json::Value;

use super::entity::narrow;
use super::error::{Code, FormError};
use super::fields::{Change, Field};
use crate::{AutoScaling, DEFAULT_MAX_VMS, MAX_VMS};

/// What is to change in the number of VMs.
#[derive(Clone, Debug, PartialEq)]
pub enum AutoScalingChange {
    /// One VM.
    Off,
    /// From one to [`DEFAULT_MAX_VMS`].
    On,
    /// Within these bounds.
    Bounds {
        /// Where it was given.
        path: String,
        /// The least.
        min: Change<u32>,
        /// The most.
        max: Change<u32>,
    },
}

impl AutoScalingChange {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, FormError> {
        match field.value {
            Value::Bool(false) => Ok(Self::Off),
            Value::Bool(true) => Ok(Self::On),
            Value::Object(_) => {
                let fields = field.object(&["min", "max"])?;
                let count =
                    |f: &Field<'_>| Ok(u32::from(narrow(f.integer(1, u64::from(MAX_VMS))?)));
                Ok(Self::Bounds {
                    path: field.path.clone(),
                    min: fields.change("min", count)?,
                    max: fields.change("max", count)?,
                })
            }
            _ => Err(field.wrong_type("true, false or {\"min\": 1, \"max\": 4}")),
        }
    }

    /// The changed number of VMs. A bound that nobody gave makes room for the other.
    ///
    /// # Errors
    /// `out-of-range` when the least would be more than the most.
    pub(super) fn apply(self, current: AutoScaling) -> Result<AutoScaling, FormError> {
        let (path, min, max) = match self {
            Self::Off => return Ok(AutoScaling::Off),
            Self::On => (String::new(), Change::Reset, Change::Reset),
            Self::Bounds { path, min, max } => (path, min, max),
        };
        let (had_min, had_max) = match current {
            AutoScaling::Off => (None, None),
            AutoScaling::Between { min, max } => (Some(min), Some(max)),
        };
        let min = match min {
            Change::Set(min) => min,
            Change::Reset => 1,
            Change::Keep => had_min.unwrap_or(1),
        };
        let max = match max {
            Change::Set(max) => max,
            Change::Keep if had_max.is_some() => had_max.unwrap_or(DEFAULT_MAX_VMS),
            Change::Keep | Change::Reset => min.max(DEFAULT_MAX_VMS),
        };
        match min <= max {
            true => Ok(AutoScaling::Between { min, max }),
            false => Err(FormError::new(
                Code::OutOfRange,
                path,
                format!("`min` would be {min}, which is more than `max`, {max}"),
                "give both, `min` at most as large as `max`",
            )),
        }
    }
}
