//! The health check in the mission's form. A new one is a change made to the defaults.

use super::entity::narrow;
use super::error::{Code, FormError, quoted};
use super::fields::{At, Change, Field};
use super::numbers::seconds;
use super::status::statuses;
use crate::http_text::is_host;
use crate::{
    Criteria, HealthCheck, HealthProtocol, MAX_EXPECTED_BODY_BYTES, StatusRange, TrafficType,
};

/// The shortest interval and timeout, in milliseconds.
const MIN_PERIOD_MS: u64 = 100;
/// The longest interval and timeout, in milliseconds: an hour.
const MAX_PERIOD_MS: u64 = 3_600_000;
/// The largest threshold.
const MAX_THRESHOLD: u64 = 10;
/// The most bytes of a request path.
const MAX_PATH_BYTES: usize = 2048;

/// What is to change in a health check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthCheckChange {
    protocol: Change<HealthProtocol>,
    port: Change<Option<u16>>,
    request_path: Change<String>,
    host: Change<At<Option<String>>>,
    expected_status: Change<At<Vec<StatusRange>>>,
    expected_body: Change<At<Option<String>>>,
    criteria: Change<CriteriaChange>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct CriteriaChange {
    path: String,
    interval_ms: Change<u64>,
    timeout_ms: Change<u64>,
    health_threshold: Change<u32>,
    unhealth_threshold: Change<u32>,
}

/// The health check of an instance whose user said nothing about it.
#[must_use]
pub fn default_health_check(traffic: TrafficType) -> HealthCheck {
    HealthCheck {
        protocol: match traffic {
            TrafficType::Http => HealthProtocol::Http,
            TrafficType::Tcp => HealthProtocol::Tcp,
        },
        port: None,
        request_path: "/".into(),
        host: None,
        expected_status: Vec::new(),
        expected_body: None,
        criteria: Criteria::default(),
    }
}

impl HealthCheckChange {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, FormError> {
        let fields = field.object(&[
            "protocol",
            "port",
            "request-path",
            "host",
            "expected-status",
            "expected-body",
            "criteria",
        ])?;
        let protocols = [("HTTP", HealthProtocol::Http), ("TCP", HealthProtocol::Tcp)];
        Ok(Self {
            protocol: fields.change("protocol", |f| f.choice(&protocols))?,
            port: fields.change("port", |f| {
                Ok(Some(narrow(f.integer(1, u64::from(u16::MAX))?)))
            })?,
            request_path: fields.change("request-path", request_path)?,
            host: fields.change("host", |f| Ok(At::new(&f.path, Some(host(f)?))))?,
            expected_status: fields
                .change("expected-status", |f| Ok(At::new(&f.path, statuses(f)?)))?,
            expected_body: fields.change("expected-body", |f| {
                Ok(At::new(&f.path, Some(expected_body(f)?)))
            })?,
            criteria: fields.change("criteria", CriteriaChange::read)?,
        })
    }

    /// The changed health check.
    ///
    /// # Errors
    /// `out-of-range` when the timeout would be longer than the interval; `http-only` when an HTTP answer
    /// is described to a check that asks for a TCP connection.
    pub(super) fn apply(
        self,
        current: HealthCheck,
        traffic: TrafficType,
    ) -> Result<HealthCheck, FormError> {
        let default = default_health_check(traffic);
        let protocol = self.protocol.over(current.protocol, default.protocol);
        Ok(HealthCheck {
            protocol,
            port: self.port.over(current.port, default.port),
            request_path: self
                .request_path
                .over(current.request_path, default.request_path),
            host: of_http(self.host, "host", current.host, protocol)?,
            expected_status: of_http(
                self.expected_status,
                "expected-status",
                current.expected_status,
                protocol,
            )?,
            expected_body: of_http(
                self.expected_body,
                "expected-body",
                current.expected_body,
                protocol,
            )?,
            criteria: match self.criteria {
                Change::Keep => current.criteria,
                Change::Reset => Criteria::default(),
                Change::Set(change) => change.apply(&current.criteria)?,
            },
        })
    }
}

