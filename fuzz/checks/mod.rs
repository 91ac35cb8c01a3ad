//! What must hold of any bytes, whoever makes them up: the fuzzer, or a test that replays what it found
//! worth keeping. Each check panics when it does not hold.

#![expect(
    clippy::indexing_slicing,
    reason = "a check that is wrong about its own input may panic"
)]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each fuzz target uses one of the checks"
)]

pub mod chunked_body;
pub mod collectd_packet;
pub mod configuration;
pub mod exchange;
mod peers;
pub mod proxy_header;
pub mod request_head;
pub mod response_head;
pub mod stored_cells;
