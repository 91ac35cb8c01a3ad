//! The nouns of Evenkeel: what users ask for, what is decided, what is seen.
//!
//! Everything here is plain data. Constructors validate; nothing has an effect, reads a clock or waits.

mod addresses;
mod channel;
mod health_check;
mod ids;
mod instance;
mod observation;

pub use addresses::{Mac, MacError};
pub use channel::{
    BackendConfig, BackendHealth, BackendStatus, BalancerConfig, Boot, BootNic, Counters,
    GuestMessage, Heartbeat, HostMessage, MAX_LINE_BYTES, Refusal, Timeouts,
};
pub use health_check::{Criteria, HealthCheck, HealthProtocol};
pub use ids::{Generation, InstallationId, InstanceId, ProjectId, SubnetId, Timestamp, VmId};
pub use instance::TrafficType;
pub use observation::{
    Driver, Failure, HeartbeatSight, NetworkSight, Observation, ProbeSight, ProjectSight,
    ResolvedName, VmSight,
};
