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
//! Both can be asked about a part of everything ([`Scope`]), and then cost what the part costs: what they need to
//! know of the rest is counted and kept with the layout ([`Standing`]).
//!
//! Nothing here reads a clock, waits, or has an effect. The same arguments give the same answer.

mod addresses;
mod breaker;
mod clock;
mod counts;
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
mod scope;
mod settings;
mod standing;
mod traffic;
mod turns;
mod verdict;
mod zone;

#[cfg(test)]
mod samples;

pub use diff::diff;
pub use events::{Told, events};
pub use scope::{Part, Scope};
pub use settings::{Breaker, Settings, Windows};
pub use standing::Standing;
pub use turns::Known;

use draft::Draft;
use model::{Intent, Observation, Timestamp};

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

/// What a plan came to.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What stands when the plan is kept. Equal to what stood before when there is nothing to decide.
    pub standing: Standing,
    /// What the plan was about: at least what was asked for.
    pub scope: Scope,
    /// Whose layout changed, where anything did.
    pub changed: Option<Part>,
}

/// Decides what comes after `before`, of what is in the scope.
///
/// A plan is a fixed point when the world stands still: planning again from what it came to, with the same
/// inputs, decides the same.
#[must_use]
pub fn plan(inputs: Inputs<'_>, before: &Standing, scope: &Scope) -> Planned {
    let mut next = Draft::of(inputs, before, &before.widened(inputs, scope));
    clock::follow_the_clock(inputs, &mut next);
    traffic::plan_configs(inputs, &mut next);
    next.count_what_is_asked(inputs, before.layout());
    verdict::begin_anew_after_a_restart(inputs, &mut next);
    verdict::judge_vms(inputs, &mut next);
    failover::send_away_the_unborn(inputs, before.layout(), &mut next);
    removal::forget_what_is_gone(inputs, &mut next);
    failover::take_back_what_returned(inputs, &mut next);
    scaling::plan_scale(inputs, &mut next);
    next.count_what_is_wanted(inputs);
    breaker::watch(inputs, &mut next);
    if next.host.breaker_open_since.is_some() && !next.is_whole {
        // More may be down than were looked at, and while it is open everything is.
        return plan(inputs, before, &Scope::All);
    }
    failover::set_aside_what_is_down(inputs, &mut next);
    networks::plan_subnets(inputs, &mut next);
    placement::plan_vms(inputs, &mut next);
    next.count_vms();
    networks::drop_unused_subnets(inputs, &mut next);
    zone::plan_zone(inputs, before, &mut next);
    next.count_what_is_named();
    departure::part_from_clients(inputs, &mut next);
    let scope = next.scope();
    let standing = Standing::decided(inputs, before, next);
    Planned {
        changed: standing.changed_since(before),
        standing,
        scope,
    }
}
