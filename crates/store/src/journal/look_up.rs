//! Questions, answered from the file.

use std::collections::BTreeMap;
use std::path::Path;

use model::{Event, EventKind, InstanceId, ProjectId, Timestamp, VmId};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::About;
use super::file::open_to_read;
use super::writer::signed;
use crate::StoreError;
use crate::sqlite::engine_error;

/// Whose events are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// One instance's, whether or not it is still there.
    Instance(InstanceId),
    /// A project's and its instances'.
    Project(ProjectId),
    /// A user's, with those of the whole installation.
    User(String),
}

/// Which events are asked for: those of which all of this holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whose.
    pub of: Of,
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Up to this time.
    pub to: Option<Timestamp>,
    /// Of one of these kinds; of any where there is none.
    pub kinds: Vec<EventKind>,
    /// About this VM.
    pub vm: Option<VmId>,
    /// Behind the one with this number; the newest where absent.
    pub after: Option<u64>,
    /// How many at the most.
    pub limit: usize,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The oldest first.
    pub events: Vec<Kept>,
    /// The number behind which to go on.
    pub after: u64,
    /// Whether there are more: behind these or, where the newest were asked for, before them.
    pub more: bool,
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number, which rises.
    pub number: u64,
    /// To whom or what it happened.
    pub about: About,
    /// The instance's name, where it is about one whose name is known.
    pub name: Option<String>,
    /// What happened.
    pub event: Event,
}

const COLUMNS: &str =
    "number, at, event.user, event.project, event.instance, vm, kind, text, subject.name";

/// Answers a question; nothing was found where there is no journal.
///
/// # Errors
/// [`StoreError`].
pub fn look_up(path: &Path, question: &Question) -> Result<Found, StoreError> {
    let Some(connection) = open_to_read(path)? else {
        return Ok(Found::default());
    };
    let found = connection
        .unchecked_transaction()
        .and_then(|snapshot| search(&snapshot, question));
    found.map_err(|error| engine_error(error, path))
}

fn search(connection: &Connection, question: &Question) -> rusqlite::Result<Found> {
    let newest: Option<i64> =
        connection.query_row("SELECT max(number) FROM event", [], |row| row.get(0))?;
    let newest = unsigned(newest.unwrap_or(0));
    let (mut wanted, mut values) = conditions(question);
    if let Some(after) = question.after {
        wanted.push("number > ?".to_owned());
        values.push(signed(after).into());
    }
    let order = match question.after {
        Some(_) => "ASC",
        None => "DESC",
    };
    values.push(signed(question.limit as u64 + 1).into());
    let mut statement = connection.prepare(&format!(
        "SELECT {COLUMNS} FROM event LEFT JOIN subject ON subject.instance = event.instance WHERE {} ORDER BY number {order} LIMIT ?",
        wanted.join(" AND ")
    ))?;
    let rows = statement.query_map(params_from_iter(values), kept)?;
    let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let more = rows.len() > question.limit;
    rows.truncate(question.limit);
    if question.after.is_none() {
        rows.reverse();
    }
    // Who asks behind the newest one had another file, and goes on with all of this one.
    let last = rows.last().map(|(number, _)| *number);
    let after = match (question.after, last) {
        (Some(_), Some(last)) => last,
        (Some(after), None) if after > newest => 0,
        (Some(after), None) => after,
        (None, _) => newest,
    };
    Ok(Found {
        events: rows.into_iter().filter_map(|(_, kept)| kept).collect(),
        after,
        more,
    })
}

