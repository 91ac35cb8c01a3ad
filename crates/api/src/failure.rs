//! Why a request was not carried out, and how HTTP says so.

use axum::http::StatusCode;
use model::forms::{Code, FormError, Refused};
use store::StoreError;
use store::intent::EditError;

/// A request that was not carried out. Nothing was changed, save perhaps by [`Failure::Task`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The request is at fault.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The way in which it was sent is at fault.
    #[error("{message}")]
    Http {
        /// HTTP's word for it.
        status: StatusCode,
        /// Ours.
        code: &'static str,
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// Too many changes at once.
    #[error("too many other changes came first")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal cannot be read.
    #[error("what happened cannot be read: {0}")]
    Journal(#[source] StoreError),
    /// An access log cannot be read.
    #[error("the access log cannot be read: {0}")]
    Log(#[from] std::io::Error),
    /// The monitor cannot tell what was measured.
    #[error("{0}")]
    Monitor(String),
    /// This program is at fault.
    #[error("the request's task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl From<EditError<FormError>> for Failure {
    fn from(error: EditError<FormError>) -> Self {
        match error {
            EditError::Refused(refused) => Self::Form(refused),
            EditError::Contended => Self::Contended,
            EditError::Store(error) => Self::Store(error),
        }
    }
}

impl Failure {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Form(error) => status_of(error.code),
            Self::Http { status, .. } => *status,
            Self::Contended
            | Self::Store(_)
            | Self::Journal(_)
            | Self::Log(_)
            | Self::Monitor(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Task(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

fn status_of(code: Code) -> StatusCode {
    match code {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::AlreadyExists
        | Code::AmbiguousProject
        | Code::HasInstances
        | Code::ImmutableField
        | Code::InterfaceTaken
        | Code::NameTaken => StatusCode::CONFLICT,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl From<&Failure> for Refused {
    fn from(failure: &Failure) -> Self {
        let (code, message, hint) = match failure {
            Failure::Form(error) => return Self::from(error),
            Failure::Http {
                code,
                message,
                hint,
                ..
            } => (*code, message.clone(), hint.clone()),
            Failure::Contended => (
                "conflict",
                failure.to_string(),
                "nothing was changed: try again".into(),
            ),
            Failure::Store(error) => (
                "store-unavailable",
                error.to_string(),
                "nothing was changed: mend the store as the message says, and try again".into(),
            ),
            Failure::Journal(_) => (
                "journal-unavailable",
                failure.to_string(),
                "mend the file as the message says, and try again".into(),
            ),
            Failure::Log(_) => (
                "log-unavailable",
                failure.to_string(),
                "mend the disk as the message says, and try again".into(),
            ),
            Failure::Monitor(why) => (
                "monitor-unavailable",
                why.clone(),
                "see whether `evenkeel status` names the monitor among the roles, or a trouble of its log".into(),
            ),
            Failure::Task(_) => (
                "internal",
                failure.to_string(),
                "this is a mistake of the program: see its log, and report it".into(),
            ),
        };
        Self {
            code,
            path: String::new(),
            message,
            hint,
        }
    }
}
