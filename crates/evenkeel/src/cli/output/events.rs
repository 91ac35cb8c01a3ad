//! What the controller did and why.

use serde::Deserialize;
use serde_json::Value;

use super::Style;
use super::age::ago;
use super::paint::{Tone, plain};

/// Events that are shown; the JSON has them all.
const MOST_EVENTS: usize = 12;

/// Something that was decided or found out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Happened {
    at: String,
    text: String,
}

/// A line for each, the newest last, as a log has it.
pub(super) fn render(events: &[Happened], style: Style) -> String {
    let earlier = events.len().saturating_sub(MOST_EVENTS);
    let line = |event: &Happened| {
        let at = ago(&event.at, style.now);
        format!("  {at:>8}  {}\n", plain(&event.text))
    };
    events.iter().skip(earlier).map(line).collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Events {
    events: Vec<Line>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    at: String,
    instance: Option<String>,
    id: Option<u64>,
    project: Option<u64>,
    kind: String,
    text: String,
}

/// The events of an answer, one below the other; nothing where there are none, so that what is followed stays silent.
///
/// # Errors
/// When `info` is of another shape.
pub fn render_all(info: &Value, style: Style) -> serde_json::Result<String> {
    let told = Events::deserialize(info)?;
    let line = |line: &Line| {
        let time = style.paint.tint(Tone::Faint, &plain(&line.at));
        let about = match (&line.instance, line.id, line.project) {
            (Some(name), ..) => plain(name),
            (None, Some(id), _) => format!("instance {id}"),
            (None, None, Some(id)) => format!("project {id}"),
            (None, None, None) => "installation".to_owned(),
        };
        let kind = style
            .paint
            .tint(Tone::Faint, &format!("{:13}", plain(&line.kind)));
        format!("{time}  {kind}  {about}  {}\n", plain(&line.text))
    };
    Ok(told.events.iter().map(line).collect())
}
