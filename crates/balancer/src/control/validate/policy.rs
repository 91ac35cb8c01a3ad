//! How traffic is spread, bounded and passed on: what of it can be taken.

use model::http_text::{is_field_name, is_reserved_field};
use model::numbers::{BACKEND, CIRCUIT_BREAKER, LIMITS, OUTLIER_EJECTION, QUEUE, RETRY};
use model::{Algorithm, HashKey, MAX_NETWORKS, Policy};

use super::{Fault, check_numbers, fault};

/// Finds the first field that is wrong.
pub(super) fn check(policy: &Policy) -> Result<(), Fault> {
    check_algorithm(&policy.algorithm)?;
    check_numbers("policy", &BACKEND, policy)?;
    check_numbers("policy.queue", &QUEUE, &policy.queue)?;
    if let Some(ejection) = &policy.outlier_ejection {
        check_numbers("policy.outlier_ejection", &OUTLIER_EJECTION, ejection)?;
    }
    if let Some(breaker) = &policy.circuit_breaker {
        check_numbers("policy.circuit_breaker", &CIRCUIT_BREAKER, breaker)?;
    }
    check_numbers("policy.retry", &RETRY, &policy.retry)?;
    check_limits(policy)?;
    for (path, networks) in [
        ("allowed_clients", &policy.allowed_clients),
        (
            "proxy_protocol.accept_from",
            &policy.proxy_protocol.accept_from,
        ),
        (
            "forwarding.trusted_proxies",
            &policy.forwarding.trusted_proxies,
        ),
    ] {
        check_count(path, networks.len())?;
    }
    check_request_id(policy.forwarding.request_id.as_deref())
}

fn check_algorithm(algorithm: &Algorithm) -> Result<(), Fault> {
    match algorithm {
        Algorithm::Maglev {
            key: HashKey::Header(name),
        } if !is_field_name(name) => fault("policy.algorithm.key", "it is no field's name"),
        _ => Ok(()),
    }
}

fn check_limits(policy: &Policy) -> Result<(), Fault> {
    let limits = &policy.limits;
    check_numbers("policy.limits", &LIMITS, limits)?;
    match limits.request_line_bytes > limits.request_head_bytes {
        true => fault(
            "policy.limits.request_line_bytes",
            "it is at most request_head_bytes, since a head holds its first line",
        ),
        false => Ok(()),
    }
}

fn check_count(path: &str, networks: usize) -> Result<(), Fault> {
    match networks > MAX_NETWORKS {
        true => fault(
            format!("policy.{path}"),
            format!("there are more than {MAX_NETWORKS}"),
        ),
        false => Ok(()),
    }
}

fn check_request_id(name: Option<&str>) -> Result<(), Fault> {
    match name.is_some_and(|name| !is_field_name(name) || is_reserved_field(name)) {
        true => fault(
            "policy.forwarding.request_id",
            "it is the name of a field that has no other meaning",
        ),
        false => Ok(()),
    }
}
