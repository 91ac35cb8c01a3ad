//! Orders applied to the intent: which object is meant, which name is free, what comes of it.
//!
//! Everything here is a function of the draft, the order and the [`Terms`]; nothing waits, reads a clock
//! or knows of HTTP.

mod find;
mod instance;
mod project;
mod subnet;

use ipnet::Ipv4Net;
use model::{Instance, Project, Timestamp};

pub(crate) use find::{find_instance, find_project, find_project_ref, only_project, projects_of};
pub(crate) use instance::{create_instance, delete_instance, project_of, update_instance};
pub(crate) use project::{create_project, delete_project, update_project};
pub(crate) use subnet::{SubnetDocument, subnets_of, update_subnet};

/// What an order is carried out under.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Whose things it is about: the user that was named, else the caller.
    pub user: String,
    /// The front network, which no subnet may overlap.
    pub front: Ipv4Net,
    /// The time.
    pub now: Timestamp,
}

/// Who asks for something, and when.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub user: String,
    pub at: Timestamp,
}

impl Terms {
    pub fn asker(&self) -> Asker {
        Asker {
            user: self.user.clone(),
            at: self.now,
        }
    }
}

/// An instance with its project.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub instance: Instance,
    pub project: Project,
}
