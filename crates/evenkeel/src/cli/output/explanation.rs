//! Why something is as it is, for people to read.

use serde::Deserialize;
use serde_json::Value;

use super::Style;
use super::paint::{Tone, plain};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Explanation {
    instance: String,
    url: String,
    condition: String,
    summary: String,
    findings: Vec<Finding>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Finding {
    about: String,
    what: String,
    why: String,
    evidence: Vec<String>,
    advice: String,
}

/// The summary, and below it each finding with its reason, its evidence and what helps.
///
/// # Errors
/// When `info` is of another shape.
pub fn render(info: &Value, style: Style) -> serde_json::Result<String> {
    let told = Explanation::deserialize(info)?;
    let name = style.paint.tint(Tone::Title, &plain(&told.instance));
    let mut text = format!("{name}  {}", plain(&told.url));
    if !told.condition.is_empty() {
        let condition = plain(&told.condition);
        let tone = Tone::of_state(&told.condition);
        text = format!("{text}  {}", style.paint.tint(tone, &condition));
    }
    text = format!("{text}\n{}\n", plain(&told.summary));
    for finding in &told.findings {
        text += &render_finding(finding, style);
    }
    Ok(text)
}

fn render_finding(finding: &Finding, style: Style) -> String {
    let about = style.paint.tint(Tone::Title, &plain(&finding.about));
    let mut text = format!("\n{about}: {}\n", plain(&finding.what));
    let mut add = |label: &str, words: &str| {
        if !words.is_empty() {
            text += &format!("  {label}{}\n", plain(words));
        }
    };
    add("why: ", &finding.why);
    for evidence in &finding.evidence {
        add("- ", evidence);
    }
    add("try: ", &finding.advice);
    text
}
