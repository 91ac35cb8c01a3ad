//! A request as a whole: what is to be done to which kind of thing.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::Serialize;
use serde_json::Value;

use super::change::InstanceChange;
use super::error::{Code, FormError};
use super::events::EventsRequest;
use super::fields::{At, Field, Fields};
use super::figures::FiguresRequest;
use super::instance::NewInstance;
use super::json;
use super::log::LogQuestion;
use super::names;
use super::project::NewProject;
use super::subnet;
use crate::{InstanceId, ProjectId};

/// The longest time that an answer may be waited for.
pub const MAX_WAIT: Duration = Duration::from_secs(600);
/// The most interfaces that one request attaches or detaches.
const MAX_INTERFACES: usize = 64;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Make it.
    Create,
    /// Tell about it.
    Info,
    /// Change it.
    Update,
    /// Take it away.
    Delete,
}

/// What it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A project.
    Project,
    /// An instance.
    Instance,
    /// A project's subnet: which host interfaces are attached to it.
    Subnet,
    /// The installation.
    System,
    /// An instance's access log.
    Log,
    /// What was measured of an instance.
    Figures,
    /// What users asked, and what the controller decided and found out.
    Events,
    /// Why something is as it is.
    Explain,
}

/// A request, each part of which is valid by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What is to be done.
    pub action: Action,
    /// To which kind of thing.
    pub kind: Kind,
    /// The user that was named; the caller where none was.
    pub user: Option<String>,
    /// How long to wait for the outcome.
    pub wait: Wait,
    /// What of the object it names to be made or changed: `backend.entities`.
    pub names: Vec<String>,
    /// The particulars.
    pub order: Order,
}

/// How long an answer waits until what was asked for is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// As long as the installation is set to.
    Default,
    /// For so long at most; not at all when zero.
    AtMost(Duration),
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Make a project, with instances.
    CreateProject(NewProject),
    /// Tell about one project, or all of the user's.
    ReadProjects(Option<Target<ProjectId>>),
    /// Change a project's name.
    UpdateProject {
        /// Which.
        target: Target<ProjectId>,
        /// The name that it is to have.
        new_name: Option<At<String>>,
    },
    /// Take a project away.
    DeleteProject {
        /// Which.
        target: Target<ProjectId>,
        /// Its instances go with it.
        cascade: bool,
    },
    /// Make an instance.
    CreateInstance(Box<NewInstance>),
    /// Tell about one instance, or all of the project's or the user's.
    ReadInstances {
        /// Where to look.
        project: Option<ProjectRef>,
        /// Which.
        target: Option<Target<InstanceId>>,
    },
    /// Change an instance.
    UpdateInstance(Box<InstanceChange>),
    /// Take an instance away.
    DeleteInstance {
        /// Where to look.
        project: Option<ProjectRef>,
        /// Which.
        target: Target<InstanceId>,
    },
    /// Tell what is attached to a subnet, or to all of the project's.
    ReadSubnet {
        /// Whose.
        project: Option<ProjectRef>,
        /// Which.
        subnet: Option<Ipv4Net>,
    },
    /// Attach or detach host interfaces.
    UpdateSubnet(SubnetChange),
    /// Tell about everything.
    ReadSystem,
    /// Tell what became of an instance's requests.
    ReadLog {
        /// Where to look.
        project: Option<ProjectRef>,
        /// Whose log.
        target: Target<InstanceId>,
        /// Which lines.
        question: LogQuestion,
    },
    /// Tell what was measured of an instance.
    ReadFigures(Box<FiguresRequest>),
    /// Tell what happened.
    ReadEvents(Box<EventsRequest>),
    /// Tell why an instance stands as it does, or what became of one of its requests.
    Explain {
        /// Where to look.
        project: Option<ProjectRef>,
        /// Which instance.
        target: Target<InstanceId>,
        /// The request's id, or its trace's.
        request: Option<String>,
    },
}

/// How an object is addressed: by name, by id, or by both, which must then agree.
#[derive(Clone, Debug, PartialEq)]
pub struct Target<I> {
    /// By name.
    pub name: Option<At<String>>,
    /// By id.
    pub id: Option<At<I>>,
}

/// How another object's project is addressed.
#[derive(Clone, Debug, PartialEq)]
pub enum ProjectRef {
    /// `"project": "john's project"`.
    Name(At<String>),
    /// `"project": 1`.
    Id(At<ProjectId>),
}

/// Host interfaces to attach to a subnet, or to let go.
#[derive(Clone, Debug, PartialEq)]
pub struct SubnetChange {
    /// The project; the user's only one where it was left out.
    pub project: Option<ProjectRef>,
    /// The subnet.
    pub subnet: At<Ipv4Net>,
    /// Interfaces to attach.
    pub attach: Vec<At<String>>,
    /// Interfaces to let go.
    pub detach: Vec<At<String>>,
}

