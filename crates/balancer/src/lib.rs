//! The program that moves the traffic, as a library for its binary, its tests and its fuzz targets.
//!
//! [`http`] and [`tcp`] are plain data. [`forward`] is the hot path and carries out what they decide.
//! [`control`] takes configurations in, builds the next [`snapshot`] and says how things are;
//! [`health`] asks the backends how they are. [`supervisor`] is another process, which starts this one.

pub mod access_log;
pub mod bulk;
pub mod connections;
pub mod control;
pub mod edge;
pub mod forward;
pub mod health;
pub mod http;
pub mod latency;
pub mod line;
pub mod proxy_protocol;
pub mod rehearsal;
pub mod shared;
pub mod snapshot;
pub mod standing;
pub mod statistics;
pub mod supervisor;
pub mod tcp;
