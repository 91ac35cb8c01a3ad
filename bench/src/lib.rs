//! What the measurements share: where they happen, how clients ask, when things happened, and how figures are told.

pub mod client;
pub mod crowd;
pub mod curves;
pub mod events;
pub mod figures;
pub mod own_network;
pub mod processes;
pub mod scene;
pub mod signals;
pub mod spread;
pub mod strike;