const ACTIONS: [(&str, Action); 4] = [
    ("create", Action::Create),
    ("info", Action::Info),
    ("update", Action::Update),
    ("delete", Action::Delete),
];
const KINDS: [(&str, Kind); 8] = [
    ("project", Kind::Project),
    ("instance", Kind::Instance),
    ("subnet", Kind::Subnet),
    ("system", Kind::System),
    ("log", Kind::Log),
    ("figures", Kind::Figures),
    ("events", Kind::Events),
    ("explain", Kind::Explain),
];

/// Reads a request. Beside its outcome it gives action and type as far as they could be read, for the
/// answer to repeat.
///
/// # Errors
/// A [`FormError`] that names the first mistake.
pub fn read_request(text: &[u8]) -> (Option<Action>, Option<Kind>, Result<Request, FormError>) {
    let value = match json::parse(text) {
        Ok(value) => value,
        Err(error) => return (None, None, Err(error)),
    };
    let word = |name: &str| {
        let path = name.to_owned();
        value.get(name).map(|value| Field { path, value })
    };
    let action = word("action").and_then(|field| field.choice(&ACTIONS).ok());
    let kind = word("type").and_then(|field| field.choice(&KINDS).ok());
    (action, kind, read_value(&value))
}

fn read_value(value: &Value) -> Result<Request, FormError> {
    let outer = Field::root(value).object(&["action", "type", "info", "wait", "cascade"])?;
    let action = outer
        .required(
            "action",
            "give \"create\", \"info\", \"update\" or \"delete\"",
        )?
        .choice(&ACTIONS)?;
    let kind = outer
        .required(
            "type",
            "give \"project\", \"instance\", \"subnet\", \"system\", \"log\", \"figures\", \"events\" or \"explain\"",
        )?
        .choice(&KINDS)?;
    check_outer(action, kind, value)?;
    let empty = Value::Object(serde_json::Map::new());
    let info = outer.get("info").unwrap_or(Field {
        path: "info".into(),
        value: &empty,
    });
    let (fields, order) = read_order(action, kind, &outer, &info)?;
    Ok(Request {
        action,
        kind,
        user: user(&fields)?,
        wait: wait(&outer, &fields)?,
        names: names(info.value),
        order,
    })
}

/// Refuses beside `info` what this action does not have.
fn check_outer(action: Action, kind: Kind, value: &Value) -> Result<(), FormError> {
    let known: &[&str] = match (action, kind) {
        (Action::Info, _) => &["action", "type", "info"],
        (Action::Delete, Kind::Project) => &["action", "type", "info", "wait", "cascade"],
        _ => &["action", "type", "info", "wait"],
    };
    Field::root(value).object(known).map(|_| ())
}