impl CriteriaChange {
    fn read(field: &Field<'_>) -> Result<Self, FormError> {
        let fields = field.object(&[
            "interval",
            "timeout",
            "health-threshold",
            "unhealth-threshold",
        ])?;
        let period = |f: &Field<'_>| f.seconds_as_ms(MIN_PERIOD_MS, MAX_PERIOD_MS);
        let threshold = |f: &Field<'_>| Ok(u32::from(narrow(f.integer(1, MAX_THRESHOLD)?)));
        Ok(Self {
            path: field.path.clone(),
            interval_ms: fields.change("interval", period)?,
            timeout_ms: fields.change("timeout", period)?,
            health_threshold: fields.change("health-threshold", threshold)?,
            unhealth_threshold: fields.change("unhealth-threshold", threshold)?,
        })
    }

    /// A timeout that nobody gave follows a shorter interval down; a given one that is longer than the
    /// interval is a contradiction, since a check would begin before the one before it has ended.
    fn apply(self, current: &Criteria) -> Result<Criteria, FormError> {
        let default = Criteria::default();
        let interval_ms = self
            .interval_ms
            .over(current.interval_ms, default.interval_ms);
        let timeout_ms = match self.timeout_ms {
            Change::Set(given) if given > interval_ms => {
                return Err(FormError::new(
                    Code::OutOfRange,
                    format!("{}.timeout", self.path),
                    "the timeout is longer than the interval",
                    format!("give a timeout of at most {} seconds", seconds(interval_ms)),
                ));
            }
            change => change
                .over(current.timeout_ms, default.timeout_ms)
                .min(interval_ms),
        };
        Ok(Criteria {
            interval_ms,
            timeout_ms,
            health_threshold: self
                .health_threshold
                .over(current.health_threshold, default.health_threshold),
            unhealth_threshold: self
                .unhealth_threshold
                .over(current.unhealth_threshold, default.unhealth_threshold),
        })
    }
}

/// What a field that describes the question or the answer of HTTP becomes. A check that asks by TCP has
/// none: it forgets the one that it had, and takes no new one.
fn of_http<T: Default>(
    change: Change<At<T>>,
    name: &str,
    current: T,
    protocol: HealthProtocol,
) -> Result<T, FormError> {
    match (change, protocol) {
        (Change::Set(at), HealthProtocol::Tcp) => Err(FormError::new(
            Code::HttpOnly,
            at.path,
            format!("`{name}` has no meaning where a TCP connection is all that is asked for"),
            "leave it out, or let `protocol` be `HTTP`",
        )),
        (_, HealthProtocol::Tcp) | (Change::Reset, _) => Ok(T::default()),
        (Change::Keep, HealthProtocol::Http) => Ok(current),
        (Change::Set(at), HealthProtocol::Http) => Ok(at.value),
    }
}

fn host(field: &Field<'_>) -> Result<String, FormError> {
    let text = field.text()?;
    match is_host(text) {
        true => Ok(text.to_owned()),
        false => Err(FormError::new(
            Code::BadHost,
            &field.path,
            format!("`{}` is no host", quoted(text)),
            "write a host name or IPv4 address, with a port where needed: shop.example",
        )),
    }
}

fn expected_body(field: &Field<'_>) -> Result<String, FormError> {
    let text = field.text()?;
    match (1..=MAX_EXPECTED_BODY_BYTES).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err(FormError::new(
            Code::OutOfRange,
            &field.path,
            format!("the expected text has {} bytes", text.len()),
            format!("give 1 to {MAX_EXPECTED_BODY_BYTES} bytes that stand in a good answer"),
        )),
    }
}

/// A path that can stand in a request line as it is (RFC 9112, section 3.2.1).
fn request_path(field: &Field<'_>) -> Result<String, FormError> {
    let text = field.text()?;
    let fits = text.starts_with('/')
        && text.len() <= MAX_PATH_BYTES
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    match fits {
        true => Ok(text.to_owned()),
        false => Err(FormError::new(
            Code::BadPath,
            &field.path,
            format!("`{}` cannot stand in an HTTP request", quoted(text)),
            "begin with / and percent-encode spaces and characters outside ASCII: /health?deep=1",
        )),
    }
}
