//! How an instance's traffic is spread, bounded and passed on: all that stands in `backend` and beside
//! it but backends, health check and number of VMs.
//!
//! What is shown is what is not at its default: an instance whose user never touched these settings is
//! as short to read as it ever was.

use ipnet::Ipv4Net;

use super::algorithm::{self, algorithm, check_key};
use super::error::{Code, FormError};
use super::fields::{At, Change, Fields};
use super::forwarding::{self, ForwardingChange};
use super::networks::{self, networks};
use super::numbers::{NumbersChange, SwitchChange, show, show_switch};
use super::shown::Shown;
use crate::numbers::{
    BACKEND, CIRCUIT_BREAKER, LIMITS, Number, OUTLIER_EJECTION, QUEUE, RETRY, TIMEOUTS,
};
use crate::{
    Algorithm, ClientClose, Forwarding, Limits, Policy, ProxyVersion, Timeouts, TrafficType,
};

const PROXY_VERSIONS: [(&str, ProxyVersion); 2] =
    [("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)];
const CLIENT_CLOSES: [(&str, ClientClose); 2] = [
    ("finish", ClientClose::Finish),
    ("abort", ClientClose::Abort),
];

/// The fields in `backend`.
pub(super) const WITHIN_BACKEND: [&str; 8] = [
    "algorithm",
    "slow-start",
    "drain",
    "queue",
    "outlier-ejection",
    "circuit-breaker",
    "retry",
    "proxy-protocol",
];

/// What is to change in the settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SettingsChange {
    timeouts: Change<NumbersChange>,
    limits: Change<NumbersChange>,
    allowed_clients: Change<Vec<Ipv4Net>>,
    proxy_protocol_from: Change<Vec<Ipv4Net>>,
    client_close: Change<ClientClose>,
    forwarding: Change<ForwardingChange>,
    access_log: Change<bool>,
    backend: BackendSettingsChange,
}

/// The part of it that stands in `backend`.
#[derive(Clone, Debug, Default, PartialEq)]
struct BackendSettingsChange {
    algorithm: Change<At<Algorithm>>,
    numbers: NumbersChange,
    queue: Change<NumbersChange>,
    outlier_ejection: Change<SwitchChange>,
    circuit_breaker: Change<SwitchChange>,
    retry: Change<NumbersChange>,
    proxy_protocol: Change<Option<ProxyVersion>>,
}

impl SettingsChange {
    /// Reads what stands in `backend` and beside it. `Change::Reset` says that `backend` is null.
    pub fn read(info: &Fields<'_>, backend: &Change<Fields<'_>>) -> Result<Self, FormError> {
        Ok(Self {
            timeouts: object(info, "timeouts", &TIMEOUTS)?,
            limits: object(info, "limits", &LIMITS)?,
            allowed_clients: info.change("allowed-clients", networks)?,
            proxy_protocol_from: info.change("proxy-protocol-from", networks)?,
            client_close: info.change("client-close", |field| field.choice(&CLIENT_CLOSES))?,
            forwarding: info.change("forwarding", ForwardingChange::read)?,
            access_log: info.change("access-log", |field| field.flag())?,
            backend: match backend {
                Change::Keep => BackendSettingsChange::default(),
                Change::Reset => BackendSettingsChange::reset(),
                Change::Set(fields) => BackendSettingsChange::read(fields)?,
            },
        })
    }

    /// Makes the changes.
    ///
    /// # Errors
    /// `http-only` when a setting that only HTTP has is given for a TCP instance; `out-of-range` when a
    /// request's line could be longer than its head.
    pub fn apply(
        self,
        timeouts: &mut Timeouts,
        policy: &mut Policy,
        traffic: TrafficType,
    ) -> Result<(), FormError> {
        let limits_path = self.limits_path();
        self.timeouts.apply_numbers(&TIMEOUTS, timeouts, traffic)?;
        self.limits
            .apply_numbers(&LIMITS, &mut policy.limits, traffic)?;
        check_limits(&policy.limits, &limits_path)?;
        set(self.allowed_clients, &mut policy.allowed_clients);
        set(
            self.proxy_protocol_from,
            &mut policy.proxy_protocol.accept_from,
        );
        set(self.client_close, &mut policy.client_close);
        policy.access_log = self.access_log.over(policy.access_log, true);
        policy.forwarding = match self.forwarding {
            Change::Keep => std::mem::take(&mut policy.forwarding),
            Change::Reset => Forwarding::default(),
            Change::Set(change) => change.apply(std::mem::take(&mut policy.forwarding), traffic)?,
        };
        self.backend.apply(policy, traffic)
    }

    /// Where the limits were given, should they not agree.
    fn limits_path(&self) -> String {
        match &self.limits {
            Change::Set(change) => change.path.clone(),
            Change::Keep | Change::Reset => String::new(),
        }
    }
}

impl BackendSettingsChange {
    fn read(fields: &Fields<'_>) -> Result<Self, FormError> {
        Ok(Self {
            algorithm: fields.change("algorithm", algorithm)?,
            numbers: NumbersChange::read(fields, &BACKEND)?,
            queue: object(fields, "queue", &QUEUE)?,
            outlier_ejection: switch(fields, "outlier-ejection", &OUTLIER_EJECTION)?,
            circuit_breaker: switch(fields, "circuit-breaker", &CIRCUIT_BREAKER)?,
            retry: object(fields, "retry", &RETRY)?,
            proxy_protocol: fields.change("proxy-protocol", |field| {
                field.choice(&PROXY_VERSIONS).map(Some)
            })?,
        })
    }

    fn reset() -> Self {
        Self {
            algorithm: Change::Reset,
            numbers: NumbersChange::reset(&BACKEND),
            queue: Change::Reset,
            outlier_ejection: Change::Reset,
            circuit_breaker: Change::Reset,
            retry: Change::Reset,
            proxy_protocol: Change::Reset,
        }
    }

    fn apply(self, policy: &mut Policy, traffic: TrafficType) -> Result<(), FormError> {
        match self.algorithm {
            Change::Keep => {}
            Change::Reset => policy.algorithm = Algorithm::default(),
            Change::Set(at) => {
                check_key(&at, traffic)?;
                policy.algorithm = at.value;
            }
        }
        self.numbers.apply(&BACKEND, policy, traffic)?;
        self.queue
            .apply_numbers(&QUEUE, &mut policy.queue, traffic)?;
        let ejection = &mut policy.outlier_ejection;
        self.outlier_ejection
            .apply_switch(&OUTLIER_EJECTION, ejection, traffic)?;
        let breaker = &mut policy.circuit_breaker;
        self.circuit_breaker
            .apply_switch(&CIRCUIT_BREAKER, breaker, traffic)?;
        self.retry
            .apply_numbers(&RETRY, &mut policy.retry, traffic)?;
        set(self.proxy_protocol, &mut policy.proxy_protocol.send);
        Ok(())
    }
}

/// What is not at its default of that which stands in `backend`.
pub(super) fn show_within_backend(policy: &Policy) -> Shown {
    let mut shown = Shown::default();
    shown.value("algorithm", algorithm::show(&policy.algorithm));
    shown.append(show(&BACKEND, policy));
    shown.object("queue", show(&QUEUE, &policy.queue));
    let ejection = policy.outlier_ejection.as_ref();
    show_switch("outlier-ejection", &OUTLIER_EJECTION, ejection, &mut shown);
    let breaker = policy.circuit_breaker.as_ref();
    show_switch("circuit-breaker", &CIRCUIT_BREAKER, breaker, &mut shown);
    shown.object("retry", show(&RETRY, &policy.retry));
    let version = policy.proxy_protocol.send.map(|version| match version {
        ProxyVersion::V1 => "v1",
        ProxyVersion::V2 => "v2",
    });
    shown.value("proxy-protocol", version);
    shown
}

/// What is not at its default of that which stands beside `backend`.
pub(super) fn show_beside_backend(timeouts: &Timeouts, policy: &Policy) -> Shown {
    let mut shown = Shown::default();
    shown.object("timeouts", show(&TIMEOUTS, timeouts));
    shown.object("limits", show(&LIMITS, &policy.limits));
    shown.value("allowed-clients", networks::show(&policy.allowed_clients));
    let proxies = &policy.proxy_protocol.accept_from;
    shown.value("proxy-protocol-from", networks::show(proxies));
    let close = policy.client_close;
    let aborts = (close != ClientClose::default()).then_some("abort");
    shown.value("client-close", aborts);
    shown.object("forwarding", forwarding::show(&policy.forwarding));
    shown.value("access-log", (!policy.access_log).then_some(false));
    shown
}

fn object<T>(
    fields: &Fields<'_>,
    name: &str,
    table: &[Number<T>],
) -> Result<Change<NumbersChange>, FormError> {
    fields.change(name, |field| NumbersChange::read_object(field, table))
}

fn switch<T>(
    fields: &Fields<'_>,
    name: &str,
    table: &[Number<T>],
) -> Result<Change<SwitchChange>, FormError> {
    fields.change(name, |field| SwitchChange::read(field, table))
}

fn set<T: Default>(change: Change<T>, place: &mut T) {
    match change {
        Change::Keep => {}
        Change::Reset => *place = T::default(),
        Change::Set(value) => *place = value,
    }
}

/// A head holds its first line.
fn check_limits(limits: &Limits, path: &str) -> Result<(), FormError> {
    if limits.request_line_bytes <= limits.request_head_bytes {
        return Ok(());
    }
    Err(FormError::new(
        Code::OutOfRange,
        path,
        format!(
            "a request's line could have {} bytes, and its head, which holds the line, {}",
            limits.request_line_bytes, limits.request_head_bytes
        ),
        "let `request-head-bytes` be at least `request-line-bytes`",
    ))
}