/// The fields of `info` and what they say, by action and type.
fn read_order<'v>(
    action: Action,
    kind: Kind,
    outer: &Fields<'v>,
    info: &Field<'v>,
) -> Result<(Fields<'v>, Order), FormError> {
    let known: &[&str] = match (action, kind) {
        (Action::Create, Kind::Project) => &["type", "user", "name", "instances", "wait"],
        (Action::Info, Kind::Project) => &["type", "user", "name", "id"],
        (Action::Update, Kind::Project) => &["type", "user", "name", "id", "new-name", "wait"],
        (Action::Delete, Kind::Project) => &["type", "user", "name", "id", "cascade", "wait"],
        (Action::Create, Kind::Instance) => &super::instance::FIELDS,
        (Action::Info, Kind::Instance) => &["type", "user", "project", "name", "id"],
        (Action::Update, Kind::Instance) => &super::change::FIELDS,
        (Action::Delete, Kind::Instance) => &["type", "user", "project", "name", "id", "wait"],
        (Action::Info, Kind::Subnet) => &["type", "user", "project", "subnet"],
        (Action::Update, Kind::Subnet) => &[
            "type", "user", "project", "subnet", "attach", "detach", "wait",
        ],
        (Action::Info, Kind::System) => &["type"],
        (Action::Info, Kind::Log) => &super::log::FIELDS,
        (Action::Info, Kind::Figures) => &super::figures::FIELDS,
        (Action::Info, Kind::Events) => &super::events::FIELDS,
        (Action::Info, Kind::Explain) => &["type", "user", "project", "instance", "id", "request"],
        (_, _) => return Err(unsupported(kind)),
    };
    let fields = info.object(known)?;
    check_type(&fields, kind)?;
    let order = match (action, kind) {
        (Action::Create, Kind::Project) => Order::CreateProject(NewProject::read(&fields)?),
        (Action::Info, Kind::Project) => Order::ReadProjects(target(&fields, "name", ProjectId)?),
        (Action::Update, Kind::Project) => Order::UpdateProject {
            target: required_target(&fields, ProjectId)?,
            new_name: new_name(&fields)?,
        },
        (Action::Delete, Kind::Project) => Order::DeleteProject {
            target: required_target(&fields, ProjectId)?,
            cascade: either(outer, &fields, "cascade")?
                .is_some_and(|f| f.value == &Value::Bool(true)),
        },
        (Action::Create, Kind::Instance) => {
            Order::CreateInstance(Box::new(NewInstance::read(&fields)?))
        }
        (Action::Info, Kind::Instance) => Order::ReadInstances {
            project: project(&fields)?,
            target: target(&fields, "name", InstanceId)?,
        },
        (Action::Update, Kind::Instance) => {
            Order::UpdateInstance(Box::new(InstanceChange::read(&fields)?))
        }
        (Action::Delete, Kind::Instance) => Order::DeleteInstance {
            project: project(&fields)?,
            target: required_target(&fields, InstanceId)?,
        },
        (Action::Info, Kind::Subnet) => Order::ReadSubnet {
            project: project(&fields)?,
            subnet: fields
                .given("subnet")
                .map(|f| subnet::cidr(&f))
                .transpose()?,
        },
        (_, Kind::Subnet) => Order::UpdateSubnet(SubnetChange::read(&fields)?),
        (_, Kind::System) => Order::ReadSystem,
        (_, Kind::Log) => Order::ReadLog {
            project: project(&fields)?,
            target: instance_target(&fields)?,
            question: LogQuestion::read(&fields)?,
        },
        (_, Kind::Figures) => Order::ReadFigures(Box::new(FiguresRequest::read(&fields)?)),
        (_, Kind::Events) => Order::ReadEvents(Box::new(EventsRequest::read(&fields)?)),
        (_, Kind::Explain) => Order::Explain {
            project: project(&fields)?,
            target: instance_target(&fields)?,
            request: fields
                .given("request")
                .map(|field| field.text().map(str::to_owned))
                .transpose()?,
        },
    };
    Ok((fields, order))
}

/// What a request's `info` says beside whose object it is about.
fn names(info: &Value) -> Vec<String> {
    const ADDRESSING: [&str; 8] = [
        "type", "user", "project", "name", "id", "instance", "wait", "cascade",
    ];
    let fields = info.as_object().into_iter().flatten();
    let fields = fields.filter(|(name, _)| !ADDRESSING.contains(&name.as_str()));
    let named = |(name, value): (&String, &Value)| match value.as_object() {
        Some(inner) if name == "backend" => inner
            .keys()
            .map(|inner| format!("{name}.{inner}"))
            .collect(),
        _ => vec![name.clone()],
    };
    fields.flat_map(named).collect()
}

fn unsupported(kind: Kind) -> FormError {
    let (message, hint) = match kind {
        Kind::Subnet => (
            "a subnet is neither created nor deleted",
            "it appears with its first instance or interface: use \"update\" with \"attach\" or \"detach\"",
        ),
        Kind::Log => ("a log can only be read", "use \"info\""),
        Kind::Figures => (
            "figures are measured, and neither made nor changed",
            "use \"info\"",
        ),
        Kind::Events => ("events happen, and can only be read", "use \"info\""),
        Kind::Explain => ("an explanation can only be read", "use \"info\""),
        _ => ("the system can only tell about itself", "use \"info\""),
    };
    FormError::new(Code::UnsupportedAction, "action", message, hint)
}

/// `type` may stand in `info` as well, as the mission's own objects have it; it must then agree.
pub(super) fn check_type(fields: &Fields<'_>, kind: Kind) -> Result<(), FormError> {
    match fields.given("type") {
        Some(field) if field.choice(&KINDS)? != kind => Err(FormError::new(
            Code::ConflictingFields,
            field.path,
            "the object is of another type than the request",
            "leave out the inner `type`, or let both be the same",
        )),
        _ => Ok(()),
    }
}

pub(super) fn user(fields: &Fields<'_>) -> Result<Option<String>, FormError> {
    fields.given("user").map(|f| names::name(&f)).transpose()
}

pub(super) fn new_name(fields: &Fields<'_>) -> Result<Option<At<String>>, FormError> {
    let read = |f: Field<'_>| names::name(&f).map(|name| At::new(f.path, name));
    fields.given("new-name").map(read).transpose()
}

