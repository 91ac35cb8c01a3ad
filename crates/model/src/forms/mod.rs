//! The JSON forms: requests read, answers written. Pure: text in, typed request or refusal out.
//!
//! A request is read in two steps. [`read_request`] checks all that can be checked without knowing what
//! is stored, and gives a [`Request`] whose parts are valid each by itself. What depends on the stored
//! things (the instance's traffic type on update, the subnet that a backend must be in) is checked by
//! [`NewInstance::complete`] and [`InstanceChange::apply`], when the request is applied to them.
//!
//! Every refusal is a [`FormError`]: a stable code, the path of the field, words, and a hint. Unknown
//! fields are refused everywhere, since a misspelt field that is silently dropped is found out much later.
//!
//! The forms are read generously where there is no doubt about what is meant: a word such as `http` in
//! any case or in an array of its own (the templates write choices so), and `health-check` and
//! `auto-scaling` in `backend` or beside it.
//!
//! Not done here: finding objects, names that are taken, identities. Those need all of the intent.

mod algorithm;
mod answer;
mod auto_scaling;
mod change;
mod entity;
mod error;
mod events;
mod fields;
mod figures;
mod form;
mod forwarding;
mod health_check;
mod instance;
mod json;
mod log;
mod names;
mod networks;
mod numbers;
mod project;
mod request;
mod settings;
mod shown;
mod status;
mod subnet;
mod time;

pub use answer::{
    Answer, BackendDocument, EventDocument, InstanceBrief, InstanceDocument, LastMinute,
    ProjectBrief, ProjectDocument, Refused, ScalingDocument, VmDocument, refusal,
};
pub use auto_scaling::{AutoScalingChange, ScalingChange};
pub use change::{EntitiesChange, InstanceChange};
pub use entity::Entity;
pub use error::{Code, FormError};
pub use events::{EVENTS, EventsRequest};
pub use fields::{At, Change};
pub use figures::FiguresRequest;
pub use form::InstanceForm;
pub use health_check::{HealthCheckChange, default_health_check};
pub use instance::{NewInstance, Surroundings};
pub use json::{MAX_REQUEST_BYTES, too_large};
pub use log::{LOG_LINES, LogQuestion};
pub use names::{MAX_LABEL_CHARS, MAX_NAME_CHARS, free_label, label};
pub use project::NewProject;
pub use request::{
    Action, Kind, MAX_WAIT, Order, ProjectRef, Request, SubnetChange, Target, Wait, read_request,
};
pub use subnet::overlap;
pub use time::{from_rfc3339, rfc3339};
