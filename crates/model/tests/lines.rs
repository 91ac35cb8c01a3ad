//! The largest messages of the control channel fit in its lines.

use std::net::Ipv4Addr;

use model::{
    BackendHealth, BackendStatus, CircuitState, Counters, Generation, GuestMessage, Heartbeat,
    Latency, MAX_BACKENDS, MAX_LINE_BYTES, PassiveStatus, Quantiles, Refusal,
};

/// Bytes that a check's result in words takes at the most: a backend's status line and 32 expected ranges.
const MOST_WORDS_BYTES: usize = 512;

/// All that a balancer says of one backend, as long as it can be.
fn status() -> BackendStatus {
    BackendStatus {
        address: Ipv4Addr::BROADCAST,
        port: u16::MAX,
        health: BackendHealth::Unknown,
        health_age_ms: u64::MAX,
        last_check: Some("x".repeat(MOST_WORDS_BYTES)),
        last_check_age_ms: Some(u64::MAX),
        requests: u64::MAX,
        errors: u64::MAX,
        active: u64::MAX,
        passive: PassiveStatus {
            ejected_ms: Some(u64::MAX),
            ejections: u64::MAX,
            circuit: CircuitState::HalfOpen,
            circuit_opens: u64::MAX,
        },
    }
}

#[test]
fn a_heartbeat_of_the_most_backends_fits_in_a_line() {
    let heartbeat = Heartbeat {
        sequence: u64::MAX,
        uptime_ms: u64::MAX,
        generation: Some(Generation(u64::MAX)),
        refused: Some(Refusal {
            generation: Generation(u64::MAX),
            path: "x".repeat(MOST_WORDS_BYTES),
            message: "x".repeat(MOST_WORDS_BYTES),
        }),
        progress_age_ms: Some(u64::MAX),
        lag_ms: u64::MAX,
        draining: Some(false),
        deserted_ms: Some(u64::MAX),
        counters: Counters::default(),
        latency: Latency {
            first_byte: Quantiles::default(),
            whole: Quantiles::default(),
        },
        backends: vec![status(); MAX_BACKENDS],
    };
    let line = serde_json::to_vec(&GuestMessage::Heartbeat(heartbeat)).unwrap();
    assert!(line.len() < MAX_LINE_BYTES, "{} bytes", line.len());
}
