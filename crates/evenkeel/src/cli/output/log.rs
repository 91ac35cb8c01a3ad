//! Lines of an access log as people look at them.

use serde::Deserialize;
use serde_json::Value;

use super::Style;
use super::paint::{Tone, plain};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Log {
    lines: Vec<Line>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    time: String,
    dropped: u64,
    client: String,
    method: String,
    host: String,
    path: String,
    status: Option<u16>,
    termination: String,
    detail: String,
    failed: bool,
    bytes_in: u64,
    bytes_out: u64,
    backend: String,
    tries: u64,
    total_ms: f64,
    request_id: String,
    traceparent: String,
}

/// The lines, one below the other; nothing where there are none, so that a log that is followed stays silent.
///
/// # Errors
/// When `info` is of another shape.
pub fn render(info: &Value, style: Style) -> serde_json::Result<String> {
    let log = Log::deserialize(info)?;
    Ok(log.lines.iter().map(|line| write(line, style)).collect())
}

fn write(line: &Line, style: Style) -> String {
    let time = style.paint.tint(Tone::Faint, &plain(&line.time));
    if line.dropped > 0 {
        let words = format!("… {} lines are missing here", line.dropped);
        return format!("{time}  {}\n", style.paint.tint(Tone::Doubtful, &words));
    }
    let asked = match (line.method.as_str(), line.host.as_str()) {
        ("", _) => "-".to_owned(),
        (method, host) => format!("{method} {host}{}", line.path),
    };
    let status = line
        .status
        .map_or_else(|| "-".to_owned(), |status| status.to_string());
    let mut ended = plain(&line.termination);
    if !line.detail.is_empty() {
        ended = format!("{ended} ({})", plain(&line.detail));
    }
    let tone = if line.failed {
        Tone::Bad
    } else {
        Tone::Neutral
    };
    let ended = style.paint.tint(tone, &format!("{status} {ended}"));
    let mut text = format!(
        "{time}  {}  {}  {ended}  {:.1} ms  {} in, {} out",
        plain(&line.client),
        plain(&asked),
        line.total_ms,
        line.bytes_in,
        line.bytes_out
    );
    if !line.backend.is_empty() {
        text = format!("{text}  by {}", plain(&line.backend));
    }
    if line.tries > 1 {
        text = format!("{text} at try {}", line.tries);
    }
    if !line.request_id.is_empty() {
        text = format!("{text}  id {}", plain(&line.request_id));
    }
    if let Some(trace) = line.traceparent.split('-').nth(1) {
        text = format!("{text}  trace {}", plain(trace));
    }
    text + "\n"
}
