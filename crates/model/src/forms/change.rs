//! A change to an instance: a JSON merge patch (RFC 7396) on the form in which it is shown, and beside
//! it entities to add, remove and replace, which a merge patch cannot say of a list.

use ipnet::Ipv4Net;

use super::auto_scaling::AutoScalingChange;
use super::entity::{Entity, check_count, entities, entity};
use super::error::{Code, FormError};
use super::fields::{At, Change, Field, Fields};
use super::health_check::{HealthCheckChange, default_health_check};
use super::instance::{BackendParts, TRAFFIC_TYPES, distinct};
use super::request::{ProjectRef, Target, new_name, project, required_target};
use super::settings::SettingsChange;
use super::subnet;
use crate::{AutoScaling, Backend, BackendHost, Instance, InstanceId, TrafficType};

/// The fields of a change.
pub(super) const FIELDS: [&str; 20] = [
    "type",
    "user",
    "project",
    "name",
    "id",
    "new-name",
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
const BACKEND_FIELDS: [&str; 6] = [
    "entities",
    "health-check",
    "auto-scaling",
    "add",
    "remove",
    "replace",
];
/// How many of the backends that there are a hint lists.
const MAX_LISTED: usize = 8;

/// What is to change in an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceChange {
    /// Where to look for it.
    pub project: Option<ProjectRef>,
    /// Which one.
    pub target: Target<InstanceId>,
    /// The name that it is to have.
    pub new_name: Option<At<String>>,
    fixed: Fixed,
    health_check: Change<HealthCheckChange>,
    auto_scaling: Change<AutoScalingChange>,
    settings: SettingsChange,
    entities: EntitiesChange,
}

/// Fields that cannot change, and may be given with the value that they have.
#[derive(Clone, Debug, PartialEq)]
struct Fixed {
    traffic: Option<At<TrafficType>>,
    port: Option<At<u64>>,
    subnet: Option<At<Ipv4Net>>,
}

/// What is to change in the list of backends.
#[derive(Clone, Debug, PartialEq)]
pub enum EntitiesChange {
    /// The list becomes this one, or empty.
    Whole(Change<Vec<Entity>>),
    /// First some are removed, then some replaced, then some added.
    Edit {
        /// Backends that are there and shall not be.
        remove: Vec<Entity>,
        /// Pairs of a backend that is there and what takes its place.
        replace: Vec<(Entity, Entity)>,
        /// Backends that are not there and shall be, at the end of the list.
        add: Vec<Entity>,
    },
}

impl InstanceChange {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, FormError> {
        let parts = BackendParts::read(fields, &BACKEND_FIELDS)?;
        let target = required_target(fields, InstanceId)?;
        Ok(Self {
            project: project(fields)?,
            target,
            new_name: new_name(fields)?,
            fixed: Fixed::read(fields)?,
            health_check: parts.health_check,
            auto_scaling: parts.auto_scaling,
            settings: parts.settings,
            entities: EntitiesChange::read(parts.fields.as_ref(), parts.entities)?,
        })
    }

    /// The instance with all changed but its name, label and generation.
    ///
    /// # Errors
    /// `immutable-field`, `http-only`, `out-of-range`, and for entities `already-exists`, `not-found`,
    /// `duplicate-entity`, `unsupported-scheme`, `missing-port`, `backend-outside-subnet`, `too-many`.
    pub fn apply(&self, instance: &Instance) -> Result<Instance, FormError> {
        self.fixed.check(instance)?;
        let mut changed = instance.clone();
        changed.health_check = match self.health_check.clone() {
            Change::Keep => changed.health_check,
            Change::Reset => default_health_check(instance.traffic),
            Change::Set(change) => change.apply(changed.health_check, instance.traffic)?,
        };
        changed.auto_scaling = match self.auto_scaling.clone() {
            Change::Keep => changed.auto_scaling,
            Change::Reset => AutoScaling::Off,
            Change::Set(change) => change.apply(changed.auto_scaling, changed.traffic)?,
        };
        self.settings.clone().apply(
            &mut changed.timeouts,
            &mut changed.policy,
            instance.traffic,
        )?;
        changed.backends = self.entities.apply(instance)?;
        Ok(changed)
    }
}

