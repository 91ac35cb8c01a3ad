//! JSON text to a value, stricter than the format asks: a field given twice is a mistake that would
//! otherwise be settled silently, and nesting has a bound of our own.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::{Code, FormError, quoted};

/// The most bytes of one request: 1 MiB.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;
/// The deepest nesting of a request. The deepest sensible one has 8 levels.
const MAX_DEPTH: usize = 16;

/// Reads one JSON value that is the whole text.
///
/// # Errors
/// `too-large`, `bad-json`, `duplicate-field` and `too-deep`.
pub(super) fn parse(text: &[u8]) -> Result<Value, FormError> {
    if text.len() > MAX_REQUEST_BYTES {
        return Err(too_large());
    }
    let finding = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let seed = Strict {
        path: String::new(),
        depth: 0,
        finding: &finding,
    };
    let outcome = seed
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    outcome.map_err(|error| finding.take().unwrap_or_else(|| bad_json(text, &error)))
}

/// The refusal of a request of more than [`MAX_REQUEST_BYTES`].
#[must_use]
pub fn too_large() -> FormError {
    FormError::new(
        Code::TooLarge,
        "",
        format!("the request is larger than {MAX_REQUEST_BYTES} bytes"),
        "send less at once: backends can be added by several updates",
    )
}

fn bad_json(text: &[u8], error: &serde_json::Error) -> FormError {
    let hint = match text.trim_ascii().is_empty() {
        true => {
            r#"send a JSON object such as {"action":"info","type":"project","info":{}} as the body"#
        }
        false => "check quotes, commas and brackets at that place",
    };
    FormError::new(
        Code::BadJson,
        "",
        format!("the request is no JSON: {error}"),
        hint,
    )
}

/// Reads any value, refusing what [`parse`] refuses. The first finding is kept beside the reader's own
/// error, which can carry nothing but text.
struct Strict<'f> {
    path: String,
    depth: usize,
    finding: &'f RefCell<Option<FormError>>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(&self, path: String) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.refuse(FormError::new(
                Code::TooDeep,
                path,
                format!("more than {MAX_DEPTH} levels of arrays and objects"),
                "no request needs that many levels",
            )));
        }
        Ok(Self {
            path,
            depth: self.depth + 1,
            finding: self.finding,
        })
    }

    fn refuse<E: serde::de::Error>(&self, error: FormError) -> E {
        let outer = E::custom(&error.message);
        self.finding.replace(Some(error));
        outer
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        loop {
            let item = self.deeper(format!("{}[{}]", self.path, array.len()))?;
            match items.next_element_seed(item)? {
                Some(value) => array.push(value),
                None => return Ok(Value::Array(array)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let path = join(&self.path, &name);
            if object.contains_key(&name) {
                return Err(self.refuse(FormError::new(
                    Code::DuplicateField,
                    path,
                    format!("`{}` is given twice in one object", quoted(&name)),
                    "give it once",
                )));
            }
            let value = entries.next_value_seed(self.deeper(path)?)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// The path of a field of the object at `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    match path {
        "" => quoted(name),
        _ => format!("{path}.{}", quoted(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_leaves_open_is_refused_with_its_place() {
        let deep = "[".repeat(40);
        let cases = [
            (r#"{"a":{"b":1,"b":2}}"#, Code::DuplicateField, "a.b"),
            (r#"{"a":[0,{"b":1,"b":1}]}"#, Code::DuplicateField, "a[1].b"),
            (r#"{"a":1} x"#, Code::BadJson, ""),
            (r#"{"a":1"#, Code::BadJson, ""),
            ("", Code::BadJson, ""),
            ("\u{feff}{}", Code::BadJson, ""),
            (r#"{"a":1e999}"#, Code::BadJson, ""),
            (
                deep.as_str(),
                Code::TooDeep,
                "[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]",
            ),
        ];
        for (text, code, path) in cases {
            let error = parse(text.as_bytes()).expect_err(text);
            assert_eq!((error.code, error.path.as_str()), (code, path), "{text}");
        }
        let large = vec![b' '; MAX_REQUEST_BYTES + 1];
        assert_eq!(parse(&large).expect_err("large").code, Code::TooLarge);
        assert_eq!(
            parse(&[0xff, 0xfe]).expect_err("no UTF-8").code,
            Code::BadJson
        );
    }

    #[test]
    fn a_value_is_read_as_it_stands() {
        let text = r#" {"a":[1,-2,0.5,null,true,"ü"],"b":{}} "#;
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(parse(text.as_bytes()), Ok(value));
    }
}
