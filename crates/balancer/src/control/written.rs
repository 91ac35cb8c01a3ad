//! A configuration that a person wrote, read strictly.
//!
//! What the host sends and what a process before this one has kept is read leniently, with the same types: a
//! host or a predecessor of a newer version may say more than this program knows, and the VM is to serve all the
//! same. In a file that a person wrote, a field that nobody knows is a mistake in writing, and what was meant
//! would silently not hold.
//!
//! So the types themselves do not deny unknown fields. Instead, what was read is written again: each field of a
//! configuration is always written, so whatever stood in the file and is not in what was written again is unknown.

use model::BalancerConfig;
use serde_json::{Map, Value};

/// Reads a whole configuration.
///
/// # Errors
/// The path of the field at fault and what is wrong with it: no JSON, a wrong type, a field that is missing, or
/// one that no configuration has.
pub fn read(text: &[u8]) -> Result<BalancerConfig, String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let config: BalancerConfig = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| at(&error.path().to_string(), error.inner()))?;
    reader.end().map_err(|error| error.to_string())?;
    let written: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let known = serde_json::to_value(&config).map_err(|error| error.to_string())?;
    match first_unknown("", &written, &known) {
        Some(fault) => Err(fault),
        None => Ok(config),
    }
}

fn at(path: &str, what: &serde_json::Error) -> String {
    match path {
        "" | "." => what.to_string(),
        path => format!("{path}: {what}"),
    }
}

/// The first field of `written` that `known` does not have, and those that it has there.
fn first_unknown(path: &str, written: &Value, known: &Value) -> Option<String> {
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => {
            written.iter().find_map(|(name, value)| {
                let path = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                match known.get(name) {
                    Some(known) => first_unknown(&path, value, known),
                    None => Some(unknown(&path, known)),
                }
            })
        }
        (Value::Array(written), Value::Array(known)) => {
            let mut pairs = written.iter().zip(known).enumerate();
            pairs.find_map(|(n, (value, known))| {
                first_unknown(&format!("{path}[{n}]"), value, known)
            })
        }
        _ => None,
    }
}

fn unknown(path: &str, known: &Map<String, Value>) -> String {
    let names: Vec<_> = known.keys().map(|name| format!("`{name}`")).collect();
    let names = names.join(", ");
    format!("{path}: there is no such field; there are {names}")
}

#[cfg(test)]
mod tests;
