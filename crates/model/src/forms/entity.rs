//! A backend as users write it: an address, a host name, a URL, or an object that says more.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::error::{Code, FormError, quoted};
use super::fields::{Change, Field};
use crate::numbers::MAX_CONNECTIONS;
use crate::{
    Backend, BackendHost, DEFAULT_BACKEND_PORT, DEFAULT_WEIGHT, MAX_BACKENDS, MAX_WEIGHT,
    TrafficType,
};

/// The most characters of a host name (RFC 1035, section 2.3.4).
const MAX_HOST_CHARS: usize = 253;
const FORMS: &str = "write an IPv4 address or host name, with its port where needed: 1.1.1.10:8080";

/// A backend as it was written. What it means depends on what the instance balances.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// Where in the request it stands.
    pub path: String,
    /// Where the server is.
    pub host: BackendHost,
    /// Its port, where one was given.
    pub port: Option<u16>,
    /// Its weight.
    pub weight: Change<u16>,
    /// Whether it is a backup.
    pub backup: Change<bool>,
    /// Its bound on connections.
    pub max_connections: Change<Option<u32>>,
    /// The scheme, where it was given as a URL.
    pub scheme: Option<TrafficType>,
}

impl Entity {
    /// The backend that this is for an instance of `traffic`.
    ///
    /// # Errors
    /// `unsupported-scheme` when its URL speaks another protocol than the instance; `missing-port`
    /// when there is neither a port nor a default for one.
    pub(super) fn backend(&self, traffic: TrafficType) -> Result<Backend, FormError> {
        if let Some(scheme) = self.scheme.filter(|scheme| *scheme != traffic) {
            return Err(FormError::new(
                Code::UnsupportedScheme,
                &self.path,
                format!(
                    "a {} instance has no {}:// backends",
                    traffic.scheme(),
                    scheme.scheme()
                ),
                format!("write it as {}://{}:port", traffic.scheme(), self.host),
            ));
        }
        let default = match traffic {
            TrafficType::Http => Some(DEFAULT_BACKEND_PORT),
            TrafficType::Tcp => None,
        };
        let port = self.port.or(default).ok_or_else(|| {
            FormError::new(
                Code::MissingPort,
                &self.path,
                format!("the backend {} of a tcp instance needs a port", self.host),
                format!("write it as {}:port", self.host),
            )
        })?;
        let plain = Backend {
            host: self.host.clone(),
            port,
            weight: DEFAULT_WEIGHT,
            backup: false,
            max_connections: None,
        };
        Ok(self.settle(plain.clone(), &plain))
    }

    /// The backend with what this entity says of it, and of the rest what `had` has.
    pub(super) fn settle(&self, backend: Backend, had: &Backend) -> Backend {
        let max_connections = self.max_connections.clone();
        Backend {
            weight: self.weight.clone().over(had.weight, DEFAULT_WEIGHT),
            backup: self.backup.clone().over(had.backup, false),
            max_connections: max_connections.over(had.max_connections, None),
            ..backend
        }
    }
}

/// A list of entities. One of them may stand in an array of its own, as the template writes it.
pub(super) fn entities(field: &Field<'_>) -> Result<Vec<Entity>, FormError> {
    let mut entities = Vec::new();
    for item in field.items(MAX_BACKENDS)? {
        match item.value {
            Value::Array(_) => {
                for inner in item.items(MAX_BACKENDS)? {
                    entities.push(entity(&inner)?);
                }
            }
            _ => entities.push(entity(&item)?),
        }
    }
    check_count(entities.len(), &field.path)?;
    Ok(entities)
}

/// Refuses more backends than an instance can have.
pub(super) fn check_count(count: usize, path: &str) -> Result<(), FormError> {
    match count > MAX_BACKENDS {
        true => Err(FormError::new(
            Code::TooMany,
            path,
            format!("{count} backends, where one instance has at most {MAX_BACKENDS}"),
            "spread them over several instances",
        )),
        false => Ok(()),
    }
}

/// One entity.
pub(super) fn entity(field: &Field<'_>) -> Result<Entity, FormError> {
    match field.value {
        Value::String(text) => written(text, &field.path),
        Value::Object(_) => structured(field),
        _ => Err(field.wrong_type("a text such as \"1.1.1.10:8080\" or an object")),
    }
}

