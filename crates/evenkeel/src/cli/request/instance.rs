//! What `evenkeel instance …` asks for.

use serde_json::{Value, json};

use super::{Info, Request, View, base, request};
use crate::cli::arguments::{
    BackendEdits, Document, Entity, HealthCheckArguments, InstanceCommand, InstanceCreate,
    InstanceUpdate, Scaling, Setting,
};
use crate::cli::failure::Failure;

const BACKEND: [&str; 1] = ["backend"];
const HEALTH_CHECK: [&str; 2] = ["backend", "health-check"];
const CRITERIA: [&str; 3] = ["backend", "health-check", "criteria"];

pub(super) fn plan(
    command: InstanceCommand,
    read: impl FnOnce(&Document) -> Result<String, Failure>,
) -> Result<Request, Failure> {
    Ok(match command {
        InstanceCommand::Create(create) => plan_create(*create, read)?,
        InstanceCommand::Update(update) => plan_update(*update, read)?,
        InstanceCommand::List(list) => request(
            "info",
            "instance",
            Info::default().place(list.place),
            View::Instances,
        ),
        InstanceCommand::Info(info) => {
            let which = Info::default().existing(info.existing).place(info.place);
            request("info", "instance", which, View::Instance)
        }
        InstanceCommand::Delete(delete) => {
            let which = Info::default()
                .existing(delete.existing)
                .place(delete.place)
                .waiting(delete.waiting);
            request("delete", "instance", which, View::Deleted)
        }
    })
}

fn plan_create(
    create: InstanceCreate,
    read: impl FnOnce(&Document) -> Result<String, Failure>,
) -> Result<Request, Failure> {
    let info = Info::over(base(create.file.as_ref(), read)?)
        .set("name", create.name)
        .place(create.place)
        .set(
            "traffic_type",
            create.traffic.chosen().map(|traffic| traffic.word()),
        )
        .set("port", create.port)
        .set("subnet", create.subnet)
        .set_deep(&BACKEND, "entities", list(&create.backends))?
        .set_deep(&BACKEND, "auto-scaling", scaling(create.scaling)?)?
        .waiting(create.waiting);
    let info = set_all(check_health(info, create.health_check)?, create.settings)?;
    Ok(request("create", "instance", info, View::Instance))
}

fn plan_update(
    update: InstanceUpdate,
    read: impl FnOnce(&Document) -> Result<String, Failure>,
) -> Result<Request, Failure> {
    let info = Info::over(base(update.file.as_ref(), read)?)
        .set("new-name", update.new_name)
        .set_deep(&BACKEND, "auto-scaling", scaling(update.scaling)?)?;
    let info = check_health(edit_backends(info, &update.edits)?, update.health_check)?;
    let info = set_all(info, update.settings)?;
    if info == Info::default() {
        return Err(Failure::Usage(
            "there is nothing to change: give at least one of --new-name, --add-backend, --remove-backend, \
             --replace-backend, --backend, --auto-scaling, a target, a health check option, --set, or --file"
                .into(),
        ));
    }
    let info = info
        .existing(update.existing)
        .place(update.place)
        .waiting(update.waiting);
    Ok(request("update", "instance", info, View::Instance))
}

fn scaling(scaling: Scaling) -> Result<Option<Value>, Failure> {
    scaling
        .to_json()
        .map_err(|message| Failure::Usage(message.into()))
}

fn edit_backends(info: Info, edits: &BackendEdits) -> Result<Info, Failure> {
    let pairs = edits
        .replace
        .iter()
        .map(|pair| json!([pair.old.to_json(), pair.new.to_json()]));
    let pairs: Vec<_> = pairs.collect();
    info.set_deep(&BACKEND, "entities", list(&edits.whole))?
        .set_deep(&BACKEND, "add", list(&edits.add))?
        .set_deep(&BACKEND, "remove", list(&edits.remove))?
        .set_deep(&BACKEND, "replace", (!pairs.is_empty()).then_some(pairs))
}

fn check_health(info: Info, check: HealthCheckArguments) -> Result<Info, Failure> {
    info.set_deep(
        &HEALTH_CHECK,
        "protocol",
        check.health_check_protocol.map(|p| p.word()),
    )?
    .set_deep(&HEALTH_CHECK, "port", check.health_check_port)?
    .set_deep(&HEALTH_CHECK, "request-path", check.health_check_path)?
    .set_deep(
        &CRITERIA,
        "interval",
        check.interval.map(|seconds| seconds.to_json()),
    )?
    .set_deep(
        &CRITERIA,
        "timeout",
        check.timeout.map(|seconds| seconds.to_json()),
    )?
    .set_deep(&CRITERIA, "health-threshold", check.health_threshold)?
    .set_deep(&CRITERIA, "unhealth-threshold", check.unhealth_threshold)
}

fn set_all(info: Info, settings: Vec<Setting>) -> Result<Info, Failure> {
    settings.into_iter().try_fold(info, |info, setting| {
        let path: Vec<_> = setting.path.iter().map(String::as_str).collect();
        match path.split_last() {
            Some((name, objects)) => info.set_deep(objects, name, Some(setting.value)),
            None => Ok(info),
        }
    })
}

/// The entities, where there are any: none means that none were given.
fn list(entities: &[Entity]) -> Option<Vec<Value>> {
    (!entities.is_empty()).then(|| entities.iter().map(Entity::to_json).collect())
}
