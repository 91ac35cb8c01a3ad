//! The `info` of a request while it is put together.

use serde_json::{Map, Value, json};

use crate::cli::arguments::{Existing, Owner, Place, Waiting};
use crate::cli::failure::Failure;

/// The `info` of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info(Map<String, Value>);

impl Info {
    /// Begins with what stands in a file.
    pub fn over(base: Map<String, Value>) -> Self {
        Self(base)
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }

    /// Sets a field where a value was given.
    pub fn set(mut self, name: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Sets a field of an object in the object, where a value was given. Objects on the way to it are
    /// made where they are missing.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a file or another setting has something other than an object on the way.
    pub fn set_deep(
        mut self,
        path: &[&str],
        name: &str,
        value: Option<impl Into<Value>>,
    ) -> Result<Self, Failure> {
        let Some(value) = value else {
            return Ok(self);
        };
        let mut object = &mut self.0;
        for (depth, step) in path.iter().enumerate() {
            let inner = object.entry(*step).or_insert_with(|| json!({}));
            object = inner.as_object_mut().ok_or_else(|| {
                let place: Vec<_> = path.iter().take(depth + 1).copied().collect();
                let place = place.join(".");
                Failure::Usage(format!(
                    "`{place}` was given as something other than an object, so `{name}` cannot be set in it"
                ))
            })?;
        }
        object.insert(name.to_owned(), value.into());
        Ok(self)
    }

    /// Which object is meant.
    pub fn existing(self, existing: Existing) -> Self {
        self.set("name", existing.name).set("id", existing.id)
    }

    /// Whose it is.
    pub fn owner(self, owner: Owner) -> Self {
        self.set("user", owner.user)
    }

    /// In which project it is. A number is an id: that is what the name of a project seldom is, and a
    /// project that is named so can be addressed by its own id.
    pub fn place(self, place: Place) -> Self {
        let project = place.project.map(|text| match text.parse::<u64>() {
            Ok(id) => json!(id),
            Err(_) => json!(text),
        });
        self.set("project", project).owner(place.owner)
    }

    /// How long to wait.
    pub fn waiting(self, waiting: Waiting) -> Self {
        let wait = match (waiting.no_wait, waiting.wait) {
            (true, _) => Some(json!(false)),
            (false, seconds) => seconds.map(|seconds| seconds.to_json()),
        };
        self.set("wait", wait)
    }
}
