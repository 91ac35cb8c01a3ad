//! What the host and users send: read without a panic, and what was read is what is stored.

use model::forms::read_request;
use model::{BalancerConfig, HostMessage};

/// Checks any bytes.
pub fn check(data: &[u8]) {
    if let Ok(config) = serde_json::from_slice::<BalancerConfig>(data) {
        let stored = serde_json::to_vec(&config).expect("a configuration can be written");
        let again: BalancerConfig = serde_json::from_slice(&stored).expect("and read again");
        assert_eq!(config, again);
        let _ = balancer::control::validate(&config);
    }
    let _ = serde_json::from_slice::<HostMessage>(data);
    let _ = read_request(data);
}
