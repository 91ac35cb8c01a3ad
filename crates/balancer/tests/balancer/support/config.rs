//! Configurations.

use std::net::SocketAddrV4;

use model::{
    BackendConfig, BalancerConfig, Criteria, Generation, HealthCheck, HealthProtocol, Policy,
    Timeouts, TrafficType,
};

/// Balances HTTP on port 80 over the backends, which are checked every 50 ms.
pub fn http_config(generation: u64, backends: &[SocketAddrV4]) -> BalancerConfig {
    config(
        generation,
        backends,
        TrafficType::Http,
        HealthProtocol::Http,
    )
}

/// Balances TCP on port 80 over the backends, which are checked every 50 ms.
pub fn tcp_config(generation: u64, backends: &[SocketAddrV4]) -> BalancerConfig {
    config(generation, backends, TrafficType::Tcp, HealthProtocol::Tcp)
}

fn config(
    generation: u64,
    backends: &[SocketAddrV4],
    traffic: TrafficType,
    protocol: HealthProtocol,
) -> BalancerConfig {
    BalancerConfig {
        generation: Generation(generation),
        instance: "web".to_owned(),
        traffic,
        port: 80,
        backends: backends
            .iter()
            .map(|address| BackendConfig {
                address: *address.ip(),
                port: address.port(),
                weight: 1,
                backup: false,
                max_connections: None,
            })
            .collect(),
        health_check: HealthCheck {
            protocol,
            port: None,
            request_path: "/health".to_owned(),
            host: None,
            expected_status: Vec::new(),
            expected_body: None,
            criteria: Criteria {
                interval_ms: 50,
                timeout_ms: 2_000,
                health_threshold: 1,
                unhealth_threshold: 1,
            },
        },
        timeouts: Timeouts::default(),
        policy: Policy::default(),
        checker: None,
    }
}
