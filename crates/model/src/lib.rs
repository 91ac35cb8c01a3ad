//! The nouns of Evenkeel: what users ask for, what is decided, what is seen.
//!
//! Everything here is plain data. Constructors validate; nothing has an effect, reads a clock or waits.

pub mod access;
mod addresses;
mod backend;
mod channel;
mod effect;
mod event;
mod fence;
mod figure_query;
pub mod figures;
pub mod forms;
mod health_check;
pub mod http_text;
mod ids;
mod instance;
mod intent;
mod layout;
mod newest;
pub mod numbers;
mod observation;
pub mod persistent;
mod policy;
mod project;
mod recent;
mod report;
mod role_counts;
mod scaling;
mod step;
mod termination;

pub use addresses::{Mac, MacError};
pub use backend::{
    Backend, BackendHost, DEFAULT_BACKEND_PORT, DEFAULT_WEIGHT, MAX_BACKENDS, MAX_WEIGHT,
};
pub use channel::{
    BackendConfig, BackendHealth, BackendStatus, BalancerConfig, Boot, BootNic, CLOCK_INTERVAL_MS,
    CLOCK_TOLERANCE_MS, CircuitState, Counters, GuestMessage, Heartbeat, HostMessage, Latency,
    MAX_LINE_BYTES, PassiveStatus, Quantiles, Refusal, STAND_IN_MACS, Timeouts,
};
pub use effect::{Effect, Subject, vm_key};
pub use event::{Event, EventKind};
pub use fence::{CHECKER_MARK, checker_address};
pub use figure_query::{
    By, FigureAnswer, FigureName, FigureQuery, FigureRow, FigureRows, Unanswered,
};
pub use health_check::{
    Criteria, HealthCheck, HealthProtocol, MAX_EXPECTED_BODY_BYTES, MAX_STATUS, MAX_STATUS_RANGES,
    MIN_STATUS, StatusRange,
};
pub use ids::{Generation, InstallationId, InstanceId, ProjectId, SubnetId, Timestamp, VmId};
pub use instance::{AutoScaling, DEFAULT_MAX_VMS, Instance, MAX_VMS, Scaling, TrafficType};
pub use intent::Intent;
pub use layout::{
    Aside, DnsLayout, HostLayout, InstanceLayout, Layout, Leaving, Ledger, NetworkLayout, SetAside,
    SubnetLayout, Verdict, VmLayout, VmShape,
};
pub use newest::{
    BackendCounts, BalancerCounts, InstanceCounts, IntakeCounts, LATENCY_BOUNDS_US, LatencyTotal,
    Newest, VmGauges,
};
pub use observation::{
    Driver, Failure, HeartbeatSight, LoadSample, LoadSight, NetworkSight, NicSight, Observation,
    ProbeSight, ProjectSight, ResolvedName, VmSight,
};
pub use persistent::PersistentMap;
pub use policy::{
    Algorithm, CircuitBreaker, ClientClose, Forwarding, HashKey, Limits, MAX_NETWORKS,
    OutlierEjection, Policy, ProxyProtocol, ProxyVersion, Queue, Retry, contains,
};
pub use project::{Attachment, Project};
pub use recent::RecentMaximum;
pub use report::{BackendReport, Condition, InstanceReport, Report, VmReport, Waiting};
pub use role_counts::{CheckerCounts, ControllerCounts};
pub use scaling::{Metric, MetricReport, ScaleDecision, ScaleLayout, ScalePeak, ScalingReport};
pub use step::STEP;
pub use termination::Termination;
