//! Answers as people read them, or as the server gave them.
//!
//! What is shown is read leniently: a field that this program does not know is left out, one that it
//! misses is shown as absent, so that client and server need not be of one version. `-o json` leaves
//! nothing out.

mod age;
mod brief;
mod events;
mod explanation;
mod figures;
mod instance;
mod json;
mod log;
mod paint;
mod project;
mod subnet;
mod system;
mod table;

use std::time::SystemTime;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::Done;
use super::request::View;

pub use json::indent;
pub use paint::{Paint, plain};

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// With or without colour.
    pub paint: Paint,
    /// What ages are counted to.
    pub now: SystemTime,
}

/// A successful answer as text that ends with a newline. None when the answer is not of the shape
/// that the view expects.
#[must_use]
pub fn render(view: View, done: &Done, style: Style) -> Option<String> {
    let info = &done.info;
    let text = match view {
        View::Project => project::render(info, past(&done.action), style),
        View::Projects => project::render_list(info, style),
        View::Instance => instance::render(info, past(&done.action), style),
        View::Instances => instance::render_list(info, style),
        View::Subnets => subnet::render(info, style),
        View::Figures => figures::render(info, style),
        View::System => system::render(info, style),
        View::Log => log::render(info, style),
        View::Events => events::render_all(info, style),
        View::Explanation => explanation::render(info, style),
        View::Deleted => render_deleted(&done.kind, info),
        View::Raw => return None,
    };
    text.ok()
}

/// What was done, in a word; nothing where something was only looked at.
fn past(action: &str) -> Option<&'static str> {
    match action {
        "create" => Some("Created"),
        "update" => Some("Updated"),
        _ => None,
    }
}

fn render_deleted(kind: &str, info: &Value) -> serde_json::Result<String> {
    #[derive(Deserialize)]
    struct Deleted {
        name: String,
        #[serde(default)]
        condition: String,
        #[serde(default)]
        waiting_for: Vec<Waiting>,
    }
    let deleted = Deleted::deserialize(info)?;
    let verb = match deleted.condition.as_str() {
        "deleting" => "Deleting",
        _ => "Deleted",
    };
    let text = format!("{verb} {} {}\n", plain(kind), plain(&deleted.name));
    Ok(text + &render_waiting(&deleted.waiting_for))
}

/// Something that is not there yet, or not gone yet.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    r#for: String,
    why: String,
}

fn render_waiting(waiting_for: &[Waiting]) -> String {
    let line =
        |waiting: &Waiting| format!("  {}: {}\n", plain(&waiting.r#for), plain(&waiting.why));
    waiting_for.iter().map(line).collect()
}

/// The objects of a list: they stand under a name, or are all there is.
fn listed<T: DeserializeOwned>(info: &Value, name: &str) -> serde_json::Result<Vec<T>> {
    let list = info.get(name).unwrap_or(info);
    match list {
        Value::Array(_) => Vec::deserialize(list),
        one => T::deserialize(one).map(|one| vec![one]),
    }
}

/// `1 VM`, `2 VMs`.
fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests;
