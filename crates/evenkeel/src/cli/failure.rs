//! What can go wrong between a command and its answer, one variant for each exit code.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use super::answer::Refusal;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command makes no sense as it was typed. Exit code 2, as for all that clap refuses.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers at the socket. Exit code 3.
    #[error("no Evenkeel server answers at {}: {reason}", socket.display())]
    Unreachable {
        /// Where it was looked for.
        socket: PathBuf,
        /// Why it was not reached.
        reason: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The server said no. Exit code 1.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The server was reached, and gave no answer that can be read. What was asked for may be done
    /// all the same. Exit code 1.
    #[error("{0}")]
    BadAnswer(String),
}

impl Failure {
    /// The code that the program ends with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) | Self::BadAnswer(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
        })
    }

    fn place(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => Some(refusal.path.as_str()).filter(|path| !path.is_empty()),
            _ => None,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => Some(refusal.hint.as_str()).filter(|hint| !hint.is_empty()),
            Self::Unreachable { hint, .. } => Some(hint),
            Self::Usage(_) => Some("`--help` after the command shows its options and an example"),
            Self::BadAnswer(_) => Some("`evenkeel status` shows how everything stands"),
        }
    }
}

/// A failure as it is told to people: what, where, and what to do next.
#[derive(Debug)]
pub struct Told<'f>(pub &'f Failure);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(failure) = self;
        write!(f, "error: {failure}")?;
        if let Some(place) = failure.place() {
            write!(f, "\n  at: {place}")?;
        }
        match failure.hint() {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}
