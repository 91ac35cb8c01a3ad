//! What `evenkeel project …` asks for.

use super::{Info, Request, View, base, request};
use crate::cli::arguments::{Document, ProjectCommand, ProjectCreate};
use crate::cli::failure::Failure;

pub(super) fn plan(
    command: ProjectCommand,
    read: impl FnOnce(&Document) -> Result<String, Failure>,
) -> Result<Request, Failure> {
    Ok(match command {
        ProjectCommand::Create(create) => plan_create(create, read)?,
        ProjectCommand::List(list) => request(
            "info",
            "project",
            Info::default().owner(list.owner),
            View::Projects,
        ),
        ProjectCommand::Info(info) => {
            let which = Info::default().existing(info.existing).owner(info.owner);
            request("info", "project", which, View::Project)
        }
        ProjectCommand::Update(update) => {
            let change = Info::default()
                .existing(update.existing)
                .owner(update.owner)
                .set("new-name", Some(update.new_name));
            request("update", "project", change, View::Project)
        }
        ProjectCommand::Delete(delete) => {
            let which = Info::default()
                .existing(delete.existing)
                .owner(delete.owner)
                .set("cascade", delete.cascade.then_some(true))
                .waiting(delete.waiting);
            request("delete", "project", which, View::Deleted)
        }
    })
}

fn plan_create(
    create: ProjectCreate,
    read: impl FnOnce(&Document) -> Result<String, Failure>,
) -> Result<Request, Failure> {
    let info = Info::over(base(create.file.as_ref(), read)?)
        .set("name", create.name)
        .owner(create.owner)
        .waiting(create.waiting);
    Ok(request("create", "project", info, View::Project))
}
