//! Subnets: which there are, and what is attached to them.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use model::forms::{At, Code, FormError, SubnetChange};
use model::{Attachment, Intent, Project, ProjectId};
use serde::Serialize;
use store::intent::IntentDraft;

use super::Terms;
use super::find::find_project_ref;
use super::project::only_or_default;

/// The most interfaces that are attached to one project's subnets.
const MAX_ATTACHMENTS: usize = 256;

/// A subnet as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SubnetDocument {
    #[serde(skip)]
    pub(crate) project_id: ProjectId,
    subnet: Ipv4Net,
    project: String,
    interfaces: Vec<String>,
    instances: Vec<String>,
}

/// The CIDRs that a project uses.
pub(super) fn subnets_in(intent: &Intent, project: ProjectId) -> BTreeSet<Ipv4Net> {
    let instances = intent.instances.values().filter(|i| i.project == project);
    let attachments = intent.attachments.iter().filter(|a| a.project == project);
    instances
        .map(|i| i.subnet)
        .chain(attachments.map(|a| a.subnet))
        .collect()
}

/// The project's subnets, or the one that was named.
pub(crate) fn subnets_of(
    intent: &Intent,
    project: &Project,
    named: Option<Ipv4Net>,
) -> Result<Vec<SubnetDocument>, FormError> {
    let subnets = subnets_in(intent, project.id);
    if let Some(named) = named.filter(|named| !subnets.contains(named)) {
        let listed: Vec<_> = subnets.iter().map(Ipv4Net::to_string).collect();
        return Err(FormError::new(
            Code::NotFound,
            "info.subnet",
            format!("the project `{}` has no subnet {named}", project.name),
            match listed.is_empty() {
                true => "a subnet appears with its first instance or interface".into(),
                false => format!("its subnets: {}", listed.join(", ")),
            },
        ));
    }
    let wanted = subnets
        .into_iter()
        .filter(|subnet| named.is_none_or(|named| named == *subnet));
    Ok(wanted
        .map(|subnet| document(intent, project, subnet))
        .collect())
}

fn document(intent: &Intent, project: &Project, subnet: Ipv4Net) -> SubnetDocument {
    let attachments = intent.attachments.iter();
    let instances = intent.instances.values();
    SubnetDocument {
        project_id: project.id,
        subnet,
        project: project.name.clone(),
        interfaces: attachments
            .filter(|a| a.project == project.id && a.subnet == subnet)
            .map(|a| a.interface.clone())
            .collect(),
        instances: instances
            .filter(|i| i.project == project.id && i.subnet == subnet)
            .map(|i| i.name.clone())
            .collect(),
    }
}

/// Attaches and detaches interfaces, all of them or none. Attaching one that is attached to this very
/// subnet is no mistake: the order says how things are to be, and is given again after a restart.
pub(crate) fn update_subnet(
    draft: &mut IntentDraft,
    terms: &Terms,
    change: &SubnetChange,
) -> Result<SubnetDocument, FormError> {
    let project = match &change.project {
        Some(project) => find_project_ref(draft.intent(), &terms.user, project)?.clone(),
        None => only_or_default(draft, terms)?,
    };
    change.check(&subnets_in(draft.intent(), project.id), terms.front)?;
    let attachment = |interface: &At<String>| Attachment {
        project: project.id,
        subnet: change.subnet.value,
        interface: interface.value.clone(),
    };
    for interface in &change.detach {
        let attachment = attachment(interface);
        check_attached(draft.intent(), &attachment, interface)?;
        draft.remove_attachment(&attachment);
    }
    for interface in &change.attach {
        let attachment = attachment(interface);
        if !draft.intent().attachments.contains(&attachment) {
            check_untaken(draft.intent(), &attachment, interface)?;
            draft.put_attachment(attachment);
        }
    }
    Ok(document(draft.intent(), &project, change.subnet.value))
}

fn check_attached(
    intent: &Intent,
    attachment: &Attachment,
    interface: &At<String>,
) -> Result<(), FormError> {
    match intent.attachments.contains(attachment) {
        true => Ok(()),
        false => Err(FormError::new(
            Code::NotFound,
            &interface.path,
            format!(
                "`{}` is not attached to {}",
                interface.value, attachment.subnet
            ),
            "`info` of the subnet lists what is attached",
        )),
    }
}

fn check_untaken(
    intent: &Intent,
    attachment: &Attachment,
    interface: &At<String>,
) -> Result<(), FormError> {
    let same_name = |a: &&Attachment| a.interface == attachment.interface;
    if let Some(other) = intent.attachments.iter().find(same_name) {
        return Err(FormError::new(
            Code::InterfaceTaken,
            &interface.path,
            format!(
                "`{}` is attached to the subnet {} already",
                interface.value, other.subnet
            ),
            "detach it there first: an interface is in one place only",
        ));
    }
    let count = intent
        .attachments
        .iter()
        .filter(|a| a.project == attachment.project)
        .count();
    match count >= MAX_ATTACHMENTS {
        true => Err(FormError::new(
            Code::TooMany,
            &interface.path,
            format!("the project has {MAX_ATTACHMENTS} attached interfaces, the most that it can"),
            "detach those that are not needed, or attach one VLAN trunk instead of many links",
        )),
        false => Ok(()),
    }
}
