//! JSON with its lines indented, every field and number as it was written, in the order in which it came.

/// Spaces for each level.
const STEP: usize = 2;

/// Indents a valid JSON text. It works on the text, since reading it into values would put fields in
/// another order and numbers in another form.
#[must_use]
pub fn indent(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth: usize = 0;
    let mut rest = text.trim().chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => copy_string(&mut rest, &mut out),
            '{' | '[' => {
                out.push(c);
                while rest.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if let Some(close) = rest.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    break_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(',');
                break_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

/// Copies a string up to its closing quote; the opening one has been read.
fn copy_string(rest: &mut impl Iterator<Item = char>, out: &mut String) {
    out.push('"');
    while let Some(c) = rest.next() {
        out.push(c);
        match c {
            '\\' => out.extend(rest.next()),
            '"' => return,
            _ => {}
        }
    }
}

fn break_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', depth * STEP));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn order_and_numbers_stay_as_they_were() {
        let text = r#"{"z":1.50,"a":[],"m":{ },"s":"{[,:\"\\","n":[1,{"k":null}]}"#;
        let expected = "{\n  \"z\": 1.50,\n  \"a\": [],\n  \"m\": {},\n  \"s\": \"{[,:\\\"\\\\\",\n  \"n\": [\n    1,\n    {\n      \"k\": null\n    }\n  ]\n}";
        assert_eq!(indent(text), expected);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}|[\"\\\\{}\\[\\],: \\n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("\\PC{0,4}", inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_same_is_said_whatever_the_layout(value in any_json()) {
            let indented = indent(&value.to_string());
            prop_assert_eq!(serde_json::from_str::<Value>(&indented).unwrap(), value.clone());
            prop_assert_eq!(&indented, &serde_json::to_string_pretty(&value).unwrap());
            prop_assert_eq!(indent(&indented), indented);
        }
    }

    #[test]
    fn text_that_is_no_json_is_no_trouble() {
        for text in ["", "}", "\"", "\"\\", "{", "[[["] {
            assert!(indent(text).len() <= 2 * text.len() + 12, "{text}");
        }
        assert_eq!(indent(&json!(1).to_string()), "1");
    }
}