pub(super) fn project(fields: &Fields<'_>) -> Result<Option<ProjectRef>, FormError> {
    let Some(field) = fields.given("project") else {
        return Ok(None);
    };
    match field.value {
        Value::Number(_) => {
            let id = ProjectId(field.integer(1, u64::MAX)?);
            Ok(Some(ProjectRef::Id(At::new(field.path, id))))
        }
        _ => {
            let name = names::name(&field)?;
            Ok(Some(ProjectRef::Name(At::new(field.path, name))))
        }
    }
}

/// The instance that something is asked of: `instance` is its name, `id` its id.
pub(super) fn instance_target(fields: &Fields<'_>) -> Result<Target<InstanceId>, FormError> {
    any_instance(fields)?
        .ok_or_else(|| fields.missing("instance", "name the instance by `instance` or by `id`"))
}

/// The same, where none need be named.
pub(super) fn any_instance(fields: &Fields<'_>) -> Result<Option<Target<InstanceId>>, FormError> {
    target(fields, "instance", InstanceId)
}

fn target<I>(
    fields: &Fields<'_>,
    name_field: &str,
    make_id: impl Fn(u64) -> I,
) -> Result<Option<Target<I>>, FormError> {
    let name = |f: Field<'_>| names::name(&f).map(|name| At::new(f.path, name));
    let id = |f: Field<'_>| {
        f.integer(1, u64::MAX)
            .map(|id| At::new(f.path, make_id(id)))
    };
    let target = Target {
        name: fields.given(name_field).map(name).transpose()?,
        id: fields.given("id").map(id).transpose()?,
    };
    Ok((target.name.is_some() || target.id.is_some()).then_some(target))
}

pub(super) fn required_target<I>(
    fields: &Fields<'_>,
    make_id: impl Fn(u64) -> I,
) -> Result<Target<I>, FormError> {
    target(fields, "name", make_id)?
        .ok_or_else(|| fields.missing("name", "name the object by `name` or by `id`"))
}

/// `wait` and `cascade` may stand beside `info` or in it.
fn either<'v>(
    outer: &Fields<'v>,
    info: &Fields<'v>,
    name: &str,
) -> Result<Option<Field<'v>>, FormError> {
    let field = match (outer.given(name), info.given(name)) {
        (Some(_), Some(inner)) => {
            return Err(FormError::new(
                Code::ConflictingFields,
                inner.path,
                format!("`{name}` stands beside `info` and in it"),
                "give it once",
            ));
        }
        (outer, inner) => outer.or(inner),
    };
    if name == "cascade" {
        field.as_ref().map(Field::flag).transpose()?;
    }
    Ok(field)
}

fn wait(outer: &Fields<'_>, info: &Fields<'_>) -> Result<Wait, FormError> {
    let Some(field) = either(outer, info, "wait")? else {
        return Ok(Wait::Default);
    };
    match field.value {
        Value::Bool(true) => Ok(Wait::Default),
        Value::Bool(false) => Ok(Wait::AtMost(Duration::ZERO)),
        Value::Number(_) => {
            let bound = u64::try_from(MAX_WAIT.as_millis()).unwrap_or(u64::MAX);
            let ms = field.seconds_as_ms(0, bound)?;
            Ok(Wait::AtMost(Duration::from_millis(ms)))
        }
        _ => Err(field.wrong_type("true, false or a number of seconds")),
    }
}

impl SubnetChange {
    /// Refuses a subnet that shares addresses with the front network or another subnet of the project.
    ///
    /// # Errors
    /// `subnet-overlaps`.
    pub fn check(&self, others: &BTreeSet<Ipv4Net>, front: Ipv4Net) -> Result<(), FormError> {
        let At { path, value } = &self.subnet;
        subnet::check_front(*value, front, path)?;
        subnet::check_others(*value, others, path)
    }

    fn read(fields: &Fields<'_>) -> Result<Self, FormError> {
        let subnet = fields.required("subnet", "name the subnet: \"subnet\": \"1.1.1.0/24\"")?;
        let interfaces = |name: &str| match fields.given(name) {
            None => Ok(Vec::new()),
            Some(field) => {
                let read = |f: Field<'_>| names::interface(&f).map(|name| At::new(f.path, name));
                field.items(MAX_INTERFACES)?.into_iter().map(read).collect()
            }
        };
        if fields.given("attach").is_none() && fields.given("detach").is_none() {
            let hint = "give \"attach\" or \"detach\" with names of interfaces of the host";
            return Err(fields.missing("attach", hint));
        }
        Ok(Self {
            project: project(fields)?,
            subnet: At::new(&subnet.path, subnet::cidr(&subnet)?),
            attach: interfaces("attach")?,
            detach: interfaces("detach")?,
        })
    }
}
