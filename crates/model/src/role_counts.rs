//! What roles count of their own work, as they tell it through the status store.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What a controller did since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControllerCounts {
    /// When it began.
    pub began_at: Option<Timestamp>,
    /// Rounds of the loop.
    pub rounds: u64,
    /// Those that failed.
    pub failed_rounds: u64,
    /// Effects that were begun.
    pub effects: u64,
    /// Those that failed; each is tried again.
    pub failed_effects: u64,
    /// When the last round that did not fail ended.
    pub last_round_at: Option<Timestamp>,
}

/// What a checker asked since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckerCounts {
    /// Questions that were answered.
    pub answered: u64,
    /// Questions that were not, or not in time.
    pub failed: u64,
    /// Questions without an answer to VMs that were set aside, of which none is expected: not in `failed`.
    pub aside: u64,
    /// Questions that could not be asked, for want of means of its own.
    pub unasked: u64,
}
