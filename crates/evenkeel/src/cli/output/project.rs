//! A project as people look at it.

use serde::Deserialize;
use serde_json::Value;

use super::age::ago;
use super::brief::{self, Brief};
use super::paint::{Tone, plain};
use super::table::{Cell, Table, render_facts, render_heading};
use super::{Style, listed};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Project {
    name: String,
    id: u64,
    user: Option<String>,
    created_at: Option<String>,
    instances: Vec<Brief>,
}

/// One project with its instances.
///
/// # Errors
/// When `info` is of another shape.
pub fn render(info: &Value, done: Option<&str>, style: Style) -> serde_json::Result<String> {
    let project = Project::deserialize(info)?;
    let paint = style.paint;
    let verb = done.map_or(String::new(), |done| format!("{done} "));
    let mut text = format!(
        "{verb}project {}\n",
        paint.tint(Tone::Title, &plain(&project.name))
    );
    let created = project
        .created_at
        .as_ref()
        .map_or(String::new(), |time| ago(time, style.now));
    let facts = [
        ("Id", project.id.to_string()),
        ("User", plain(project.user.as_deref().unwrap_or_default())),
        ("Created", created),
    ];
    text += &render_facts(&facts, paint);
    if !project.instances.is_empty() {
        text += &render_heading("Instances", paint);
        text += &brief::table(&project.instances).render(paint);
    }
    Ok(text)
}

/// Projects in one line each.
///
/// # Errors
/// When `info` is of another shape.
pub fn render_list(info: &Value, style: Style) -> serde_json::Result<String> {
    let projects: Vec<Project> = listed(info, "projects")?;
    if projects.is_empty() {
        return Ok("No projects. `evenkeel project create NAME` makes one.\n".into());
    }
    let mut table = Table::new(&["ID", "NAME", "USER", "INSTANCES", "CREATED"]);
    for project in &projects {
        let created = project
            .created_at
            .as_ref()
            .map_or(String::new(), |time| ago(time, style.now));
        table.push(vec![
            Cell::number(Some(project.id)),
            Cell::text(&project.name),
            Cell::text(project.user.as_deref().unwrap_or_default()),
            Cell::number(Some(project.instances.len())),
            Cell::text(created),
        ]);
    }
    Ok(table.render(style.paint))
}
