//! The health check in the mission's form. A new one is a change made to the defaults.

use super::entity::narrow;
use super::error::{Code, FormError, quoted};
use super::fields::{Change, Field};
use crate::{Criteria, HealthCheck, HealthProtocol, TrafficType};

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
        let fields = field.object(&["protocol", "port", "request-path", "criteria"])?;
        let protocols = [("HTTP", HealthProtocol::Http), ("TCP", HealthProtocol::Tcp)];
        Ok(Self {
            protocol: fields.change("protocol", |f| f.choice(&protocols))?,
            port: fields.change("port", |f| {
                Ok(Some(narrow(f.integer(1, u64::from(u16::MAX))?)))
            })?,
            request_path: fields.change("request-path", request_path)?,
            criteria: fields.change("criteria", CriteriaChange::read)?,
        })
    }

    /// The changed health check.
    ///
    /// # Errors
    /// `out-of-range` when the timeout would be longer than the interval.
    pub(super) fn apply(
        self,
        current: HealthCheck,
        traffic: TrafficType,
    ) -> Result<HealthCheck, FormError> {
        let default = default_health_check(traffic);
        Ok(HealthCheck {
            protocol: self.protocol.over(current.protocol, default.protocol),
            port: self.port.over(current.port, default.port),
            request_path: self
                .request_path
                .over(current.request_path, default.request_path),
            host: current.host,
            expected_status: current.expected_status,
            expected_body: current.expected_body,
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

/// Milliseconds as a number of seconds, whole where it is whole.
pub(super) fn seconds(ms: u64) -> serde_json::Number {
    match ms % 1000 {
        0 => (ms / 1000).into(),
        #[expect(
            clippy::cast_precision_loss,
            reason = "at most an hour, far below 2^53"
        )]
        _ => serde_json::Number::from_f64(ms as f64 / 1000.0).unwrap_or_else(|| (ms / 1000).into()),
    }
}
