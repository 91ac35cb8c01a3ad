//! What the controller did and why.

use serde::Deserialize;

use super::Style;
use super::age::ago;
use super::paint::plain;

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
