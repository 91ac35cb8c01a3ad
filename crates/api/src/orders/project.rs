//! Projects: made, renamed, taken away.

use model::forms::{At, Code, FormError, NewProject, Target, free_label};
use model::{Generation, Intent, Project, ProjectId};
use store::intent::IntentDraft;

use super::find::{find_project, listed, projects_of};
use super::instance::create_in;
use super::{Placed, Terms};

/// The name of the project that is made for a user who names none.
const DEFAULT_PROJECT: &str = "default";

/// Makes a project with the instances that were given with it, or none of it.
pub(crate) fn create_project(
    draft: &mut IntentDraft,
    terms: &Terms,
    order: &NewProject,
) -> Result<(Project, Vec<Placed>), FormError> {
    let default = At {
        path: "info.name".to_owned(),
        value: DEFAULT_PROJECT.to_owned(),
    };
    let project = make_project(draft, terms, order.name.as_ref().unwrap_or(&default))?;
    let mut instances = Vec::with_capacity(order.instances.len());
    for new in &order.instances {
        instances.push(create_in(draft, terms, &project, new.clone())?);
    }
    Ok((project, instances))
}

/// The user's only project, or one named `default` where there is none.
pub(super) fn only_or_default(
    draft: &mut IntentDraft,
    terms: &Terms,
) -> Result<Project, FormError> {
    if let Some(project) = super::only_project(draft.intent(), &terms.user)? {
        return Ok(project.clone());
    }
    let name = At {
        path: "info.project".to_owned(),
        value: DEFAULT_PROJECT.to_owned(),
    };
    make_project(draft, terms, &name)
}

fn make_project(
    draft: &mut IntentDraft,
    terms: &Terms,
    name: &At<String>,
) -> Result<Project, FormError> {
    check_name_free(draft.intent(), &terms.user, name, None)?;
    let id = draft.next_project_id();
    let is_taken = |label: &str| draft.intent().projects.values().any(|p| p.label == label);
    let project = Project {
        id,
        user: terms.user.clone(),
        name: name.value.clone(),
        label: free_label(&name.value, "project", id.0, is_taken),
        generation: Generation(1),
        created_at: terms.now,
    };
    draft.put_project(project.clone());
    Ok(project)
}

/// Gives a project another name. Its label stays, and with it every URL of its instances.
pub(crate) fn update_project(
    draft: &mut IntentDraft,
    terms: &Terms,
    target: &Target<ProjectId>,
    new_name: Option<&At<String>>,
) -> Result<Project, FormError> {
    let mut project = find_project(draft.intent(), &terms.user, target)?.clone();
    let Some(name) = new_name.filter(|name| name.value != project.name) else {
        return Ok(project);
    };
    check_name_free(draft.intent(), &terms.user, name, Some(project.id))?;
    project.name.clone_from(&name.value);
    project.generation = project.generation.next();
    draft.put_project(project.clone());
    Ok(project)
}

/// Takes a project away; with instances only when they are to go with it.
pub(crate) fn delete_project(
    draft: &mut IntentDraft,
    terms: &Terms,
    target: &Target<ProjectId>,
    cascade: bool,
) -> Result<(Project, Vec<Placed>), FormError> {
    let project = find_project(draft.intent(), &terms.user, target)?.clone();
    let instances = draft
        .intent()
        .instances
        .values()
        .filter(|i| i.project == project.id);
    let placed = |instance: &model::Instance| Placed {
        instance: instance.clone(),
        project: project.clone(),
    };
    let instances: Vec<_> = instances.map(placed).collect();
    if !cascade && !instances.is_empty() {
        return Err(FormError::new(
            Code::HasInstances,
            "info.cascade",
            format!(
                "the project `{}` still has instances: {}",
                project.name,
                listed(instances.iter().map(|p| &p.instance.name))
            ),
            "delete them first, or give \"cascade\": true to delete all of them with the project",
        ));
    }
    draft.remove_project(project.id);
    Ok((project, instances))
}

fn check_name_free(
    intent: &Intent,
    user: &str,
    name: &At<String>,
    own: Option<ProjectId>,
) -> Result<(), FormError> {
    let is_other = |p: &&Project| p.name == name.value && Some(p.id) != own;
    match projects_of(intent, user).find(is_other) {
        None => Ok(()),
        Some(other) => Err(FormError::new(
            Code::NameTaken,
            &name.path,
            format!(
                "{user} has a project `{}` already, with the id {}",
                other.name, other.id
            ),
            "choose another name, or use that project",
        )),
    }
}
