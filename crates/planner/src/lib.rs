//! The controller's pure decisions: from what was asked, what was decided and what is seen, to what is
//! decided next, and from there to the steps that make the world match.
//!
//! ```text
//!  Intent ─┐
//!  Layout ─┼─▶ plan ─▶ Layout', Report        (Layout' is stored before anything is done)
//!  Sight ──┘
//!  Layout', Sight ─▶ diff ─▶ Effects          (each idempotent; the next round is the retry)
//! ```
//!
//! Nothing here reads a clock, waits, or has an effect. The same arguments give the same answer.

mod addresses;
mod breaker;
mod clock;
mod deaths;
mod departure;
mod diff;
mod draft;
mod events;
mod failover;
mod networks;
mod placement;
mod quorum;
mod removal;
mod report;
mod scaling;
mod settings;
mod traffic;
mod verdict;
mod zone;

#[cfg(test)]
mod samples;

pub use diff::diff;
pub use events::{Told, events};
pub use settings::{Breaker, Settings, Windows};

use draft::Draft;
use model::{Intent, Layout, Observation, Report, Timestamp};

/// Everything that a plan rests on.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// What the operator set.
    pub settings: &'a Settings,
    /// What users asked for.
    pub intent: &'a Intent,
    /// What is seen of the world. Must be complete: what it does not show does not exist.
    pub observed: &'a Observation,
    /// The host's clock.
    pub now: Timestamp,
}

/// Decides what comes after `layout`.
///
/// Returns the next layout, equal to the given one when there is nothing to decide, and an account of
/// how each instance stands. A plan is a fixed point when the world stands still: planning again from
/// its result with the same inputs gives the same layout.
#[must_use]
pub fn plan(inputs: Inputs<'_>, layout: &Layout) -> (Layout, Report) {
    let mut next = Draft::of(layout);
    clock::follow_the_clock(inputs, &mut next);
    traffic::plan_configs(inputs, &mut next);
    verdict::begin_anew_after_a_restart(inputs, &mut next);
    verdict::judge_vms(inputs, &mut next);
    failover::send_away_the_unborn(inputs, layout, &mut next);
    removal::forget_what_is_gone(inputs, &mut next);
    failover::take_back_what_returned(inputs, &mut next);
    scaling::plan_scale(inputs, &mut next);
    breaker::watch(inputs, &mut next);
    failover::set_aside_what_is_down(inputs, &mut next);
    networks::plan_subnets(inputs, &mut next);
    placement::plan_vms(inputs, &mut next);
    networks::drop_unused_subnets(inputs, &mut next);
    zone::plan_zone(inputs, layout, &mut next);
    departure::part_from_clients(inputs, &mut next);
    let report = report::account(inputs, &next);
    (next.into_layout(layout), report)
}