/// What has to hold, and the values in it.
fn conditions(question: &Question) -> (Vec<String>, Vec<Value>) {
    let (mut wanted, mut values): (Vec<String>, Vec<Value>) = (Vec::new(), Vec::new());
    match &question.of {
        Of::Instance(id) => {
            wanted.push("event.instance = ?".to_owned());
            values.push(signed(id.0).into());
        }
        Of::Project(id) => {
            let instances = "SELECT instance FROM subject WHERE project = ?";
            wanted.push(format!(
                "(event.project = ? OR event.instance IN ({instances}))"
            ));
            values.extend([signed(id.0).into(), signed(id.0).into()]);
        }
        Of::User(user) => {
            let instances = "SELECT instance FROM subject WHERE user = ?";
            wanted.push(format!(
                "(event.user = ? OR event.instance IN ({instances})
                  OR (event.user IS NULL AND event.project IS NULL AND event.instance IS NULL))"
            ));
            values.extend([user.clone().into(), user.clone().into()]);
        }
    }
    let mut also = |condition: &str, value: Value| {
        wanted.push(condition.to_owned());
        values.push(value);
    };
    if let Some(from) = question.from {
        also("at >= ?", signed(from.0).into());
    }
    if let Some(to) = question.to {
        also("at <= ?", signed(to.0).into());
    }
    if let Some(vm) = question.vm {
        also("vm = ?", signed(vm.0).into());
    }
    if !question.kinds.is_empty() {
        let places = vec!["?"; question.kinds.len()].join(", ");
        wanted.push(format!("kind IN ({places})"));
        values.extend(
            question
                .kinds
                .iter()
                .map(|kind| kind.word().to_owned().into()),
        );
    }
    (wanted, values)
}

/// A row's number, and what it holds; nothing where a later release has a kind that this one does not know.
fn kept(row: &Row<'_>) -> rusqlite::Result<(u64, Option<Kept>)> {
    let id = |at: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(unsigned));
    let number = unsigned(row.get(0)?);
    let Some(kind) = EventKind::from_word(row.get_ref(6)?.as_str()?) else {
        return Ok((number, None));
    };
    let event = Event {
        at: Timestamp(unsigned(row.get(1)?)),
        vm: id(5)?.map(VmId),
        kind,
        text: row.get(7)?,
    };
    let about = About {
        user: row.get(2)?,
        project: id(3)?.map(ProjectId),
        instance: id(4)?.map(InstanceId),
    };
    let name = row.get(8)?;
    Ok((
        number,
        Some(Kept {
            number,
            about,
            name,
            event,
        }),
    ))
}

/// The newest instance of a user that was called so, or has this id, in the project where one is named.
///
/// # Errors
/// [`StoreError`].
pub fn find_subject(
    path: &Path,
    user: &str,
    name: Option<&str>,
    id: Option<InstanceId>,
    project: Option<ProjectId>,
) -> Result<Option<InstanceId>, StoreError> {
    let Some(connection) = open_to_read(path)? else {
        return Ok(None);
    };
    let found = connection
        .query_row(
            "SELECT instance FROM subject WHERE user = ?1 AND (?2 IS NULL OR name = ?2)
             AND (?3 IS NULL OR instance = ?3) AND (?4 IS NULL OR project = ?4) ORDER BY instance DESC LIMIT 1",
            (
                user,
                name,
                id.map(|id| signed(id.0)),
                project.map(|id| signed(id.0)),
            ),
            |row| row.get(0),
        )
        .optional();
    let found = found.map_err(|error| engine_error(error, path))?;
    Ok(found.map(|id| InstanceId(unsigned(id))))
}

/// How far the journal reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// When its oldest event happened.
    pub oldest: Timestamp,
    /// When the newest one of each instance did, and of what is about none; users' orders do not count.
    pub newest: BTreeMap<Option<InstanceId>, Timestamp>,
}

/// How far the journal reaches.
///
/// # Errors
/// [`StoreError`].
pub fn reach(path: &Path) -> Result<Reach, StoreError> {
    let Some(connection) = open_to_read(path)? else {
        return Ok(Reach::default());
    };
    let read = || {
        let mut statement = connection
            .prepare("SELECT instance, max(at) FROM event WHERE user IS NULL GROUP BY instance")?;
        let rows = statement.query_map([], |row| {
            let instance = row.get::<_, Option<i64>>(0)?;
            let at = Timestamp(unsigned(row.get(1)?));
            Ok((instance.map(|id| InstanceId(unsigned(id))), at))
        })?;
        let newest = rows.collect::<rusqlite::Result<_>>()?;
        let oldest: Option<i64> =
            connection.query_row("SELECT min(at) FROM event", [], |row| row.get(0))?;
        let oldest = Timestamp(unsigned(oldest.unwrap_or(0)));
        Ok(Reach { oldest, newest })
    };
    read().map_err(|error| engine_error(error, path))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
