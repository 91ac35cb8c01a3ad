//! The request for what was measured.

use serde_json::json;

use super::{Info, Request, View, request};
use crate::cli::arguments::{By, Figures};

/// The question for the door.
pub fn plan(figures: Figures) -> Request {
    let words = (!figures.figure.is_empty()).then(|| json!(figures.figure));
    let by = figures.by.map(|by| match by {
        By::Vm => "vm",
        By::Backend => "backend",
    });
    let info = Info::default()
        .set("instance", figures.instance.name)
        .set("id", figures.instance.id)
        .place(figures.place)
        .set("last", figures.last.map(|last| last.as_secs()))
        .set("from", figures.from)
        .set("to", figures.to)
        .set("step", figures.step)
        .set("figure", words)
        .set("by", by);
    request("info", "figures", info, View::Figures)
}
