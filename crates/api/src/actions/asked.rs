//! Noting what users ask in the journal. An order is noted once it is stored, and one that changes nothing is
//! not; nothing waits for that.

use model::forms::SubnetChange;
use model::{Event, EventKind, Instance, Intent, ProjectId, TrafficType};
use store::journal::{About, Entry, Journal, Subject};

use crate::orders::{Asker, Placed};

/// Notes what users ask. It is told where the order is stored, whether or not anybody waits for the answer still.
#[derive(Clone)]
pub(crate) struct Scribe(pub Journal);

impl Scribe {
    /// Notes what all instances are called, for those that were made before there was a journal.
    pub fn note_names(&self, intent: &Intent) {
        let subjects = intent.instances.values().filter_map(|instance| {
            let project = intent.projects.get(&instance.project)?;
            Some(subject(instance, &project.user))
        });
        self.0.note_with(subjects.collect(), Vec::new());
    }

    pub fn note_created(&self, asker: &Asker, placed: &Placed) {
        let Instance {
            traffic,
            port,
            backends,
            ..
        } = &placed.instance;
        let traffic = match traffic {
            TrafficType::Http => "http",
            TrafficType::Tcp => "tcp",
        };
        let noun = match backends.len() {
            1 => "backend",
            _ => "backends",
        };
        let words = format!(
            "asked for {}: {traffic} on port {port}, {} {noun}",
            placed.instance.name,
            backends.len()
        );
        self.note_about_instance(asker, placed, words);
    }

    /// `names` is what the order names.
    pub fn note_updated(&self, asker: &Asker, placed: &Placed, names: &[String]) {
        let what = names.join(", ");
        let generation = placed.instance.generation;
        let words = format!("asked to change {what}: generation {generation}");
        self.note_about_instance(asker, placed, words);
    }

    pub fn note_deleted(&self, asker: &Asker, placed: &Placed) {
        let words = format!("asked to delete {}", placed.instance.name);
        self.note_about_instance(asker, placed, words);
    }

    fn note_about_instance(&self, asker: &Asker, placed: &Placed, words: String) {
        let Placed { instance, project } = placed;
        let about = About {
            user: Some(asker.user.clone()),
            project: Some(project.id),
            instance: Some(instance.id),
        };
        let subject = subject(instance, &project.user);
        let entry = entry(asker, about, words);
        self.0.note_with(vec![subject], vec![entry]);
    }

    pub fn note_about_project(&self, asker: &Asker, project: ProjectId, words: String) {
        let about = About {
            user: Some(asker.user.clone()),
            project: Some(project),
            instance: None,
        };
        self.0.note(vec![entry(asker, about, words)]);
    }
}

fn subject(instance: &Instance, user: &str) -> Subject {
    Subject {
        instance: instance.id,
        project: instance.project,
        user: user.to_owned(),
        name: instance.name.clone(),
    }
}

fn entry(asker: &Asker, about: About, words: String) -> Entry {
    let event = Event {
        at: asker.at,
        vm: None,
        kind: EventKind::Asked,
        text: format!("{} {words}", asker.user),
    };
    Entry { about, event }
}

/// What becomes of a subnet's interfaces.
pub(super) fn subnet_change_in_words(change: &SubnetChange) -> String {
    let named = |verb: &str, interfaces: &[model::forms::At<String>]| {
        let names: Vec<_> = interfaces.iter().map(|at| at.value.as_str()).collect();
        (!names.is_empty()).then(|| format!("{verb} {}", names.join(", ")))
    };
    let parts = [
        named("detach", &change.detach),
        named("attach", &change.attach),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    format!(
        "asked to {}: subnet {}",
        parts.join(" and "),
        change.subnet.value
    )
}
