//! Which object is meant. A user's order finds that user's things and nobody else's.

use model::forms::{At, Code, FormError, ProjectRef, Target};
use model::{Instance, InstanceId, Intent, Project, ProjectId};

/// How many names a hint lists.
const MAX_LISTED: usize = 8;

/// The user's projects, oldest first.
pub(crate) fn projects_of<'i>(intent: &'i Intent, user: &str) -> impl Iterator<Item = &'i Project> {
    let user = user.to_owned();
    intent.projects.values().filter(move |p| p.user == user)
}

/// The project that is addressed by name or id.
pub(crate) fn find_project<'i>(
    intent: &'i Intent,
    user: &str,
    target: &Target<ProjectId>,
) -> Result<&'i Project, FormError> {
    let Some(id) = &target.id else {
        let name = target.name.as_ref();
        let found = projects_of(intent, user).find(|p| name.is_some_and(|at| at.value == p.name));
        let (path, words) = spoken(name, "name");
        return found.ok_or_else(|| no_project(intent, user, path, &words));
    };
    let found = projects_of(intent, user)
        .find(|p| p.id == id.value)
        .ok_or_else(|| no_project(intent, user, &id.path, &id.value.to_string()))?;
    agree(target.name.as_ref(), &found.name, "project")?;
    Ok(found)
}

/// The project that another object names as its own.
pub(crate) fn find_project_ref<'i>(
    intent: &'i Intent,
    user: &str,
    project: &ProjectRef,
) -> Result<&'i Project, FormError> {
    let (path, words, found) = match project {
        ProjectRef::Name(at) => (
            &at.path,
            at.value.clone(),
            projects_of(intent, user).find(|p| p.name == at.value),
        ),
        ProjectRef::Id(at) => (
            &at.path,
            at.value.to_string(),
            projects_of(intent, user).find(|p| p.id == at.value),
        ),
    };
    found.ok_or_else(|| no_project(intent, user, path, &words))
}

/// The project that is meant when none was named: the user's only one, if there is one.
pub(crate) fn only_project<'i>(
    intent: &'i Intent,
    user: &str,
) -> Result<Option<&'i Project>, FormError> {
    let mut projects = projects_of(intent, user);
    let only = projects.next();
    match projects.next() {
        None => Ok(only),
        Some(_) => Err(FormError::new(
            Code::AmbiguousProject,
            "info.project",
            format!("{user} has several projects, and none was named"),
            format!(
                "name one: {}",
                listed(projects_of(intent, user).map(|p| &p.name))
            ),
        )),
    }
}

/// The instance that is addressed by name or id, in the project where one was named, else anywhere
/// among the user's.
pub(crate) fn find_instance<'i>(
    intent: &'i Intent,
    user: &str,
    project: Option<&ProjectRef>,
    target: &Target<InstanceId>,
) -> Result<&'i Instance, FormError> {
    let within = match (project, &target.id) {
        (Some(project), _) => vec![find_project_ref(intent, user, project)?],
        (None, _) => projects_of(intent, user).collect(),
    };
    let candidates = || {
        intent
            .instances
            .values()
            .filter(|i| within.iter().any(|p| p.id == i.project))
    };
    if let Some(id) = &target.id {
        let found = candidates()
            .find(|i| i.id == id.value)
            .ok_or_else(|| no_instance(candidates(), &id.path, &id.value.to_string()))?;
        agree(target.name.as_ref(), &found.name, "instance")?;
        return Ok(found);
    }
    let name = target.name.as_ref();
    let mut named = candidates().filter(|i| name.is_some_and(|at| at.value == i.name));
    match (named.next(), named.next()) {
        (Some(found), None) => Ok(found),
        (None, _) => {
            let (path, words) = spoken(name, "name");
            Err(no_instance(candidates(), path, &words))
        }
        (Some(first), Some(_)) => {
            let projects = within
                .iter()
                .filter(|p| candidates().any(|i| i.project == p.id && i.name == first.name));
            Err(FormError::new(
                Code::AmbiguousProject,
                "info.project",
                format!(
                    "several of {user}'s projects have an instance `{}`",
                    first.name
                ),
                format!("name one: {}", listed(projects.map(|p| &p.name))),
            ))
        }
    }
}

/// A name that was given beside an id must be the name of what has the id.
fn agree(name: Option<&At<String>>, had: &str, kind: &str) -> Result<(), FormError> {
    match name.filter(|at| at.value != had) {
        None => Ok(()),
        Some(at) => Err(FormError::new(
            Code::ConflictingFields,
            &at.path,
            format!(
                "the {kind} with this id is named `{had}`, not `{}`",
                at.value
            ),
            "give `name` or `id`; a new name goes into `new-name`",
        )),
    }
}

fn spoken<'t>(name: Option<&'t At<String>>, field: &str) -> (&'t str, String) {
    match name {
        Some(at) => (&at.path, at.value.clone()),
        None => ("info", field.to_owned()),
    }
}

fn no_project(intent: &Intent, user: &str, path: &str, words: &str) -> FormError {
    let hint = match projects_of(intent, user).next() {
        None => format!("{user} has no projects; another user's are found with `user`"),
        Some(_) => format!(
            "{user}'s projects: {}",
            listed(projects_of(intent, user).map(|p| &p.name))
        ),
    };
    FormError::new(
        Code::NotFound,
        path,
        format!("{user} has no project `{words}`"),
        hint,
    )
}

fn no_instance<'i>(
    candidates: impl Iterator<Item = &'i Instance>,
    path: &str,
    words: &str,
) -> FormError {
    let names = listed(candidates.map(|i| &i.name));
    let hint = match names.is_empty() {
        true => "there are no instances here; another user's are found with `user`".into(),
        false => format!("the instances here: {names}"),
    };
    FormError::new(
        Code::NotFound,
        path,
        format!("there is no instance `{words}`"),
        hint,
    )
}

/// Names for a hint, the first few of them.
pub(super) fn listed<'n>(names: impl Iterator<Item = &'n String>) -> String {
    let mut names = names.map(String::as_str);
    let mut shown: Vec<_> = names.by_ref().take(MAX_LISTED).collect();
    if names.next().is_some() {
        shown.push("…");
    }
    shown.join(", ")
}
