//! Why a request is refused: a code for programs, the place in the request, and words for people.

use std::fmt;

/// What kind of mistake it is. Programs may rely on the codes; a code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// `already-exists`: an entity that is to be added is there already.
    AlreadyExists,
    /// `ambiguous-project`: the project was left out, and more than one could be meant.
    AmbiguousProject,
    /// `backend-outside-subnet`: a backend's address is no usable address of the subnet.
    BackendOutsideSubnet,
    /// `bad-address`: no IPv4 address, host name or URL of a backend.
    BadAddress,
    /// `bad-cidr`: no IPv4 network, or one of a size that is not supported.
    BadCidr,
    /// `bad-interface`: no name that a network interface can have.
    BadInterface,
    /// `bad-json`: the body is no JSON.
    BadJson,
    /// `bad-host`: no host name or address that a health check can ask for.
    BadHost,
    /// `bad-name`: a name that is empty, too long or has characters that names cannot have.
    BadName,
    /// `bad-path`: a health check's request path that cannot stand in an HTTP request.
    BadPath,
    /// `bad-time`: no point in time.
    BadTime,
    /// `conflicting-fields`: two fields that cannot both be given.
    ConflictingFields,
    /// `duplicate-entity`: one server stands in the request twice.
    DuplicateEntity,
    /// `duplicate-field`: one field stands in an object twice.
    DuplicateField,
    /// `has-instances`: a project that still has instances is not deleted.
    HasInstances,
    /// `http-only`: a field that says something about HTTP, where there is none.
    HttpOnly,
    /// `immutable-field`: a field that cannot be changed after creation.
    ImmutableField,
    /// `interface-taken`: an interface that is attached to another subnet.
    InterfaceTaken,
    /// `ipv6-unsupported`: IPv6 where only IPv4 is supported.
    Ipv6Unsupported,
    /// `missing-field`: a field without which the request has no meaning.
    MissingField,
    /// `missing-port`: a backend of a TCP instance without a port.
    MissingPort,
    /// `name-taken`: another object has this name.
    NameTaken,
    /// `not-found`: no such object among the user's.
    NotFound,
    /// `out-of-range`: a number that is too small or too large.
    OutOfRange,
    /// `subnet-overlaps`: the subnet shares addresses with another network.
    SubnetOverlaps,
    /// `too-deep`: arrays and objects nested without end.
    TooDeep,
    /// `too-large`: the request is larger than any sensible one.
    TooLarge,
    /// `too-many`: more things in one object than is supported.
    TooMany,
    /// `unknown-field`: a field that this request does not have.
    UnknownField,
    /// `unknown-value`: a word that is none of those allowed.
    UnknownValue,
    /// `unsupported-action`: the type does not have this action.
    UnsupportedAction,
    /// `unsupported-path`: a backend's URL with a path other than `/`, or more than that.
    UnsupportedPath,
    /// `unsupported-scheme`: a backend's URL with a scheme that the instance cannot speak.
    UnsupportedScheme,
    /// `wrong-type`: a number where a text is wanted, and the like.
    WrongType,
}

impl Code {
    /// The code as programs see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyExists => "already-exists",
            Self::AmbiguousProject => "ambiguous-project",
            Self::BackendOutsideSubnet => "backend-outside-subnet",
            Self::BadAddress => "bad-address",
            Self::BadCidr => "bad-cidr",
            Self::BadInterface => "bad-interface",
            Self::BadJson => "bad-json",
            Self::BadHost => "bad-host",
            Self::BadName => "bad-name",
            Self::BadPath => "bad-path",
            Self::BadTime => "bad-time",
            Self::ConflictingFields => "conflicting-fields",
            Self::DuplicateEntity => "duplicate-entity",
            Self::DuplicateField => "duplicate-field",
            Self::HasInstances => "has-instances",
            Self::HttpOnly => "http-only",
            Self::ImmutableField => "immutable-field",
            Self::InterfaceTaken => "interface-taken",
            Self::Ipv6Unsupported => "ipv6-unsupported",
            Self::MissingField => "missing-field",
            Self::MissingPort => "missing-port",
            Self::NameTaken => "name-taken",
            Self::NotFound => "not-found",
            Self::OutOfRange => "out-of-range",
            Self::SubnetOverlaps => "subnet-overlaps",
            Self::TooDeep => "too-deep",
            Self::TooLarge => "too-large",
            Self::TooMany => "too-many",
            Self::UnknownField => "unknown-field",
            Self::UnknownValue => "unknown-value",
            Self::UnsupportedAction => "unsupported-action",
            Self::UnsupportedPath => "unsupported-path",
            Self::UnsupportedScheme => "unsupported-scheme",
            Self::WrongType => "wrong-type",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FormError {
    /// What kind of mistake it is.
    pub code: Code,
    /// Where it is: `info.backend.entities[1]`; empty for the request as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl FormError {
    /// A refusal in its four parts.
    pub fn new(
        code: Code,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            code,
            path: path.into(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// The most characters of a user's text that are quoted back.
const MAX_QUOTED_CHARS: usize = 80;

/// A user's text as it is quoted in a message: cut where it is long, control characters escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_QUOTED_CHARS)
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect();
    if text.chars().nth(MAX_QUOTED_CHARS).is_some() {
        shown.push('…');
    }
    shown
}
