//! Why a VM cannot go on. Each is told on the console, the only place there is.

use std::fmt;
use std::io;

/// Why a VM cannot go on.
#[derive(Debug)]
pub(super) enum InitError {
    /// Something that the kernel was asked to do failed.
    System { action: String, source: io::Error },
    /// The image and the host do not fit together.
    Missing(String),
}

impl InitError {
    /// Names what was tried; for `map_err`, with errors of both rustix and std.
    pub(super) fn system<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::System {
            action,
            source: source.into(),
        }
    }
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { action, source } => write!(f, "{action}: {source}"),
            Self::Missing(what) => f.write_str(what),
        }
    }
}