fn structured(field: &Field<'_>) -> Result<Entity, FormError> {
    let fields = field.object(&["address", "port", "weight", "backup", "max-connections"])?;
    let address = fields.required("address", "name the server: \"address\": \"1.1.1.10\"")?;
    let mut entity = written(address.text()?, &address.path)?;
    entity.path.clone_from(&field.path);
    if let Some(port) = fields.given("port") {
        let number = narrow(port.integer(1, u64::from(u16::MAX))?);
        if entity.port.is_some_and(|written| written != number) {
            return Err(FormError::new(
                Code::ConflictingFields,
                port.path,
                "`address` has another port than `port`",
                "give the port once",
            ));
        }
        entity.port = Some(number);
    }
    entity.weight = fields.change("weight", |field| {
        field.integer(0, u64::from(MAX_WEIGHT)).map(narrow)
    })?;
    entity.backup = fields.change("backup", Field::flag)?;
    entity.max_connections = fields.change("max-connections", |field| {
        let bound = field.integer(1, MAX_CONNECTIONS)?;
        Ok(u32::try_from(bound).ok())
    })?;
    Ok(entity)
}

/// A number that was checked to be within 16 bits.
pub(super) fn narrow(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// An address, a host name, either with a port, or a URL.
fn written(text: &str, path: &str) -> Result<Entity, FormError> {
    let (scheme, authority) = match text.split_once("://") {
        Some((scheme, rest)) => (
            Some(parse_scheme(scheme, path)?),
            bare_authority(rest, path)?,
        ),
        None => (None, text),
    };
    let (host, port) = host_and_port(authority, path)?;
    Ok(Entity {
        path: path.to_owned(),
        host,
        port,
        weight: Change::Keep,
        backup: Change::Keep,
        max_connections: Change::Keep,
        scheme,
    })
}

fn parse_scheme(scheme: &str, path: &str) -> Result<TrafficType, FormError> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok(TrafficType::Http),
        "tcp" => Ok(TrafficType::Tcp),
        "https" => Err(FormError::new(
            Code::UnsupportedScheme,
            path,
            "https to backends is not supported yet",
            "use http://, or a tcp instance, which passes TLS through as it is",
        )),
        _ => Err(FormError::new(
            Code::UnsupportedScheme,
            path,
            format!("backends do not speak `{}`", quoted(scheme)),
            "use http:// or tcp://",
        )),
    }
}

/// The authority of a URL that has nothing else but the path `/`.
fn bare_authority<'t>(rest: &'t str, path: &str) -> Result<&'t str, FormError> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if !matches!(tail, "" | "/") {
        return Err(FormError::new(
            Code::UnsupportedPath,
            path,
            format!(
                "a backend's URL ends after its port, and this one goes on with `{}`",
                quoted(tail)
            ),
            "leave out path, query and fragment: requests keep those that their client asked for",
        ));
    }
    match authority.contains('@') {
        true => Err(FormError::new(
            Code::BadAddress,
            path,
            "a backend's URL cannot hold a user name or password",
            "leave out what stands before the @",
        )),
        false => Ok(authority),
    }
}

fn host_and_port(authority: &str, path: &str) -> Result<(BackendHost, Option<u16>), FormError> {
    if authority.starts_with('[') || authority.matches(':').count() > 1 {
        return Err(FormError::new(
            Code::Ipv6Unsupported,
            path,
            "IPv6 addresses are not supported yet",
            "use the backend's IPv4 address, or a host name that has one",
        ));
    }
    let Some((name, digits)) = authority.split_once(':') else {
        return Ok((host(authority, path)?, None));
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let port = digits.parse().ok().filter(|port| is_number && *port > 0);
    match port {
        Some(port) => Ok((host(name, path)?, Some(port))),
        None => Err(FormError::new(
            Code::BadAddress,
            path,
            format!("`{}` is no port", quoted(digits)),
            "use a port from 1 to 65535",
        )),
    }
}

/// An IPv4 address that one host can have, or a DNS name (RFC 1123, section 2.1).
fn host(text: &str, path: &str) -> Result<BackendHost, FormError> {
    let bad = |problem: &str, hint: &str| {
        let message = format!("`{}` is {problem}", quoted(text));
        Err(FormError::new(Code::BadAddress, path, message, hint))
    };
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return match address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
            true => bad("no address of one server", FORMS),
            false => Ok(BackendHost::Address(address)),
        };
    }
    if text.contains('/') {
        return bad(
            "no address",
            "an entity is one server: no network and no path",
        );
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return bad("no IPv4 address", FORMS);
    }
    match name.len() <= MAX_HOST_CHARS && name.split('.').all(is_host_label) {
        true => Ok(BackendHost::Name(name)),
        false => bad("no host name", FORMS),
    }
}

fn is_host_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}
