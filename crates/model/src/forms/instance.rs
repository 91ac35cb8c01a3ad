//! An instance as it is asked for, and what becomes of it once its surroundings are known.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::auto_scaling::AutoScalingChange;
use super::entity::{Entity, entities};
use super::error::{Code, FormError};
use super::fields::{At, Change, Field, Fields};
use super::health_check::{HealthCheckChange, default_health_check};
use super::names;
use super::request::{Kind, ProjectRef, check_type, project, user};
use super::settings::{SettingsChange, WITHIN_BACKEND};
use super::subnet;
use crate::{
    AutoScaling, Backend, BackendHost, Generation, HealthCheck, Instance, InstanceId, Policy,
    ProjectId, Timeouts, Timestamp, TrafficType,
};

/// The fields of an instance that is to be made.
pub(super) const FIELDS: [&str; 18] = [
    "type",
    "user",
    "project",
    "name",
    "traffic_type",
    "port",
    "subnet",
    "backend",
    "health-check",
    "auto-scaling",
    "timeouts",
    "limits",
    "allowed-clients",
    "proxy-protocol-from",
    "client-close",
    "forwarding",
    "access-log",
    "wait",
];
const BACKEND_FIELDS: [&str; 3] = ["entities", "health-check", "auto-scaling"];

/// An instance to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewInstance {
    /// Where in the request it stands: `info`, or `info.instances[0]`.
    pub path: String,
    /// The project it is to be in, where one was named.
    pub project: Option<ProjectRef>,
    /// The name it is to have, where one was given.
    pub name: Option<At<String>>,
    traffic: TrafficType,
    port: u16,
    subnet: Option<At<Ipv4Net>>,
    backends: Vec<At<Backend>>,
    health_check: HealthCheck,
    auto_scaling: AutoScaling,
    timeouts: Timeouts,
    policy: Policy,
}

/// What an instance's creator knows of the world around it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The identity that it gets.
    pub id: InstanceId,
    /// The project that it will be in.
    pub project: ProjectId,
    /// The name that it gets.
    pub name: String,
    /// The label that it gets.
    pub label: String,
    /// The project's subnets so far.
    pub subnets: BTreeSet<Ipv4Net>,
    /// The front network.
    pub front: Ipv4Net,
    /// The time.
    pub now: Timestamp,
}

impl NewInstance {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, FormError> {
        let name = |f: Field<'_>| names::name(&f).map(|name| At::new(f.path, name));
        let traffic = match fields.given("traffic_type") {
            Some(field) => field.choice(&TRAFFIC_TYPES)?,
            None => TrafficType::Http,
        };
        let parts = BackendParts::read(fields, &BACKEND_FIELDS)?;
        let (mut timeouts, mut policy) = (Timeouts::default(), Policy::default());
        parts.settings.apply(&mut timeouts, &mut policy, traffic)?;
        let health_check = default_health_check(traffic);
        let auto_scaling = match parts.auto_scaling {
            Change::Set(change) => change.apply(AutoScaling::Off, traffic)?,
            Change::Keep | Change::Reset => AutoScaling::Off,
        };
        Ok(Self {
            path: fields.path().to_owned(),
            project: project(fields)?,
            name: fields.given("name").map(name).transpose()?,
            traffic,
            port: read_port(fields, traffic)?,
            subnet: read_subnet(fields)?,
            backends: match parts.entities {
                Change::Set(entities) => distinct(&entities, traffic)?,
                Change::Keep | Change::Reset => Vec::new(),
            },
            health_check: match parts.health_check {
                Change::Set(change) => change.apply(health_check, traffic)?,
                Change::Keep | Change::Reset => health_check,
            },
            auto_scaling,
            timeouts,
            policy,
        })
    }

    /// Reads one of the instances that are made together with their project. It may repeat the
    /// project's name and user, and name no others.
    pub(super) fn read_within(
        field: &Field<'_>,
        owner: Option<&str>,
        within: Option<&At<String>>,
    ) -> Result<Self, FormError> {
        let known: Vec<_> = FIELDS.into_iter().filter(|name| *name != "wait").collect();
        let fields = field.object(&known)?;
        check_type(&fields, Kind::Instance)?;
        let mut instance = Self::read(&fields)?;
        let other_user = user(&fields)?.is_some_and(|user| Some(user.as_str()) != owner);
        let other_project = match (&instance.project, within) {
            (Some(ProjectRef::Name(given)), Some(within)) => given.value != within.value,
            (Some(_), _) => true,
            (None, _) => false,
        };
        for (is_other, name) in [(other_user, "user"), (other_project, "project")] {
            if is_other {
                return Err(FormError::new(
                    Code::ConflictingFields,
                    fields.path_of(name),
                    format!("the instance has another {name} than the project that it stands in"),
                    format!("leave out the instance's `{name}`"),
                ));
            }
        }
        instance.project = None;
        Ok(instance)
    }

    /// What it balances.
    #[must_use]
    pub fn traffic(&self) -> TrafficType {
        self.traffic
    }

    /// The instance as it will be stored.
    ///
    /// # Errors
    /// `missing-field` when the subnet was left out and cannot be found; `subnet-overlaps` when it
    /// overlaps the front network or another subnet of the project; `backend-outside-subnet`.
    pub fn complete(self, around: Surroundings) -> Result<Instance, FormError> {
        let subnet = self.find_subnet(&around)?;
        for backend in &self.backends {
            if let BackendHost::Address(address) = backend.value.host {
                subnet::check_member(subnet, address, &backend.path)?;
            }
        }
        Ok(Instance {
            id: around.id,
            project: around.project,
            name: around.name,
            label: around.label,
            former_labels: BTreeSet::new(),
            traffic: self.traffic,
            port: self.port,
            subnet,
            backends: self.backends.into_iter().map(|at| at.value).collect(),
            health_check: self.health_check,
            auto_scaling: self.auto_scaling,
            timeouts: self.timeouts,
            policy: self.policy,
            generation: Generation(1),
            created_at: around.now,
        })
    }