impl Fixed {
    fn read(fields: &Fields<'_>) -> Result<Self, FormError> {
        for name in ["traffic_type", "port", "subnet"] {
            if let Some(field) = fields.get(name).filter(|field| field.value.is_null()) {
                return Err(immutable(
                    &field.path,
                    name,
                    "delete the instance and create it anew",
                ));
            }
        }
        let traffic = |f: Field<'_>| f.choice(&TRAFFIC_TYPES).map(|t| At::new(f.path, t));
        let port = |f: Field<'_>| {
            f.integer(1, u64::from(u16::MAX))
                .map(|p| At::new(f.path, p))
        };
        let subnet = |f: Field<'_>| subnet::cidr(&f).map(|s| At::new(f.path, s));
        Ok(Self {
            traffic: fields.get("traffic_type").map(traffic).transpose()?,
            port: fields.get("port").map(port).transpose()?,
            subnet: fields.get("subnet").map(subnet).transpose()?,
        })
    }

    fn check(&self, instance: &Instance) -> Result<(), FormError> {
        let stays = |given: &str, had: &str| {
            format!("it stays {had}; for {given}, create another instance")
        };
        if let Some(At { path, value }) = self
            .traffic
            .as_ref()
            .filter(|at| at.value != instance.traffic)
        {
            let hint = stays(value.scheme(), instance.traffic.scheme());
            return Err(immutable(path, "traffic_type", &hint));
        }
        if let Some(At { path, value }) = self
            .port
            .as_ref()
            .filter(|at| at.value != u64::from(instance.port))
        {
            let hint = stays(&value.to_string(), &instance.port.to_string());
            return Err(immutable(path, "port", &hint));
        }
        if let Some(At { path, value }) = self
            .subnet
            .as_ref()
            .filter(|at| at.value != instance.subnet)
        {
            let hint = stays(&value.to_string(), &instance.subnet.to_string());
            return Err(immutable(path, "subnet", &hint));
        }
        Ok(())
    }
}

fn immutable(path: &str, name: &str, hint: &str) -> FormError {
    let message = format!("`{name}` cannot be changed after creation");
    FormError::new(Code::ImmutableField, path, message, hint)
}

impl EntitiesChange {
    fn read(backend: Option<&Fields<'_>>, whole: Change<Vec<Entity>>) -> Result<Self, FormError> {
        let Some(backend) = backend else {
            return Ok(Self::Whole(whole));
        };
        let edits = ["add", "remove", "replace"];
        let first_edit = edits.iter().find_map(|name| backend.given(name));
        match (first_edit, &whole) {
            (None, _) => return Ok(Self::Whole(whole)),
            (Some(_), Change::Keep) => {}
            (Some(edit), Change::Reset | Change::Set(_)) => {
                return Err(FormError::new(
                    Code::ConflictingFields,
                    edit.path,
                    "the whole list is given in `entities` and edited at once",
                    "give either `entities` or `add`, `remove` and `replace`",
                ));
            }
        }
        let list = |name: &str| backend.given(name).map_or(Ok(Vec::new()), |f| entities(&f));
        let replace = match backend.given("replace") {
            Some(field) => pairs(&field)?,
            None => Vec::new(),
        };
        Ok(Self::Edit {
            remove: list("remove")?,
            replace,
            add: list("add")?,
        })
    }

