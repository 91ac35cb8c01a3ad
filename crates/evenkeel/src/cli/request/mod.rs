//! The request that a command stands for.
//!
//! What was typed is laid over what stands in a file, where one was given: an option wins over the
//! field that it names, and leaves the fields beside it alone.

mod events;
mod figures;
mod info;
mod instance;
mod logs;
mod project;
mod subnet;

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::arguments::{Document, Question};
use super::failure::Failure;
use info::Info;

/// A request, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The JSON text.
    pub body: String,
    /// What the answer is to be shown as.
    pub view: View,
    /// Whether the server may take its time, because it answers when what was asked for is there.
    pub may_wait: bool,
}

/// What an answer is shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// One project.
    Project,
    /// Several projects.
    Projects,
    /// One instance.
    Instance,
    /// Several instances.
    Instances,
    /// Subnets and what is attached to them.
    Subnets,
    /// Everything.
    System,
    /// Lines of an access log.
    Log,
    /// What was measured.
    Figures,
    /// What happened.
    Events,
    /// Why something is as it is.
    Explanation,
    /// Something that is gone now.
    Deleted,
    /// The answer as it is.
    Raw,
}

/// The request for a command. `read` gives the text of a file, or of standard input.
///
/// # Errors
/// Those of `read`; [`Failure::Usage`] when a file is not what it has to be.
pub fn plan_request(
    question: Question,
    read: impl FnOnce(&Document) -> Result<String, Failure>,
) -> Result<Request, Failure> {
    match question {
        Question::Project(command) => project::plan(command, read),
        Question::Instance(command) => instance::plan(command, read),
        Question::Subnet(command) => Ok(subnet::plan(command)),
        Question::Logs(logs) => Ok(logs::plan(logs, SystemTime::now())),
        Question::Events(asked) => Ok(events::plan(asked, SystemTime::now())),
        Question::Explain(asked) => Ok(events::plan_explanation(asked)),
        Question::Figures(asked) => Ok(figures::plan(asked)),
        Question::Status(_) => Ok(request("info", "system", Info::default(), View::System)),
        Question::Request(raw) => {
            let body = match raw.json.as_str() {
                "-" => read(&Document::StandardInput)?,
                _ => raw.json,
            };
            Ok(Request {
                body,
                view: View::Raw,
                may_wait: true,
            })
        }
    }
}

fn request(action: &str, kind: &str, info: Info, view: View) -> Request {
    let may_wait = action != "info" && info.get("wait") != Some(&json!(false));
    let body = json!({ "action": action, "type": kind, "info": Value::Object(info.into_map()) });
    Request {
        body: body.to_string(),
        view,
        may_wait,
    }
}

/// What stands in a file: the object that the options are laid over.
fn base(
    file: Option<&Document>,
    read: impl FnOnce(&Document) -> Result<String, Failure>,
) -> Result<Map<String, Value>, Failure> {
    let Some(document) = file else {
        return Ok(Map::new());
    };
    let text = read(document)?;
    let object: Map<String, Value> = serde_json::from_str(&text)
        .map_err(|error| Failure::Usage(format!("{document} holds no JSON object: {error}")))?;
    match object.contains_key("action") {
        true => Err(Failure::Usage(format!(
            "{document} holds a whole request; send it with `evenkeel request`, or leave only what is in its `info`"
        ))),
        false => Ok(object),
    }
}

#[cfg(test)]
mod tests;
