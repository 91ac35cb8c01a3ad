//! What the measurements share: where they happen, how clients ask, when things happened, and how figures are told.

pub mod client;
pub mod crowd;
pub mod events;
pub mod figures;
pub mod scene;
