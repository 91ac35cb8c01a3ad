//! What users asked for, as it is stored.
//!
//! ```text
//! intent/head                              how many identities were given; rewritten by every edit
//! intent/project/<id>                      a model::Project
//! intent/instance/<id>                     a model::Instance
//! intent/attachment/<project>/<subnet>/<interface>   a model::Attachment
//! ```
//!
//! An edit is decided on a snapshot of all of the intent and committed on the condition that the head is
//! still the one of that snapshot. So every rule that spans objects (names and labels that are one of a
//! kind, an instance's project that exists, a project that is deleted only when it is empty) holds because
//! the decision saw it hold; no key has to stand for the rule. The price is that edits happen one after
//! the other. They are the requests of people and their tools, a few a second at most.

use std::collections::BTreeSet;

use model::{Attachment, Instance, InstanceId, Intent, Project, ProjectId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Entry, Outcome, Revision, Store, StoreError, Transaction};

/// The prefix of everything that users asked for. Watch it to learn of edits.
pub const INTENT: &str = "intent/";
const HEAD_KEY: &str = "intent/head";
const PROJECTS: &str = "intent/project/";
const INSTANCES: &str = "intent/instance/";
const ATTACHMENTS: &str = "intent/attachment/";

/// How often an edit is decided anew because another came first. One of several that compete always
/// succeeds, so this bounds how many may compete.
pub const MAX_ATTEMPTS: usize = 256;

/// The key of a project.
#[must_use]
pub fn project_key(id: ProjectId) -> String {
    format!("{PROJECTS}{:020}", id.0)
}

/// The key of an instance.
#[must_use]
pub fn instance_key(id: InstanceId) -> String {
    format!("{INSTANCES}{:020}", id.0)
}

/// The key of an attachment.
#[must_use]
pub fn attachment_key(attachment: &Attachment) -> String {
    format!(
        "{ATTACHMENTS}{:020}/{}/{}",
        attachment.project.0, attachment.subnet, attachment.interface
    )
}

/// The identities that were given so far. None is given twice, not even after its object is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    last_project: u64,
    last_instance: u64,
}

/// Reads everything that users asked for, as one snapshot, with the store's revision.
///
/// # Errors
/// [`StoreError::Decode`] when a stored object is not what this program writes; else as
/// [`Store::range`].
pub fn read_intent(store: &Store) -> Result<(Revision, Intent), StoreError> {
    let (revision, draft) = IntentDraft::read(store)?;
    Ok((revision, draft.intent))
}

/// Why an edit was not made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError<E> {
    /// The decision was not to make it.
    #[error(transparent)]
    Refused(E),
    /// Other edits came first, [`MAX_ATTEMPTS`] times in a row.
    #[error("other changes came first {MAX_ATTEMPTS} times in a row: try again")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes one edit, wholly or not at all: reads the intent, lets `decide` change it, and commits what was
/// changed if nobody else's edit came first; else begins again, at most [`MAX_ATTEMPTS`] times.
///
/// `decide` may therefore be called several times, and must have no effect but on the draft. An edit
/// that changes nothing is not committed.
///
/// # Errors
/// [`EditError::Refused`] with the error of `decide`; [`EditError::Contended`]; [`EditError::Store`].
pub fn edit_intent<T, E>(
    store: &Store,
    decide: impl FnMut(&mut IntentDraft) -> Result<T, E>,
) -> Result<T, EditError<E>> {
    edit_intent_at(store, decide).map(|(outcome, _)| outcome)
}

/// As [`edit_intent`]; also gives the revision that the edit made, `None` where it changed nothing. Whoever has read the
/// intent at that revision or a later one knows of the edit.
///
/// # Errors
/// As [`edit_intent`].
pub fn edit_intent_at<T, E>(
    store: &Store,
    mut decide: impl FnMut(&mut IntentDraft) -> Result<T, E>,
) -> Result<(T, Option<Revision>), EditError<E>> {
    for _ in 0..MAX_ATTEMPTS {
        let (_, mut draft) = IntentDraft::read(store)?;
        let outcome = decide(&mut draft).map_err(EditError::Refused)?;
        if !draft.is_changed() {
            return Ok((outcome, None));
        }
        match store.commit(draft.transaction()?)? {
            Outcome::Applied(revision) => return Ok((outcome, Some(revision))),
            Outcome::Conflict { .. } => {}
        }
    }
    Err(EditError::Contended)
}

/// The intent as it is to become. Plain data: nothing is stored until it is committed.
#[derive(Debug, Default)]
pub struct IntentDraft {
    intent: Intent,
    head: Head,
    /// The revision that last wrote the head; zero when there is none yet.
    based_on: Revision,
    touched: BTreeSet<Touched>,
}

