//! `forwarding`: what backends are told of a request's way.

use ipnet::Ipv4Net;

use super::algorithm::field_name;
use super::error::{Code, FormError};
use super::fields::{Change, Field};
use super::networks::{self, networks};
use super::numbers::http_only;
use super::shown::Shown;
use crate::http_text::is_reserved_field;
use crate::{Forwarding, TrafficType};

/// What is to change in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ForwardingChange {
    path: String,
    trusted_proxies: Change<Vec<Ipv4Net>>,
    forwarded: Change<bool>,
    request_id: Change<Option<String>>,
}

impl ForwardingChange {
    pub fn read(field: &Field<'_>) -> Result<Self, FormError> {
        let fields = field.object(&["trusted-proxies", "forwarded", "request-id"])?;
        Ok(Self {
            path: field.path.clone(),
            trusted_proxies: fields.change("trusted-proxies", networks)?,
            forwarded: fields.change("forwarded", Field::flag)?,
            request_id: fields.change("request-id", |field| request_id(field).map(Some))?,
        })
    }

    /// The changed settings.
    ///
    /// # Errors
    /// `http-only` on a TCP instance.
    pub fn apply(self, current: Forwarding, traffic: TrafficType) -> Result<Forwarding, FormError> {
        if traffic == TrafficType::Tcp {
            return Err(http_only(&self.path, "forwarding"));
        }
        let default = Forwarding::default();
        Ok(Forwarding {
            trusted_proxies: self
                .trusted_proxies
                .over(current.trusted_proxies, default.trusted_proxies),
            forwarded: self.forwarded.over(current.forwarded, default.forwarded),
            request_id: self.request_id.over(current.request_id, default.request_id),
        })
    }
}

/// What is not at its default.
pub(super) fn show(forwarding: &Forwarding) -> Shown {
    let mut shown = Shown::default();
    shown.value(
        "trusted-proxies",
        networks::show(&forwarding.trusted_proxies),
    );
    shown.value("forwarded", forwarding.forwarded.then_some(true));
    shown.value("request-id", forwarding.request_id.clone());
    shown
}

fn request_id(field: &Field<'_>) -> Result<String, FormError> {
    let name = field_name(field)?;
    match is_reserved_field(&name) {
        true => Err(FormError::new(
            Code::BadName,
            &field.path,
            format!("`{name}` has a meaning of its own and cannot carry an id"),
            "use another field, such as X-Request-ID",
        )),
        false => Ok(name),
    }
}
