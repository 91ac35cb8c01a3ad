//! A user's set of instances, with a network namespace of its own.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{Generation, ProjectId, Timestamp};

/// A project as it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Its identity.
    pub id: ProjectId,
    /// Who owns it.
    pub user: String,
    /// Its name, one of a kind among the user's projects.
    pub name: String,
    /// Its part of the URLs of its instances: one DNS label, one of a kind among all projects.
    pub label: String,
    /// Raised with each change.
    pub generation: Generation,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// A host interface that a user attached to a subnet, so that backends can be reached there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attachment {
    /// The project whose subnet it is.
    pub project: ProjectId,
    /// The subnet's CIDR.
    pub subnet: Ipv4Net,
    /// Name of the interface: in the host's namespace before, in the project's after.
    pub interface: String,
}
