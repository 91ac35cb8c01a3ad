//! Everything at a glance.

use std::collections::BTreeMap;

use clap::ValueEnum as _;
use serde::Deserialize;
use serde_json::Value;

use super::brief::{Brief, COLUMNS};
use super::events::{self, Happened};
use super::paint::{Paint, Tone, plain};
use super::table::{Cell, Table, render_facts, render_heading};
use super::{Style, counted};
use crate::serve::Role;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct System {
    zone: String,
    projects: Vec<Project>,
    vms: BTreeMap<String, u64>,
    troubles: Vec<String>,
    events: Vec<Happened>,
    checkers: Vec<String>,
    refused: BTreeMap<String, BTreeMap<String, u64>>,
    roles: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Project {
    name: String,
    user: String,
    instances: Vec<Brief>,
}

/// Roles, VMs, troubles, and all projects with their instances.
///
/// # Errors
/// When `info` is of another shape.
pub fn render(info: &Value, style: Style) -> serde_json::Result<String> {
    let system = System::deserialize(info)?;
    let paint = style.paint;
    let instances = system
        .projects
        .iter()
        .map(|project| project.instances.len())
        .sum();
    let holds = format!(
        "{} with {}",
        counted(system.projects.len(), "project"),
        counted(instances, "instance")
    );
    let facts = [
        ("Roles", system.role_words(paint)),
        ("Checkers", system.checker_words()),
        ("Zone", plain(&system.zone)),
        ("VMs", system.vm_words(paint)),
        ("Holds", holds),
        ("Refused", system.refused_words()),
    ];
    let mut text = format!("{}\n", paint.tint(Tone::Title, "Evenkeel"));
    text += &render_facts(&facts, paint);
    if !system.troubles.is_empty() {
        text += &render_heading("Troubles", paint);
        for trouble in &system.troubles {
            text += &format!("  {}\n", paint.tint(Tone::Bad, &plain(trouble)));
        }
    }
    if !system.projects.is_empty() {
        text += &render_heading("Projects", paint);
        text += &system.render_projects(paint);
    }
    if !system.events.is_empty() {
        text += &render_heading("Events", paint);
        text += &events::render(&system.events, style);
    }
    Ok(text)
}

impl System {
    /// The checkers that told what they saw a moment ago.
    fn checker_words(&self) -> String {
        match self.checkers.is_empty() {
            true => "none: VMs are judged by their heartbeats alone".into(),
            false => plain(&self.checkers.join(", ")),
        }
    }

    /// Each role that there should be, and any other that there is.
    fn role_words(&self, paint: Paint) -> String {
        let expected = Role::value_variants().iter().map(ToString::to_string);
        let mut words: Vec<String> = expected
            .map(|role| match self.roles.contains_key(&role) {
                true => paint.tint(Tone::Good, &role),
                false => paint.tint(Tone::Bad, &format!("{role} (not running)")),
            })
            .collect();
        let is_other = |role: &&String| Role::from_str(role, false).is_err();
        words.extend(self.roles.keys().filter(is_other).map(|role| plain(role)));
        words.join(", ")
    }

    /// How many VMs are in each state that any is in.
    fn vm_words(&self, paint: Paint) -> String {
        let there = self.vms.iter().filter(|(_, count)| **count > 0);
        let words: Vec<String> = there
            .map(|(state, count)| {
                paint.tint(Tone::of_state(state), &format!("{count} {}", plain(state)))
            })
            .collect();
        match words.is_empty() {
            true => "none".into(),
            false => words.join(", "),
        }
    }

    /// Which packets of figures were refused, and why; empty where none was.
    fn refused_words(&self) -> String {
        let refused = self
            .refused
            .iter()
            .filter(|(_, reasons)| !reasons.is_empty());
        let words = refused.map(|(whose, reasons)| {
            let counted = reasons.iter();
            let counted = counted.map(|(reason, packets)| format!("{packets} {}", plain(reason)));
            let counted = counted.collect::<Vec<_>>().join(", ");
            let whose = match whose.as_str() {
                "vms" => "VMs".into(),
                other => plain(other),
            };
            format!("figures of {whose}: {counted}")
        });
        words.collect::<Vec<_>>().join("; ")
    }

    /// One line for each instance, and one for a project without any.
    fn render_projects(&self, paint: Paint) -> String {
        let mut table = Table::new(&[["PROJECT", "USER"].as_slice(), &COLUMNS].concat());
        for project in &self.projects {
            let owner = || vec![Cell::text(&project.name), Cell::text(&project.user)];
            for instance in &project.instances {
                table.push(owner().into_iter().chain(instance.cells()).collect());
            }
            if project.instances.is_empty() {
                let none = [
                    Cell::number(None::<u64>),
                    Cell::text("none"),
                    Cell::text(""),
                    Cell::text(""),
                ];
                table.push(owner().into_iter().chain(none).collect());
            }
        }
        table.render(paint)
    }
}
