//! Telling about projects, instances and subnets.

use ipnet::Ipv4Net;
use model::forms::{Code, FormError, ProjectDocument, ProjectRef, Target};
use model::{InstanceId, Intent, Project, ProjectId, Timestamp};

use super::lately::Lately;
use super::{Actions, Info};
use crate::failure::Failure;
use crate::orders::{
    self, Placed, find_instance, find_project, find_project_ref, only_project, project_of,
    projects_of,
};

impl Actions {
    pub(super) async fn read_projects(
        &self,
        (user, now): (&str, Timestamp),
        target: Option<&Target<ProjectId>>,
    ) -> Result<Info, Failure> {
        let intent = self.intent().await?;
        let Some(target) = target else {
            let projects: Vec<_> = projects_of(&intent, user).collect();
            let lately = self.lately(&intent, &projects, now).await;
            let documents = projects.into_iter();
            let documents =
                documents.map(|project| self.project_document(&intent, project, &lately));
            return Ok(Info::Projects {
                projects: documents.collect(),
            });
        };
        let project = find_project(&intent, user, target)?;
        let lately = self.lately(&intent, &[project], now).await;
        let document = self.project_document(&intent, project, &lately);
        Ok(Info::Project(document))
    }

    pub(super) fn project_document(
        &self,
        intent: &Intent,
        project: &Project,
        lately: &Lately,
    ) -> ProjectDocument {
        let briefs = instances_in(intent, project).map(|placed| {
            let measured = lately.get(&placed.instance.id).copied();
            self.brief(&placed).with_last_minute(measured)
        });
        ProjectDocument::new(project, briefs.collect())
    }

    pub(super) async fn read_instances(
        &self,
        user: &str,
        project: Option<&ProjectRef>,
        target: Option<&Target<InstanceId>>,
    ) -> Result<Info, Failure> {
        let intent = self.intent().await?;
        if let Some(target) = target {
            let instance = find_instance(&intent, user, project, target)?.clone();
            let project = project_of(&intent, &instance)?;
            return Ok(self.instance_info(&Placed { instance, project }));
        }
        let projects: Vec<_> = match project {
            Some(project) => vec![find_project_ref(&intent, user, project)?],
            None => projects_of(&intent, user).collect(),
        };
        let placed = projects
            .into_iter()
            .flat_map(|project| instances_in(&intent, project));
        Ok(Info::Instances {
            instances: placed.map(|placed| self.brief(&placed)).collect(),
        })
    }

    pub(super) async fn read_subnets(
        &self,
        user: &str,
        project: Option<&ProjectRef>,
        subnet: Option<Ipv4Net>,
    ) -> Result<Info, Failure> {
        let intent = self.intent().await?;
        let project = match project {
            Some(project) => Some(find_project_ref(&intent, user, project)?),
            None => only_project(&intent, user)?,
        };
        let subnets = match project {
            Some(project) => orders::subnets_of(&intent, project, subnet)?,
            None => match subnet {
                None => Vec::new(),
                Some(subnet) => {
                    return Err(FormError::new(
                        Code::NotFound,
                        "info.subnet",
                        format!("{user} has no project, and so no subnet {subnet}"),
                        "a subnet appears with its first instance or interface",
                    )
                    .into());
                }
            },
        };
        Ok(Info::Subnets { subnets })
    }
}

pub(super) fn instances_in<'i>(
    intent: &'i Intent,
    project: &'i Project,
) -> impl Iterator<Item = Placed> + use<'i> {
    let instances = intent
        .instances
        .values()
        .filter(|i| i.project == project.id);
    instances.map(|instance| Placed {
        instance: instance.clone(),
        project: project.clone(),
    })
}
