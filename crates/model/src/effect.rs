//! What is to be done in the world so that it matches the layout.

use crate::{BalancerConfig, InstanceId, ProjectId, SubnetId, VmId, VmLayout};

/// One step. Each may be tried any number of times; the next round is the retry.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The front bridge and the host's rules, which belong to the installation and to no project.
    EnsureFront,
    /// A project's namespace.
    EnsureProject {
        /// The project.
        project: ProjectId,
    },
    /// A host interface, attached to a subnet, whose bridge appears with it.
    EnsurePort {
        /// The project.
        project: ProjectId,
        /// The subnet.
        subnet: SubnetId,
        /// The interface's name.
        interface: String,
    },
    /// A VM with its NICs, and the bridge and namespace that they hang on.
    EnsureVm {
        /// The project.
        project: ProjectId,
        /// The instance that it serves.
        instance: InstanceId,
        /// The VM.
        vm: VmId,
        /// What was decided about it.
        layout: Box<VmLayout>,
    },
    /// A VM's ports, closed to all but the checker, or opened again.
    SetFence {
        /// The VM.
        vm: VmId,
        /// Whether they are to be closed.
        fenced: bool,
    },
    /// A configuration, sent to a VM until it runs it.
    PushConfig {
        /// The VM.
        vm: VmId,
        /// What it is to run.
        config: Box<BalancerConfig>,
    },
    /// A VM whose clients are to leave it, since it is to go.
    Drain {
        /// The VM.
        vm: VmId,
    },
    /// A VM that is to go, with all that belongs to it.
    RemoveVm {
        /// The VM.
        vm: VmId,
    },
    /// A host interface, given back to the host.
    RemovePort {
        /// The project.
        project: ProjectId,
        /// The subnet.
        subnet: SubnetId,
        /// The interface's name.
        interface: String,
    },
    /// A bridge without ports.
    RemoveSubnet {
        /// The project.
        project: ProjectId,
        /// The subnet.
        subnet: SubnetId,
    },
    /// A namespace without subnets.
    RemoveProject {
        /// The project.
        project: ProjectId,
    },
}

impl Effect {
    /// Whose account depends on how the effect went; `None` when that may be anybody's.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        match self {
            Self::EnsureFront | Self::EnsurePort { .. } | Self::RemovePort { .. } => None,
            Self::EnsureProject { project }
            | Self::RemoveProject { project }
            | Self::RemoveSubnet { project, .. } => Some(Subject::Project(*project)),
            Self::EnsureVm { vm, .. }
            | Self::RemoveVm { vm }
            | Self::PushConfig { vm, .. }
            | Self::Drain { vm }
            | Self::SetFence { vm, .. } => Some(Subject::Vm(*vm)),
        }
    }

    /// What the effect works on. Two effects with one key never run at the same time.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::EnsureFront => "front".to_owned(),
            Self::RemoveSubnet { project, subnet } => {
                format!("project/{project}/subnet/{subnet}")
            }
            Self::EnsurePort {
                project, interface, ..
            }
            | Self::RemovePort {
                project, interface, ..
            } => {
                format!("project/{project}/port/{interface}")
            }
            Self::EnsureVm { vm, .. } | Self::RemoveVm { vm } => vm_key(*vm),
            Self::PushConfig { vm, .. } => format!("vm/{vm}/config"),
            Self::SetFence { vm, .. } => format!("vm/{vm}/fence"),
            Self::Drain { vm } => format!("vm/{vm}/drain"),
            Self::EnsureProject { project } | Self::RemoveProject { project } => {
                format!("project/{project}")
            }
        }
    }
}

/// What an effect works on, as far as that belongs to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A project's namespace, or a bridge in it.
    Project(ProjectId),
    /// A VM.
    Vm(VmId),
}

/// The key of the effects that make and remove a VM.
#[must_use]
pub fn vm_key(vm: VmId) -> String {
    format!("vm/{vm}")
}