    fn apply(&self, instance: &Instance) -> Result<Vec<Backend>, FormError> {
        let traffic = instance.traffic;
        let (remove, replace, add) = match self {
            Self::Whole(Change::Keep) => return Ok(instance.backends.clone()),
            Self::Whole(Change::Reset) => return Ok(Vec::new()),
            Self::Whole(Change::Set(entities)) => {
                let backends = distinct(entities, traffic)?;
                for at in &backends {
                    check_placed(&at.value, &at.path, instance)?;
                }
                return Ok(backends.into_iter().map(|at| at.value).collect());
            }
            Self::Edit {
                remove,
                replace,
                add,
            } => (remove, replace, add),
        };
        let mut list = BackendList {
            instance,
            backends: instance.backends.clone(),
        };
        for entity in remove {
            list.remove(entity)?;
        }
        for (old, new) in replace {
            list.replace(old, new)?;
        }
        for entity in add {
            list.add(entity)?;
        }
        Ok(list.backends)
    }
}

fn pairs(field: &Field<'_>) -> Result<Vec<(Entity, Entity)>, FormError> {
    let mut pairs = Vec::new();
    for item in field.items(crate::MAX_BACKENDS)? {
        match item.items(2)?.as_slice() {
            [old, new] => pairs.push((entity(old)?, entity(new)?)),
            _ => return Err(item.wrong_type("a pair of two entities, [old, new],")),
        }
    }
    Ok(pairs)
}

/// An instance's backends while they are edited.
struct BackendList<'i> {
    instance: &'i Instance,
    backends: Vec<Backend>,
}

impl BackendList<'_> {
    fn remove(&mut self, entity: &Entity) -> Result<(), FormError> {
        let at = self.find(entity)?;
        self.backends.remove(at);
        Ok(())
    }

    /// The new one takes the old one's place in the order, and what it does not say of itself.
    fn replace(&mut self, old: &Entity, new: &Entity) -> Result<(), FormError> {
        let at = self.find(old)?;
        let backend = new.backend(self.instance.traffic)?;
        let is_same = |(i, other): (usize, &Backend)| i != at && other.is_same_server(&backend);
        if self.backends.iter().enumerate().any(is_same) {
            return Err(already_there(&new.path, &backend));
        }
        check_placed(&backend, &new.path, self.instance)?;
        if let Some(place) = self.backends.get_mut(at) {
            *place = new.settle(backend, place);
        }
        Ok(())
    }

    fn add(&mut self, entity: &Entity) -> Result<(), FormError> {
        let backend = entity.backend(self.instance.traffic)?;
        if self
            .backends
            .iter()
            .any(|other| other.is_same_server(&backend))
        {
            return Err(already_there(&entity.path, &backend));
        }
        check_placed(&backend, &entity.path, self.instance)?;
        self.backends.push(backend);
        check_count(self.backends.len(), &entity.path)
    }

    fn find(&self, entity: &Entity) -> Result<usize, FormError> {
        let wanted = entity.backend(self.instance.traffic)?;
        let found = self
            .backends
            .iter()
            .position(|other| other.is_same_server(&wanted));
        found.ok_or_else(|| {
            let mut there: Vec<_> = self
                .backends
                .iter()
                .take(MAX_LISTED)
                .map(Backend::to_string)
                .collect();
            if self.backends.len() > MAX_LISTED {
                there.push(format!("and {} more", self.backends.len() - MAX_LISTED));
            }
            let hint = match there.is_empty() {
                true => "the instance has no backends".into(),
                false => format!("its backends: {}", there.join(", ")),
            };
            let message = format!("the instance has no backend {wanted}");
            FormError::new(Code::NotFound, &entity.path, message, hint)
        })
    }
}

fn check_placed(backend: &Backend, path: &str, instance: &Instance) -> Result<(), FormError> {
    match backend.host {
        BackendHost::Address(address) => subnet::check_member(instance.subnet, address, path),
        BackendHost::Name(_) => Ok(()),
    }
}

fn already_there(path: &str, backend: &Backend) -> FormError {
    FormError::new(
        Code::AlreadyExists,
        path,
        format!("the instance has the backend {backend} already"),
        "leave it out; `replace` with the same address changes its weight",
    )
}
