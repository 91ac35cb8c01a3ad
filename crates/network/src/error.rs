//! What can go wrong, by what a caller can do about it.

use std::io;
use std::time::Duration;

/// An operation on the machine's network that did not come to its end. Every operation may simply be
/// called again: it takes up what the last call left.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The process may not change the network. Nothing will work until it is started otherwise.
    #[error(
        "this process may not {action}: run it as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN"
    )]
    NotPermitted {
        /// What was tried.
        action: String,
        /// The kernel's refusal.
        source: io::Error,
    },
    /// The configuration cannot be used. A person has to change it.
    #[error("the network's configuration is not usable: {0}")]
    Configuration(String),
    /// Something that has to be there first is not. Ensure it, then call again.
    #[error("{what} does not exist: {remedy}")]
    Missing {
        /// The object.
        what: String,
        /// What makes it.
        remedy: String,
    },
    /// There is no such interface in the host's namespace. Its owner has to make it.
    #[error(
        "there is no interface `{interface}` in the host's network namespace: `ip link` lists those that there are"
    )]
    NoSuchInterface {
        /// The name that was asked for.
        interface: String,
    },
    /// An interface that must not be given to a project. Another one has to be chosen.
    #[error("interface `{interface}` cannot be attached to a subnet: {reason}")]
    InterfaceRefused {
        /// The name that was asked for.
        interface: String,
        /// Why not.
        reason: String,
    },
    /// Another installation's network has these names. One of the two needs another prefix.
    #[error(
        "the network whose names begin with `{prefix}` belongs to installation {owner}: end and clean up that one, or \
         configure another prefix"
    )]
    OwnedByAnother {
        /// The prefix of the names.
        prefix: String,
        /// Who wrote its name on the front bridge.
        owner: String,
    },
    /// The kernel or `nft` did not answer in time. Worth another try later.
    #[error("no answer within {} s while trying to {action}", .after.as_secs_f32())]
    TimedOut {
        /// What was tried.
        action: String,
        /// The bound that ran out.
        after: Duration,
    },
    /// The kernel said no. Worth another try; if it stays, the source says why.
    #[error("could not {action}")]
    Kernel {
        /// What was tried, and on what.
        action: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// `nft` is missing or said no.
    #[error("could not {action}: {message}")]
    Firewall {
        /// What was tried, and where.
        action: String,
        /// What `nft` said, or why it did not run.
        message: String,
    },
}

/// `map_err` closures that name the action.
pub(crate) fn kernel(action: impl Into<String>) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::Kernel {
        action: action.into(),
        source,
    }
}
