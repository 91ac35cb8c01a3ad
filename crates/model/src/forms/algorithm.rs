//! `algorithm`: a word, or an object where there is more to say.

use serde_json::{Value, json};

use super::error::{Code, FormError, quoted};
use super::fields::{At, Field};
use super::numbers::http_only;
use crate::http_text::{MAX_FIELD_NAME_BYTES, is_field_name};
use crate::{Algorithm, HashKey, TrafficType};

/// What a word stands for; made when it is met, since a key may own a text.
type Made<T> = fn() -> T;

const WORDS: [(&str, Made<Algorithm>); 5] = [
    ("round-robin", || Algorithm::RoundRobin),
    ("least-connections", || Algorithm::LeastConnections),
    ("peak-ewma", || Algorithm::PeakEwma),
    ("source-hash", || Algorithm::SourceHash),
    ("maglev", || Algorithm::Maglev {
        key: HashKey::Source,
    }),
];
const KEYS: [(&str, Made<HashKey>); 2] = [("source", || HashKey::Source), ("uri", || HashKey::Uri)];

/// `"peak-ewma"`, `{"name": "maglev", "key": "uri"}`.
pub(super) fn algorithm(field: &Field<'_>) -> Result<At<Algorithm>, FormError> {
    let Value::Object(_) = field.value else {
        return Ok(At::new(&field.path, field.choice(&WORDS)?()));
    };
    let fields = field.object(&["name", "key"])?;
    let name = fields.required("name", "name the algorithm: \"name\": \"maglev\"")?;
    let algorithm = name.choice(&WORDS)?();
    let algorithm = match (algorithm, fields.given("key")) {
        (algorithm, None) => algorithm,
        (Algorithm::Maglev { .. }, Some(field)) => Algorithm::Maglev { key: key(&field)? },
        (_, Some(field)) => {
            return Err(FormError::new(
                Code::ConflictingFields,
                field.path,
                "only `maglev` has a key",
                "leave out `key`, or let `name` be `maglev`",
            ));
        }
    };
    Ok(At::new(&field.path, algorithm))
}

/// Refuses a key that only HTTP has.
pub(super) fn check_key(at: &At<Algorithm>, traffic: TrafficType) -> Result<(), FormError> {
    match (&at.value, traffic) {
        (
            Algorithm::Maglev {
                key: HashKey::Uri | HashKey::Header(_),
            },
            TrafficType::Tcp,
        ) => Err(http_only(&format!("{}.key", at.path), "key")),
        _ => Ok(()),
    }
}

/// The algorithm as it is shown, where it is not the default.
pub(super) fn show(algorithm: &Algorithm) -> Option<Value> {
    Some(match algorithm {
        Algorithm::RoundRobin => return None,
        Algorithm::LeastConnections => json!("least-connections"),
        Algorithm::PeakEwma => json!("peak-ewma"),
        Algorithm::SourceHash => json!("source-hash"),
        Algorithm::Maglev { key } => {
            let key = match key {
                HashKey::Source => json!("source"),
                HashKey::Uri => json!("uri"),
                HashKey::Header(name) => json!({"header": name}),
            };
            json!({"name": "maglev", "key": key})
        }
    })
}

fn key(field: &Field<'_>) -> Result<HashKey, FormError> {
    match field.value {
        Value::Object(_) => {
            let fields = field.object(&["header"])?;
            let header = fields.required("header", "name the field: {\"header\": \"X-User\"}")?;
            field_name(&header).map(HashKey::Header)
        }
        _ => Ok(field.choice(&KEYS)?()),
    }
}

/// The name of a field of HTTP.
pub(super) fn field_name(field: &Field<'_>) -> Result<String, FormError> {
    let text = field.text()?;
    match is_field_name(text) {
        true => Ok(text.to_owned()),
        false => Err(FormError::new(
            Code::BadName,
            &field.path,
            format!("`{}` cannot be the name of an HTTP field", quoted(text)),
            format!(
                "use at most {MAX_FIELD_NAME_BYTES} letters, digits and hyphens, such as X-User"
            ),
        )),
    }
}
