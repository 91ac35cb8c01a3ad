//! What the controller counts of its own work, and tells once a second.

use std::time::{Duration, Instant};

use model::{ControllerCounts, Timestamp};
use store::status::CONTROLLER_COUNTS_KEY;
use store::{Store, Transaction};
use tracing::debug;

use super::effects::EffectCounts;

/// Between two tellings.
const TELLING: Duration = Duration::from_secs(1);

/// Counts from nothing when a controller begins.
pub(super) struct Counts {
    status: Store,
    counts: ControllerCounts,
    told_at: Option<Instant>,
}

impl Counts {
    pub(super) fn new(status: Store, now: Timestamp) -> Self {
        Self {
            status,
            counts: ControllerCounts {
                began_at: Some(now),
                ..ControllerCounts::default()
            },
            told_at: None,
        }
    }

    /// Takes note of a round that begins.
    pub(super) fn note_round(&mut self) {
        self.counts.rounds = self.counts.rounds.saturating_add(1);
    }

    /// Takes note of how rounds in a row ended, and tells it where that is due. What cannot be told is told later:
    /// nothing depends on it.
    pub(super) fn note_end(&mut self, failed: bool, effects: EffectCounts, now: Timestamp) {
        let counts = &mut self.counts;
        match failed {
            true => counts.failed_rounds = counts.failed_rounds.saturating_add(1),
            false => counts.last_round_at = Some(now),
        }
        (counts.effects, counts.failed_effects) = (effects.begun, effects.failed);
        if self.told_at.is_some_and(|at| at.elapsed() < TELLING) {
            return;
        }
        self.told_at = Some(Instant::now());
        let told = Transaction::new()
            .put_json(CONTROLLER_COUNTS_KEY, &self.counts)
            .and_then(|put| self.status.commit(put));
        if let Err(error) = told {
            debug!(%error, "the controller's counts cannot be told");
        }
    }
}
