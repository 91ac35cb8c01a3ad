//! One load balancer as its user asked for it.

use serde::{Deserialize, Serialize};

/// What an instance balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrafficType {
    /// HTTP/1.1 requests.
    Http,
    /// TCP connections.
    Tcp,
}
