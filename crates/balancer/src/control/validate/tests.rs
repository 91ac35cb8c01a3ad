//! What a balancer refuses.

use super::*;
use model::{
    Algorithm, CircuitBreaker, Criteria, Generation, HashKey, HealthProtocol, OutlierEjection,
    Policy, StatusRange, Timeouts, TrafficType,
};

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
        checker: None,
    }
}

#[test]
fn a_sound_configuration_is_taken() {
    assert_eq!(validate(&sound()), Ok(()));
}

#[test]
fn a_refusal_names_the_generation_and_the_field() {
    type Spoil = fn(&mut BalancerConfig);
    let cases: [(&str, Spoil); 26] = [
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
        ("timeouts.total_ms", |c| c.timeouts.total_ms = Some(0)),
        ("backends[0].max_connections", |c| {
            c.backends[0].max_connections = Some(0);
        }),
        ("health_check.host", |c| {
            c.health_check.host = Some("a\r\nb".to_owned());
        }),
        ("health_check.expected_status[1]", |c| {
            let range = |from, to| StatusRange { from, to };
            c.health_check.expected_status = vec![range(200, 200), range(300, 299)];
        }),
        ("health_check.expected_body", |c| {
            c.health_check.expected_body = Some(String::new());
        }),
        ("policy.algorithm.key", |c| {
            let key = HashKey::Header("a b".to_owned());
            c.policy.algorithm = Algorithm::Maglev { key };
        }),
        ("policy.drain_ms", |c| c.policy.drain_ms = u64::MAX),
        ("policy.queue.length", |c| c.policy.queue.length = u32::MAX),
        ("policy.queue.timeout_ms", |c| c.policy.queue.timeout_ms = 0),
        ("policy.outlier_ejection.max_ejected_percent", |c| {
            c.policy.outlier_ejection = Some(OutlierEjection {
                max_ejected_percent: 101,
                ..OutlierEjection::default()
            });
        }),
        ("policy.circuit_breaker.window_ms", |c| {
            c.policy.circuit_breaker = Some(CircuitBreaker {
                window_ms: 0,
                ..CircuitBreaker::default()
            });
        }),
        ("policy.retry.attempts", |c| c.policy.retry.attempts = 0),
        ("policy.limits.connections", |c| {
            c.policy.limits.connections = Some(0);
        }),
        ("policy.limits.request_line_bytes", |c| {
            c.policy.limits.request_head_bytes = 256;
        }),
        ("policy.allowed_clients", |c| {
            c.policy.allowed_clients = vec!["10.0.0.0/8".parse().unwrap(); 257];
        }),
        ("policy.forwarding.request_id", |c| {
            c.policy.forwarding.request_id = Some("Content-Length".to_owned());
        }),
    ];
    for (path, spoil) in cases {
        let mut config = sound();
        spoil(&mut config);
        let refusal = validate(&config).unwrap_err();
        assert_eq!((refusal.generation, &*refusal.path), (Generation(7), path));
    }
}
