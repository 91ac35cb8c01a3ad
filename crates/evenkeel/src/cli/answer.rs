//! An answer of the JSON door.

use serde::Deserialize;
use serde_json::Value;

use super::failure::Failure;

/// What the server said.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The answer as it came.
    pub text: String,
    /// What it says.
    pub outcome: Outcome,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is done, or here it is.
    Successful(Done),
    /// It is not done.
    Refused(Refusal),
}

/// What was done, and the object as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    pub action: String,
    pub kind: String,
    pub info: Value,
}

/// Why the server did not do what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// A stable word for programs.
    pub code: String,
    /// The field at fault; empty for the request as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

#[derive(Deserialize)]
struct Envelope {
    status: String,
    action: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    info: Value,
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`Failure::BadAnswer`] when the text is none.
    pub fn read(text: String) -> Result<Self, Failure> {
        let bad = |problem: String| {
            Failure::BadAnswer(format!("the server's answer cannot be read: {problem}"))
        };
        let envelope: Envelope =
            serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let outcome = match envelope.status.as_str() {
            "successful" => Outcome::Successful(Done {
                action: envelope.action.unwrap_or_default(),
                kind: envelope.kind.unwrap_or_default(),
                info: envelope.info,
            }),
            "fail" => Outcome::Refused(
                serde_json::from_value(envelope.info).map_err(|error| bad(error.to_string()))?,
            ),
            other => return Err(bad(format!("its status is `{other}`"))),
        };
        Ok(Self { text, outcome })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_what_it_says() {
        let text = r#"{"status":"successful","action":"create","type":"project","info":{"name":"a","id":1}}"#;
        let Outcome::Successful(done) = Answer::read(text.into()).unwrap().outcome else {
            panic!("successful");
        };
        assert_eq!(
            (done.action.as_str(), done.kind.as_str()),
            ("create", "project")
        );
        let text = r#"{"status":"fail","action":null,"type":null,"info":{"code":"bad-json","path":"","message":"m","hint":"h"}}"#;
        let Outcome::Refused(refusal) = Answer::read(text.into()).unwrap().outcome else {
            panic!("refused");
        };
        assert_eq!(
            (refusal.code.as_str(), refusal.message.as_str()),
            ("bad-json", "m")
        );
    }

    #[test]
    fn what_is_no_answer_is_told_from_one() {
        for text in [
            "",
            "<html>",
            "[]",
            r#"{"status":"maybe","info":{}}"#,
            r#"{"info":{}}"#,
        ] {
            assert!(
                matches!(Answer::read(text.into()), Err(Failure::BadAnswer(_))),
                "{text}"
            );
        }
    }
}
