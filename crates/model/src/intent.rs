//! All that users asked for. Nobody but the users changes it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Attachment, Instance, InstanceId, Project, ProjectId};

/// Everything that was asked for and not deleted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Intent {
    /// Projects by identity.
    pub projects: BTreeMap<ProjectId, Project>,
    /// Instances by identity. Each one's project exists.
    pub instances: BTreeMap<InstanceId, Instance>,
    /// Host interfaces attached to subnets.
    pub attachments: BTreeSet<Attachment>,
}
