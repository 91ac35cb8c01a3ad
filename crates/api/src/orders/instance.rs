//! Instances: made, changed, taken away.

use std::collections::BTreeSet;

use model::forms::{
    At, Code, FormError, InstanceChange, NewInstance, ProjectRef, Surroundings, Target, free_label,
};
use model::{Instance, InstanceId, Intent, Project, ProjectId};
use store::intent::IntentDraft;

use super::find::{find_instance, find_project_ref};
use super::project::only_or_default;
use super::subnet::subnets_in;
use super::{Placed, Terms};

/// The most instances of one project, so that all can be deleted in one transaction.
const MAX_INSTANCES: usize = 1024;
/// The most names that an instance has had whose URLs still resolve.
const MAX_FORMER_LABELS: usize = 64;

/// Makes an instance, and its project where none was named and the user has none.
pub(crate) fn create_instance(
    draft: &mut IntentDraft,
    terms: &Terms,
    new: &NewInstance,
) -> Result<Placed, FormError> {
    let project = match &new.project {
        Some(project) => find_project_ref(draft.intent(), &terms.user, project)?.clone(),
        None => only_or_default(draft, terms)?,
    };
    create_in(draft, terms, &project, new.clone())
}

pub(super) fn create_in(
    draft: &mut IntentDraft,
    terms: &Terms,
    project: &Project,
    new: NewInstance,
) -> Result<Placed, FormError> {
    let intent = draft.intent();
    if siblings(intent, project.id).count() >= MAX_INSTANCES {
        return Err(FormError::new(
            Code::TooMany,
            &new.path,
            format!(
                "the project `{}` has {MAX_INSTANCES} instances, the most that it can",
                project.name
            ),
            "make another project",
        ));
    }
    let id = draft.next_instance_id();
    let name = match &new.name {
        Some(name) => {
            check_name_free(intent, project, name, None)?;
            name.value.clone()
        }
        None => free_name(
            intent,
            project.id,
            &format!("{}-{id}", new.traffic().scheme()),
        ),
    };
    let instance = new.complete(Surroundings {
        id,
        project: project.id,
        label: label_for(intent, project.id, id, &name),
        name,
        subnets: subnets_in(intent, project.id),
        front: terms.front,
        now: terms.now,
    })?;
    draft.put_instance(instance.clone());
    Ok(Placed {
        instance,
        project: project.clone(),
    })
}

/// Changes an instance. What is changed into itself does not raise the generation.
pub(crate) fn update_instance(
    draft: &mut IntentDraft,
    terms: &Terms,
    change: &InstanceChange,
) -> Result<Placed, FormError> {
    let intent = draft.intent();
    let instance = find_to_change(intent, &terms.user, change)?;
    let project = project_of(intent, instance)?;
    let mut changed = change.apply(instance)?;
    if let Some(name) = change
        .new_name
        .as_ref()
        .filter(|name| name.value != instance.name)
    {
        check_name_free(intent, &project, name, Some(instance.id))?;
        rename(
            &mut changed,
            name,
            label_for(intent, project.id, instance.id, &name.value),
        )?;
    }
    if changed != *instance {
        changed.generation = changed.generation.next();
        draft.put_instance(changed.clone());
    }
    Ok(Placed {
        instance: changed,
        project,
    })
}

/// The instance to change. One that is addressed by id and is in another project than was named is
/// there, but an update does not move it.
fn find_to_change<'i>(
    intent: &'i Intent,
    user: &str,
    change: &InstanceChange,
) -> Result<&'i Instance, FormError> {
    let (Some(_), Some(project)) = (&change.target.id, &change.project) else {
        return find_instance(intent, user, change.project.as_ref(), &change.target);
    };
    let instance = find_instance(intent, user, None, &change.target)?;
    let named = find_project_ref(intent, user, project)?;
    match named.id == instance.project {
        true => Ok(instance),
        false => Err(FormError::new(
            Code::ImmutableField,
            match project {
                ProjectRef::Name(at) => &at.path,
                ProjectRef::Id(at) => &at.path,
            },
            format!(
                "the instance `{}` is not in the project `{}`",
                instance.name, named.name
            ),
            "an instance stays in its project: leave out `project`, or create another instance",
        )),
    }
}

/// The former label goes on resolving, so that a new name breaks no URL.
fn rename(instance: &mut Instance, name: &At<String>, label: String) -> Result<(), FormError> {
    instance.name.clone_from(&name.value);
    if label == instance.label {
        return Ok(());
    }
    let former = std::mem::replace(&mut instance.label, label);
    instance.former_labels.insert(former);
    instance.former_labels.remove(&instance.label);
    match instance.former_labels.len() > MAX_FORMER_LABELS {
        false => Ok(()),
        true => Err(FormError::new(
            Code::TooMany,
            &name.path,
            format!(
                "the instance has had {MAX_FORMER_LABELS} other names, and their URLs still resolve"
            ),
            "keep the name, or create another instance",
        )),
    }
}

/// Takes an instance away.
pub(crate) fn delete_instance(
    draft: &mut IntentDraft,
    terms: &Terms,
    project: Option<&ProjectRef>,
    target: &Target<InstanceId>,
) -> Result<Placed, FormError> {
    let instance = find_instance(draft.intent(), &terms.user, project, target)?.clone();
    let project = project_of(draft.intent(), &instance)?;
    draft.remove_instance(instance.id);
    Ok(Placed { instance, project })
}

/// The project of an instance, which was found by way of it.
pub(crate) fn project_of(intent: &Intent, instance: &Instance) -> Result<Project, FormError> {
    intent
        .projects
        .get(&instance.project)
        .cloned()
        .ok_or_else(|| {
            FormError::new(
                Code::NotFound,
                "info",
                format!(
                    "the instance {} is without its project {}",
                    instance.id, instance.project
                ),
                "delete the instance",
            )
        })
}

fn siblings(intent: &Intent, project: ProjectId) -> impl Iterator<Item = &Instance> {
    intent
        .instances
        .values()
        .filter(move |i| i.project == project)
}

fn check_name_free(
    intent: &Intent,
    project: &Project,
    name: &At<String>,
    own: Option<InstanceId>,
) -> Result<(), FormError> {
    let other = siblings(intent, project.id).find(|i| i.name == name.value && Some(i.id) != own);
    match other {
        None => Ok(()),
        Some(other) => Err(FormError::new(
            Code::NameTaken,
            &name.path,
            format!(
                "the project `{}` has an instance `{}` already, with the id {}",
                project.name, other.name, other.id
            ),
            "choose another name, or update that instance",
        )),
    }
}

/// A name that no instance of the project has: the wanted one, else that with a number at its end.
fn free_name(intent: &Intent, project: ProjectId, wanted: &str) -> String {
    let taken: BTreeSet<_> = siblings(intent, project).map(|i| i.name.as_str()).collect();
    let numbered = (2..=MAX_INSTANCES + 2).map(|n| format!("{wanted}-{n}"));
    let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
    names
        .find(|name| !taken.contains(name.as_str()))
        .unwrap_or_else(|| wanted.to_owned())
}

/// A label that resolves to no other instance of the project.
fn label_for(intent: &Intent, project: ProjectId, id: InstanceId, name: &str) -> String {
    let is_taken = |label: &str| {
        let mut others = siblings(intent, project).filter(|i| i.id != id);
        others.any(|i| i.label == label || i.former_labels.contains(label))
    };
    free_label(name, "instance", id.0, is_taken)
}