    /// The subnet that was named; else the project's only one; else the one around the backends.
    fn find_subnet(&self, around: &Surroundings) -> Result<Ipv4Net, FormError> {
        let path = format!("{}.subnet", self.path);
        let mut so_far = around.subnets.iter();
        let subnet = match (&self.subnet, so_far.next(), so_far.next()) {
            (Some(named), ..) => named.value,
            (None, Some(only), None) => return Ok(*only),
            (None, Some(_), Some(_)) => {
                let listed: Vec<_> = around.subnets.iter().map(Ipv4Net::to_string).collect();
                return Err(FormError::new(
                    Code::MissingField,
                    path,
                    "`subnet` is missing, and the project has several",
                    format!("name one: {}", listed.join(", ")),
                ));
            }
            (None, None, _) => subnet::around(&self.addresses()).ok_or_else(|| {
                FormError::new(
                    Code::MissingField,
                    &path,
                    "`subnet` is missing, and cannot be told from the backends",
                    "name the network in which the backends are, such as \"subnet\": \"1.1.1.0/24\"",
                )
            })?,
        };
        subnet::check_front(subnet, around.front, &path)?;
        subnet::check_others(subnet, &around.subnets, &path)?;
        Ok(subnet)
    }

    fn addresses(&self) -> Vec<Ipv4Addr> {
        let address = |at: &At<Backend>| match at.value.host {
            BackendHost::Address(address) => Some(address),
            BackendHost::Name(_) => None,
        };
        self.backends.iter().filter_map(address).collect()
    }
}

/// What stands in `backend`, or beside it.
pub(super) struct BackendParts<'v> {
    /// The object, where there is one.
    pub fields: Option<Fields<'v>>,
    pub entities: Change<Vec<Entity>>,
    pub health_check: Change<HealthCheckChange>,
    pub auto_scaling: Change<AutoScalingChange>,
    pub settings: SettingsChange,
}

impl<'v> BackendParts<'v> {
    /// Reads them; `known` are the fields of `backend` beside the settings.
    pub fn read(info: &Fields<'v>, known: &[&str]) -> Result<Self, FormError> {
        let known = [known, &WITHIN_BACKEND].concat();
        let backend = info.change("backend", |f| f.object(&known))?;
        let settings = SettingsChange::read(info, &backend)?;
        let is_reset = matches!(backend, Change::Reset);
        let fields = match backend {
            Change::Set(fields) => Some(fields),
            Change::Keep | Change::Reset => None,
        };
        let health = in_either(
            info,
            fields.as_ref(),
            "health-check",
            is_reset,
            HealthCheckChange::read,
        )?;
        let scaling = in_either(
            info,
            fields.as_ref(),
            "auto-scaling",
            is_reset,
            AutoScalingChange::read,
        )?;
        Ok(Self {
            entities: match &fields {
                Some(fields) => fields.change("entities", entities)?,
                None if is_reset => Change::Reset,
                None => Change::Keep,
            },
            health_check: health,
            auto_scaling: scaling,
            settings,
            fields,
        })
    }
}

/// A field that stands in `backend` or beside it, but not in both.
fn in_either<'v, T>(
    info: &Fields<'v>,
    backend: Option<&Fields<'v>>,
    name: &str,
    is_reset: bool,
    read: impl Fn(&Field<'v>) -> Result<T, FormError>,
) -> Result<Change<T>, FormError> {
    let inner = backend.and_then(|backend| backend.get(name).map(|field| (backend, field)));
    match (info.get(name), inner) {
        (Some(_), Some((_, inner))) => Err(FormError::new(
            Code::ConflictingFields,
            inner.path,
            format!("`{name}` stands in `backend` and beside it"),
            "give it once",
        )),
        (_, Some((backend, _))) => backend.change(name, read),
        (None, None) if is_reset => Ok(Change::Reset),
        _ => info.change(name, read),
    }
}

pub(super) const TRAFFIC_TYPES: [(&str, TrafficType); 2] =
    [("tcp", TrafficType::Tcp), ("http", TrafficType::Http)];

fn read_port(fields: &Fields<'_>, traffic: TrafficType) -> Result<u16, FormError> {
    match (fields.given("port"), traffic.default_port()) {
        (Some(field), _) => Ok(super::entity::narrow(
            field.integer(1, u64::from(u16::MAX))?,
        )),
        (None, Some(port)) => Ok(port),
        (None, None) => Err(fields.missing(
            "port",
            "a tcp instance needs the port on which clients reach it, such as \"port\": 5432",
        )),
    }
}

fn read_subnet(fields: &Fields<'_>) -> Result<Option<At<Ipv4Net>>, FormError> {
    let read = |f: Field<'_>| subnet::cidr(&f).map(|subnet| At::new(f.path, subnet));
    fields.given("subnet").map(read).transpose()
}

/// The backends that are meant, no server among them twice.
pub(super) fn distinct(
    entities: &[Entity],
    traffic: TrafficType,
) -> Result<Vec<At<Backend>>, FormError> {
    let mut seen = BTreeSet::new();
    let mut backends = Vec::with_capacity(entities.len());
    for entity in entities {
        let backend = entity.backend(traffic)?;
        if !seen.insert((backend.host.clone(), backend.port)) {
            return Err(FormError::new(
                Code::DuplicateEntity,
                &entity.path,
                format!("the backend {backend} is given twice"),
                "give it once; a weight can give it more traffic",
            ));
        }
        backends.push(At::new(&entity.path, backend));
    }
    Ok(backends)
}
