//! Whether a configuration can be taken: whole, or not at all.

use std::fmt::Display;
use std::net::Ipv4Addr;

use model::http_text::is_host;
use model::numbers::{MAX_CONNECTIONS, Number, TIMEOUTS};
use model::{
    BackendConfig, BalancerConfig, HealthCheck, MAX_BACKENDS, MAX_EXPECTED_BODY_BYTES, MAX_STATUS,
    MAX_STATUS_RANGES, MAX_WEIGHT, MIN_STATUS, Refusal,
};

use crate::http::grammar::is_target;

mod policy;

/// Bytes of a health check's path.
const PATH_BYTES: usize = 2048;
/// The longest wait between two checks, in milliseconds: a day.
const LONGEST_MS: u64 = 86_400_000;

/// Finds the first field that is wrong.
///
/// # Errors
/// That field's path, and what is wrong with it.
pub fn validate(config: &BalancerConfig) -> Result<(), Refusal> {
    first_fault(config).map_err(|(path, message)| Refusal {
        generation: config.generation,
        path,
        message,
    })
}

type Fault = (String, String);

fn fault<T>(path: impl Display, message: impl Display) -> Result<T, Fault> {
    Err((path.to_string(), message.to_string()))
}

fn first_fault(config: &BalancerConfig) -> Result<(), Fault> {
    check_port("port", config.port)?;
    if config.backends.len() > MAX_BACKENDS {
        return fault("backends", format!("there are more than {MAX_BACKENDS}"));
    }
    for (position, backend) in config.backends.iter().enumerate() {
        check_backend(position, backend)?;
    }
    check_health_check(&config.health_check)?;
    check_numbers("timeouts", &TIMEOUTS, &config.timeouts)?;
    policy::check(&config.policy)
}

/// Every number of an object is within the bounds that its table gives.
fn check_numbers<T: Clone>(path: &str, table: &[Number<T>], of: &T) -> Result<(), Fault> {
    for number in table {
        let (min, max) = (number.min, number.max);
        if number
            .value(of)
            .is_some_and(|value| !(min..=max).contains(&value))
        {
            let path = format!("{path}.{}", number.kept_name());
            return fault(path, format!("it is {min} to {max}"));
        }
    }
    Ok(())
}

fn check_port(path: impl Display, port: u16) -> Result<(), Fault> {
    if port == 0 {
        return fault(path, "a port is 1 to 65535");
    }
    Ok(())
}

fn check_backend(position: usize, backend: &BackendConfig) -> Result<(), Fault> {
    let path = |field| format!("backends[{position}].{field}");
    let address = backend.address;
    if address.is_unspecified() || address.is_multicast() || address == Ipv4Addr::BROADCAST {
        return fault(path("address"), format!("{address} is no server's address"));
    }
    if backend.weight > MAX_WEIGHT {
        return fault(path("weight"), format!("a weight is 0 to {MAX_WEIGHT}"));
    }
    let bounds = 1..=MAX_CONNECTIONS;
    if backend
        .max_connections
        .is_some_and(|bound| !bounds.contains(&u64::from(bound)))
    {
        return fault(
            path("max_connections"),
            format!("it is 1 to {MAX_CONNECTIONS}, or absent"),
        );
    }
    check_port(path("port"), backend.port)
}

fn check_health_check(check: &HealthCheck) -> Result<(), Fault> {
    if let Some(port) = check.port {
        check_port("health_check.port", port)?;
    }
    let path = check.request_path.as_bytes();
    if !path.starts_with(b"/") || path.len() > PATH_BYTES || !path.iter().all(|&b| is_target(b)) {
        return fault(
            "health_check.request_path",
            format!("a path begins with `/`, has at most {PATH_BYTES} bytes and no spaces"),
        );
    }
    check_question(check)?;
    let criteria = &check.criteria;
    for (field, threshold) in [
        ("health_threshold", criteria.health_threshold),
        ("unhealth_threshold", criteria.unhealth_threshold),
    ] {
        if threshold == 0 {
            let path = format!("health_check.criteria.{field}");
            return fault(path, "a threshold is at least 1");
        }
    }
    check_wait("health_check.criteria.interval_ms", criteria.interval_ms)?;
    check_wait("health_check.criteria.timeout_ms", criteria.timeout_ms)
}

/// What an HTTP check asks with, and which answers it expects.
fn check_question(check: &HealthCheck) -> Result<(), Fault> {
    if check.host.as_deref().is_some_and(|host| !is_host(host)) {
        return fault(
            "health_check.host",
            "it is a host name or address with or without a port",
        );
    }
    if check.expected_status.len() > MAX_STATUS_RANGES {
        let message = format!("there are more than {MAX_STATUS_RANGES} ranges");
        return fault("health_check.expected_status", message);
    }
    for (position, range) in check.expected_status.iter().enumerate() {
        if range.from < MIN_STATUS || range.to > MAX_STATUS || range.from > range.to {
            return fault(
                format!("health_check.expected_status[{position}]"),
                format!("a range is within {MIN_STATUS} to {MAX_STATUS}, the smaller end first"),
            );
        }
    }
    let length = check.expected_body.as_ref().map(String::len);
    if length.is_some_and(|length| !(1..=MAX_EXPECTED_BODY_BYTES).contains(&length)) {
        return fault(
            "health_check.expected_body",
            format!("it has 1 to {MAX_EXPECTED_BODY_BYTES} bytes, or is absent"),
        );
    }
    Ok(())
}

fn check_wait(path: impl Display, wait_ms: u64) -> Result<(), Fault> {
    if wait_ms == 0 || wait_ms > LONGEST_MS {
        return fault(path, format!("a wait is 1 to {LONGEST_MS} milliseconds"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
