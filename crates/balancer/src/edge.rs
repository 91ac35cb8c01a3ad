//! What the hot path asks of a policy with every connection and request, worked out once for each
//! configuration: what is off costs the test of one flag.

use model::Policy;

use crate::http::head::{HEAD_BYTES_AT_MOST, HeadBounds};

/// The client's side of a policy.
#[derive(Clone, Debug)]
pub struct Edge {
    /// How large a request's head may be.
    pub head_bounds: HeadBounds,
    /// How large a request's body may be; `u64::MAX` for any.
    pub body_bytes: u64,
    /// Bytes in a second at the least for a client that is waited for; 0 for no bound.
    pub client_rate: u32,
}

impl Edge {
    /// Works it out.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let limits = &policy.limits;
        let within = |bytes: u32| (bytes as usize).min(HEAD_BYTES_AT_MOST);
        Self {
            head_bounds: HeadBounds {
                line: within(limits.request_line_bytes),
                head: within(limits.request_head_bytes),
            },
            body_bytes: limits.request_body_bytes.unwrap_or(u64::MAX),
            client_rate: limits.min_client_rate,
        }
    }
}
