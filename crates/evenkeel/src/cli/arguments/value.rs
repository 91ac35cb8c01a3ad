//! Values that have a form of their own on the command line.

use std::str::FromStr;

use serde_json::{Value, json};

/// A backend: `addr:port`, a URL, or either with `@weight` at its end.
///
/// Only the weight is taken apart here; the rest is for the door to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity(Value);

impl Entity {
    /// The entity as the JSON door takes it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.0.clone()
    }
}

impl FromStr for Entity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((address, weight)) = text.rsplit_once('@') else {
            return Ok(Self(json!(text)));
        };
        let weight: u16 = weight.parse().map_err(|_| {
            format!("`{weight}` is no weight: write address:port@weight, the weight a whole number")
        })?;
        Ok(Self(json!({ "address": address, "weight": weight })))
    }
}

/// A backend and what takes its place: `OLD=NEW`.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    pub old: Entity,
    pub new: Entity,
}

impl FromStr for Replacement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (old, new) = text
            .split_once('=')
            .filter(|(old, new)| !old.is_empty() && !new.is_empty())
            .ok_or("write OLD=NEW, such as 10.1.0.10:8080=10.1.0.12:8080")?;
        Ok(Self {
            old: old.parse()?,
            new: new.parse()?,
        })
    }
}

/// A setting by its path in the JSON form: `backend.retry.attempts=2`.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The objects on the way to it, and its own name.
    pub path: Vec<String>,
    /// Its value: JSON, or else the text as it stands.
    pub value: Value,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) = text
            .split_once('=')
            .filter(|(path, _)| path.split('.').all(|name| !name.is_empty()))
            .ok_or("write PATH=VALUE, such as timeouts.connect=1 or backend.algorithm=peak-ewma")?;
        Ok(Self {
            path: path.split('.').map(str::to_owned).collect(),
            value: serde_json::from_str(value).unwrap_or_else(|_| json!(value)),
        })
    }
}

/// A number of seconds, whole or fractional.
#[derive(Clone, Debug, PartialEq)]
pub struct Seconds(serde_json::Number);

impl Seconds {
    /// The number as the JSON door takes it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Number(self.0.clone())
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = match text.parse::<u64>() {
            Ok(whole) => Some(whole.into()),
            Err(_) => text
                .parse::<f64>()
                .ok()
                .filter(|seconds| *seconds >= 0.0)
                .and_then(serde_json::Number::from_f64),
        };
        number
            .map(Self)
            .ok_or_else(|| "write a number of seconds, such as 5 or 0.5".into())
    }
}

/// How many VMs an instance has: `on`, `off`, `N`, or bounds of which one may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmCount {
    On,
    Off,
    Bounds { min: Option<u32>, max: Option<u32> },
}

impl VmCount {
    /// The value of `auto-scaling` as the JSON door takes it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::On => json!(true),
            Self::Off => json!(false),
            Self::Bounds { min, max } => {
                let bounds = [("min", min), ("max", max)];
                let given = bounds
                    .into_iter()
                    .filter_map(|(name, bound)| Some((name, (*bound)?)));
                given
                    .map(|(name, bound)| (name.to_owned(), json!(bound)))
                    .collect()
            }
        }
    }
}

impl FromStr for VmCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bound = |text: &str| match text {
            "" => Ok(None),
            digits => digits
                .parse()
                .map(Some)
                .map_err(|_| VM_COUNT_FORM.to_owned()),
        };
        match text {
            "on" => return Ok(Self::On),
            "off" => return Ok(Self::Off),
            "" | ".." => return Err(VM_COUNT_FORM.into()),
            _ => {}
        }
        match text.split_once("..") {
            Some((min, max)) => Ok(Self::Bounds {
                min: bound(min)?,
                max: bound(max)?,
            }),
            None => bound(text).map(|n| Self::Bounds { min: n, max: n }),
        }
    }
}

const VM_COUNT_FORM: &str = "write MIN..MAX such as 1..4, one number for exactly so many VMs, `on` or \
                             `off`; an instance's name goes before this option";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_keeps_its_text_and_gives_its_weight() {
        for (text, expected) in [
            ("10.1.0.10", json!("10.1.0.10")),
            ("10.1.0.10:8080", json!("10.1.0.10:8080")),
            ("http://a.test:8080/", json!("http://a.test:8080/")),
            (
                "10.1.0.10:8080@3",
                json!({"address": "10.1.0.10:8080", "weight": 3}),
            ),
            (
                "http://a.test@0",
                json!({"address": "http://a.test", "weight": 0}),
            ),
        ] {
            assert_eq!(
                text.parse::<Entity>().map(|e| e.to_json()),
                Ok(expected),
                "{text}"
            );
        }
        for text in [
            "10.1.0.10@",
            "10.1.0.10@-1",
            "http://joe@host/",
            "10.1.0.10@70000",
        ] {
            assert!(text.parse::<Entity>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_of_vms_has_several_forms() {
        for (text, expected) in [
            ("on", json!(true)),
            ("off", json!(false)),
            ("2", json!({"min": 2, "max": 2})),
            ("2..4", json!({"min": 2, "max": 4})),
            ("2..", json!({"min": 2})),
            ("..4", json!({"max": 4})),
        ] {
            assert_eq!(
                text.parse::<VmCount>().map(|c| c.to_json()),
                Ok(expected),
                "{text}"
            );
        }
        for text in ["", "..", "web", "1...4", "1..x", "-1", "1-4"] {
            assert!(text.parse::<VmCount>().is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_are_whole_where_they_are_written_so() {
        assert_eq!("5".parse::<Seconds>().map(|s| s.to_json()), Ok(json!(5)));
        assert_eq!(
            "0.5".parse::<Seconds>().map(|s| s.to_json()),
            Ok(json!(0.5))
        );
        for text in ["", "-1", "5s", "inf", "NaN"] {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_setting_is_json_or_else_a_text() {
        for (text, path, value) in [
            (
                "timeouts.connect=0.5",
                vec!["timeouts", "connect"],
                json!(0.5),
            ),
            ("limits=null", vec!["limits"], Value::Null),
            (
                "allowed-clients=[\"10.0.0.0/8\"]",
                vec!["allowed-clients"],
                json!(["10.0.0.0/8"]),
            ),
            (
                "backend.algorithm=peak-ewma",
                vec!["backend", "algorithm"],
                json!("peak-ewma"),
            ),
            ("a==", vec!["a"], json!("=")),
        ] {
            let setting: Setting = text.parse().unwrap();
            assert_eq!(
                (
                    setting.path.iter().map(String::as_str).collect(),
                    setting.value
                ),
                (path, value)
            );
        }
        for text in ["", "a", "=1", "a..b=1", ".a=1"] {
            assert!(text.parse::<Setting>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_replacement_needs_both_sides() {
        let replacement: Replacement = "a:1=b:2@5".parse().unwrap();
        assert_eq!(replacement.old.to_json(), json!("a:1"));
        assert_eq!(
            replacement.new.to_json(),
            json!({"address": "b:2", "weight": 5})
        );
        for text in ["", "a:1", "=b:2", "a:1="] {
            assert!(text.parse::<Replacement>().is_err(), "{text}");
        }
    }
}
