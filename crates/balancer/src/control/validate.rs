//! Whether a configuration can be taken: whole, or not at all.

use std::fmt::Display;
use std::net::Ipv4Addr;

use model::{BackendConfig, BalancerConfig, HealthCheck, Refusal, Timeouts};

use crate::http::grammar::is_target;

/// The most backends.
const BACKENDS: usize = 4096;
/// The largest weight.
const WEIGHT: u16 = 256;
/// Bytes of a health check's path.
const PATH_BYTES: usize = 2048;
/// The longest wait, in milliseconds: a day.
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
    if config.backends.len() > BACKENDS {
        return fault("backends", format!("there are more than {BACKENDS}"));
    }
    for (position, backend) in config.backends.iter().enumerate() {
        check_backend(position, backend)?;
    }
    check_health_check(&config.health_check)?;
    check_timeouts(&config.timeouts)
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
    if backend.weight > WEIGHT {
        return fault(path("weight"), format!("a weight is 0 to {WEIGHT}"));
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

fn check_timeouts(timeouts: &Timeouts) -> Result<(), Fault> {
    for (field, wait_ms) in [
        ("connect_ms", timeouts.connect_ms),
        ("request_head_ms", timeouts.request_head_ms),
        ("response_ms", timeouts.response_ms),
        ("keep_alive_ms", timeouts.keep_alive_ms),
        ("idle_ms", timeouts.idle_ms),
    ] {
        check_wait(format!("timeouts.{field}"), wait_ms)?;
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
mod tests {
    use super::*;
    use model::{Criteria, Generation, HealthProtocol, Policy, TrafficType};

    fn sound() -> BalancerConfig {
        BalancerConfig {
            generation: Generation(7),
            instance: "web".to_owned(),
            traffic: TrafficType::Http,
            port: 80,
            backends: vec![BackendConfig {
                address: Ipv4Addr::new(1, 1, 1, 10),
                port: 8080,
                weight: 1,
                backup: false,
                max_connections: None,
            }],
            health_check: HealthCheck {
                protocol: HealthProtocol::Http,
                port: None,
                request_path: "/".to_owned(),
                host: None,
                expected_status: Vec::new(),
                expected_body: None,
                criteria: Criteria::default(),
            },
            timeouts: Timeouts::default(),
            policy: Policy::default(),
        }
    }

    #[test]
    fn a_sound_configuration_is_taken() {
        assert_eq!(validate(&sound()), Ok(()));
    }

    #[test]
    fn a_refusal_names_the_generation_and_the_field() {
        type Spoil = fn(&mut BalancerConfig);
        let cases: [(&str, Spoil); 10] = [
            ("port", |c| c.port = 0),
            ("backends[0].port", |c| c.backends[0].port = 0),
            ("backends[0].weight", |c| c.backends[0].weight = 257),
            ("backends[0].address", |c| {
                c.backends[0].address = Ipv4Addr::UNSPECIFIED;
            }),
            ("health_check.port", |c| c.health_check.port = Some(0)),
            ("health_check.request_path", |c| {
                c.health_check.request_path = "/a b".to_owned();
            }),
            ("health_check.criteria.health_threshold", |c| {
                c.health_check.criteria.health_threshold = 0;
            }),
            ("health_check.criteria.interval_ms", |c| {
                c.health_check.criteria.interval_ms = 0;
            }),
            ("timeouts.connect_ms", |c| c.timeouts.connect_ms = 0),
            ("timeouts.idle_ms", |c| c.timeouts.idle_ms = u64::MAX),
        ];
        for (path, spoil) in cases {
            let mut config = sound();
            spoil(&mut config);
            let refusal = validate(&config).unwrap_err();
            assert_eq!((refusal.generation, &*refusal.path), (Generation(7), path));
        }
    }
}