/// An object that an edit wrote or removed; which of both, the draft's intent tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Touched {
    Project(ProjectId),
    Instance(InstanceId),
    Attachment(Attachment),
}

impl IntentDraft {
    fn read(store: &Store) -> Result<(Revision, Self), StoreError> {
        let (revision, entries) = store.range(INTENT)?;
        let mut draft = Self {
            based_on: Revision::ZERO,
            ..Self::default()
        };
        for entry in entries {
            draft.take_up(&entry)?;
        }
        Ok((revision, draft))
    }

    fn take_up(&mut self, entry: &Entry) -> Result<(), StoreError> {
        if entry.key == HEAD_KEY {
            self.head = decode(entry)?;
            self.based_on = entry.modified;
        } else if entry.key.starts_with(PROJECTS) {
            let project: Project = decode(entry)?;
            self.intent.projects.insert(project.id, project);
        } else if entry.key.starts_with(INSTANCES) {
            let instance: Instance = decode(entry)?;
            self.intent.instances.insert(instance.id, instance);
        } else if entry.key.starts_with(ATTACHMENTS) {
            self.intent.attachments.insert(decode(entry)?);
        }
        Ok(())
    }

    /// The intent with all that was changed so far.
    #[must_use]
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Whether anything was written or removed so far.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.touched.is_empty()
    }

    /// The identity that the next new project gets. The same until one is [put](Self::put_project).
    #[must_use]
    pub fn next_project_id(&self) -> ProjectId {
        ProjectId(self.head.last_project + 1)
    }

    /// The identity that the next new instance gets. The same until one is [put](Self::put_instance).
    #[must_use]
    pub fn next_instance_id(&self) -> InstanceId {
        InstanceId(self.head.last_instance + 1)
    }

    /// Adds or replaces a project.
    pub fn put_project(&mut self, project: Project) {
        self.head.last_project = self.head.last_project.max(project.id.0);
        self.touched.insert(Touched::Project(project.id));
        self.intent.projects.insert(project.id, project);
    }

    /// Adds or replaces an instance.
    pub fn put_instance(&mut self, instance: Instance) {
        self.head.last_instance = self.head.last_instance.max(instance.id.0);
        self.touched.insert(Touched::Instance(instance.id));
        self.intent.instances.insert(instance.id, instance);
    }

    /// Adds an attachment.
    pub fn put_attachment(&mut self, attachment: Attachment) {
        self.touched.insert(Touched::Attachment(attachment.clone()));
        self.intent.attachments.insert(attachment);
    }

    /// Takes an instance away.
    pub fn remove_instance(&mut self, id: InstanceId) {
        self.touched.insert(Touched::Instance(id));
        self.intent.instances.remove(&id);
    }

    /// Takes an attachment away.
    pub fn remove_attachment(&mut self, attachment: &Attachment) {
        self.touched.insert(Touched::Attachment(attachment.clone()));
        self.intent.attachments.remove(attachment);
    }

    /// Takes a project away, with all its instances and attachments.
    pub fn remove_project(&mut self, id: ProjectId) {
        let instances = self.intent.instances.values();
        let instances: Vec<_> = instances
            .filter(|i| i.project == id)
            .map(|i| i.id)
            .collect();
        for instance in instances {
            self.remove_instance(instance);
        }
        let attachments = self.intent.attachments.iter();
        let attachments: Vec<_> = attachments.filter(|a| a.project == id).cloned().collect();
        for attachment in &attachments {
            self.remove_attachment(attachment);
        }
        self.touched.insert(Touched::Project(id));
        self.intent.projects.remove(&id);
    }

    fn transaction(&self) -> Result<Transaction, StoreError> {
        let mut transaction = Transaction::new()
            .when_modified(HEAD_KEY, self.based_on)
            .put_json(HEAD_KEY, &self.head)?;
        for touched in &self.touched {
            transaction = match touched {
                Touched::Project(id) => {
                    write(transaction, project_key(*id), self.intent.projects.get(id))?
                }
                Touched::Instance(id) => write(
                    transaction,
                    instance_key(*id),
                    self.intent.instances.get(id),
                )?,
                Touched::Attachment(attachment) => write(
                    transaction,
                    attachment_key(attachment),
                    self.intent.attachments.get(attachment),
                )?,
            };
        }
        Ok(transaction)
    }
}

fn write<T: Serialize>(
    transaction: Transaction,
    key: String,
    object: Option<&T>,
) -> Result<Transaction, StoreError> {
    match object {
        Some(object) => transaction.put_json(key, object),
        None => Ok(transaction.delete(key)),
    }
}

fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<T, StoreError> {
    serde_json::from_slice(&entry.value).map_err(|source| StoreError::Decode {
        key: entry.key.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use model::{Generation, Timestamp};

    use super::*;
    use crate::Durability;

    fn project(id: ProjectId, name: &str) -> Project {
        Project {
            id,
            user: "ann".into(),
            name: name.into(),
            label: name.into(),
            generation: Generation(1),
            created_at: Timestamp(0),
        }
    }

    fn attachment(project: ProjectId) -> Attachment {
        Attachment {
            project,
            subnet: "1.1.1.0/24".parse().expect("a network"),
            interface: "veth0".into(),
        }
    }

    /// Adds a project of this name unless there is one.
    fn claim(draft: &mut IntentDraft, name: &str) -> Result<ProjectId, &'static str> {
        if draft.intent().projects.values().any(|p| p.name == name) {
            return Err("taken");
        }
        let id = draft.next_project_id();
        draft.put_project(project(id, name));
        Ok(id)
    }

    #[test]
    fn of_many_threads_that_want_one_name_one_gets_it_and_ids_are_given_once() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let file =
            Store::open(&directory.path().join("store.db"), Durability::Volatile).expect("a store");
        for store in [Store::in_memory(), file] {
            let outcomes: Vec<_> = std::thread::scope(|scope| {
                let attempt = |n: usize| {
                    let store = &store;
                    scope.spawn(move || {
                        let own = edit_intent(store, |draft| claim(draft, &format!("p{n}")));
                        (own, edit_intent(store, |draft| claim(draft, "same")))
                    })
                };
                let threads: Vec<_> = (0..16).map(attempt).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("no panic"))
                    .collect()
            });
            let won = outcomes.iter().filter(|(_, same)| same.is_ok()).count();
            let refused = |same: &Result<_, _>| matches!(same, Err(EditError::Refused("taken")));
            assert_eq!(
                (
                    won,
                    outcomes.iter().filter(|(_, same)| refused(same)).count()
                ),
                (1, 15)
            );
            let ids: BTreeSet<_> = outcomes
                .iter()
                .map(|(own, _)| own.as_ref().expect("free").0)
                .collect();
            assert_eq!(ids.len(), 16);
            let (_, intent) = read_intent(&store).expect("the intent");
            assert_eq!(intent.projects.len(), 17);
        }
    }

    #[test]
    fn a_refused_edit_and_one_that_changes_nothing_write_nothing() {
        let store = Store::in_memory();
        let refused = edit_intent(&store, |draft| {
            claim(draft, "a")?;
            Err::<(), _>("no")
        });
        assert!(matches!(refused, Err(EditError::Refused("no"))));
        edit_intent(&store, |_| Ok::<_, Infallible>(())).expect("nothing to refuse");
        assert_eq!(
            read_intent(&store).expect("the intent"),
            (Revision::ZERO, Intent::default())
        );
    }

    #[test]
    fn a_removed_project_takes_its_things_along_and_its_id_is_not_given_again() {
        let store = Store::in_memory();
        let made = edit_intent(&store, |draft| {
            let id = claim(draft, "a")?;
            draft.put_attachment(attachment(id));
            claim(draft, "b")?;
            Ok::<_, &str>(id)
        });
        let (first, second) = (made.expect("free"), ProjectId(2));
        edit_intent(&store, |draft| {
            draft.remove_project(first);
            draft.remove_project(second);
            Ok::<_, Infallible>(())
        })
        .expect("nothing to refuse");
        assert_eq!(
            read_intent(&store).expect("the intent").1,
            Intent::default()
        );
        let next = edit_intent(&store, |draft| claim(draft, "a"));
        assert_eq!(next.expect("free"), ProjectId(3));
    }

    #[test]
    fn what_was_put_and_removed_in_one_edit_was_never_there() {
        let store = Store::in_memory();
        edit_intent(&store, |draft| {
            let id = claim(draft, "a")?;
            draft.remove_project(id);
            Ok::<_, &str>(())
        })
        .expect("free");
        assert_eq!(
            read_intent(&store).expect("the intent").1,
            Intent::default()
        );
    }

    #[test]
    fn a_stored_object_that_is_none_is_named() {
        let store = Store::in_memory();
        let broken = Transaction::new().put(project_key(ProjectId(7)), "{}");
        store.commit(broken).expect("a commit");
        let error = read_intent(&store).expect_err("no project");
        assert!(
            error
                .to_string()
                .contains("intent/project/00000000000000000007"),
            "{error}"
        );
    }
}
