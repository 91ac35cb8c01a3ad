//! What the measurements share: how a client asks, and how figures are told.

pub mod client;
pub mod figures;
