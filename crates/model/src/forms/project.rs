//! A project as it is asked for.

use super::error::FormError;
use super::fields::{At, Field, Fields};
use super::instance::NewInstance;
use super::names;

/// The most instances that are created together with their project.
const MAX_INSTANCES_AT_ONCE: usize = 64;

/// A project to be made, with instances that are made with it or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct NewProject {
    /// Its name; `default` where none was given.
    pub name: Option<At<String>>,
    /// Its first instances, each without a project of its own.
    pub instances: Vec<NewInstance>,
}

impl NewProject {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, FormError> {
        let name = |f: Field<'_>| names::name(&f).map(|name| At::new(f.path, name));
        let name = fields.given("name").map(name).transpose()?;
        let user = super::request::user(fields)?;
        let instances = match fields.given("instances") {
            None => Vec::new(),
            Some(list) => list
                .items(MAX_INSTANCES_AT_ONCE)?
                .iter()
                .map(|item| NewInstance::read_within(item, user.as_deref(), name.as_ref()))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self { name, instances })
    }
}
