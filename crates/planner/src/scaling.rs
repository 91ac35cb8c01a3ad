//! How many VMs the load asks for: target tracking, fast out and slow in.
//!
//! Each metric with a target asks for so many VMs that each would carry the target: the sum over all VMs,
//! divided by the target. The metric that asks for most counts. Since it is the sum that counts, VMs that
//! start, or are in DNS and not yet known to clients, change nothing: the load that they will carry is in the
//! sum already, so it is not asked for twice.
//!
//! ```text
//!        more than 110 % of the target for each VM, in two samples
//!   n ─────────────────────────────────────────────────────────────▶ ⌈sum / target⌉
//!   n ─────────────────────────────────────────────────────────────▶ the most that was asked for within
//!        fewer were asked for within the whole scale-in window,      the window
//!        and would do if the load grew by half
//! ```
//!
//! Up goes by each VM's newest sample, so that two of them are enough however far the load rose; down goes by the
//! means over a few, in which a second that stands out keeps no VM.
//!
//! Target tracking, the tolerance of 10 %, and going down only to the most that was asked for within a
//! window are those of Kubernetes' HorizontalPodAutoscaler
//! (<https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details>), where
//! the window is `stabilizationWindowSeconds`. Three rules are added.
//!
//! - More are made only when a second sample of each VM agrees: figures of two VMs, one taken before and one
//!   after clients moved from one to the other, count these clients twice, and do so once.
//! - The number falls only where the load could grow by half. A load that varies by up to 20 % either way
//!   around its mean is at its most half as large again as at its least (1.2 / 0.8). So once it has sent a VM
//!   away, it never asks for it again, however slowly it varies, and the number comes to rest.
//! - Of many VMs, fewer than one in eight go only when nothing has changed for an hour. What is left of such a
//!   load's way to rest, between 1.2 times its mean and 1.2 / 1.1 times, is about that much.
//!
//! What is not known never sends a VM away: a round in which a VM is starting, or has no figures that are
//! fresh, or clients are on the move because VMs came, went or died, says that all VMs are needed. Nor does it
//! ask for more: a VM without figures counts as one without load.

mod account;
mod figures;
mod recent;

pub(crate) use account::{decision_in_words, is_another, scaling_report};
pub(crate) use recent::{bear_what_lies_ahead, lies_ahead, times};

use std::sync::Arc;

use model::{Instance, InstanceLayout, ScaleDecision, ScaleLayout, Scaling, Timestamp};

use crate::Inputs;
use crate::draft::Draft;
use figures::{Figures, read_figures};

/// The most that a VM carries, in relation to its target, before more are asked for.
const TOLERANCE: f64 = 1.1;
/// How far the load can grow, in relation to what it is, before a VM that was sent away is missed.
const HEADROOM: f64 = 1.5;
/// Of fewer VMs than one in so many, the going waits until nothing has changed for [`SMALL_CHANGE_MS`].
const SMALL_PART: u32 = 8;
/// An hour.
const SMALL_CHANGE_MS: u64 = 3_600_000;
/// A load that asks for more for this long needs no second sample.
const LONGEST_DOUBT_MS: u64 = 3_000;
/// The most VMs that a load is said to ask for.
const MOST_WISHED: u32 = 999;

/// Decides how many VMs each instance's load asks for.
pub(crate) fn plan_scale(inputs: Inputs<'_>, layout: &mut Draft) {
    for (id, standing) in &mut layout.instances {
        let Some(asked) = inputs.intent.instances.get(id) else {
            continue;
        };
        match asked.auto_scaling.by_load() {
            None if standing.scale == ScaleLayout::default() => {}
            None => Arc::make_mut(standing).scale = ScaleLayout::default(),
            Some(scaling) => {
                let figures = read_figures(inputs, scaling, standing);
                let mut scale = standing.scale.clone();
                decide_scale(scaling, &figures, &mut scale, inputs.now);
                if standing.scale != scale {
                    Arc::make_mut(standing).scale = scale;
                }
            }
        }
    }
}

/// How many VMs an instance is to have: what the load asks for, within the user's bounds.
pub(crate) fn wanted_vms(asked: &Instance, standing: &InstanceLayout) -> usize {
    let bounds = asked.auto_scaling;
    let wanted = standing.scale.wish.max(bounds.min()).min(bounds.max());
    usize::try_from(wanted).unwrap_or(usize::MAX)
}

/// Decides for one instance. The number of VMs is always decided without the user's most in mind, so
/// that what is said to be missing comes to rest as well.
fn decide_scale(scaling: &Scaling, figures: &Figures, scale: &mut ScaleLayout, now: Timestamp) {
    rise(scaling, figures, scale, now);
    if scale.wish > scaling.min {
        fall(scaling, figures, scale, now);
    }
    if scale.wish <= scaling.min {
        scale.wish = 0;
        scale.enough = 0;
        scale.peaks.clear();
    }
}

/// Goes up to what is asked for, where that was asked for twice.
fn rise(scaling: &Scaling, figures: &Figures, scale: &mut ScaleLayout, now: Timestamp) {
    let standing = scale.wish.max(scaling.min);
    if least_vms(figures.newest_need()) <= standing {
        scale.rising = None;
    } else if is_confirmed(figures, scale, now) {
        let wish = asked_vms(figures.newest_need());
        change(scale, standing, wish, figures.newest_cause(), now);
    }
}

/// Goes down to what the whole window needed, where that is less than what stands.
fn fall(scaling: &Scaling, figures: &Figures, scale: &mut ScaleLayout, now: Timestamp) {
    let (standing, window_ms) = (scale.wish, scaling.scale_in_window_ms);
    let changed = scale.decision.as_ref().map(|decision| decision.at);
    let needed = match figures.lack(changed, now) {
        Some(_) => standing,
        None => asked_vms(figures.need()).min(standing),
    };
    recent::remember(scale, needed, window_ms, now);
    let fewer = recent::most(scale)
        .max(roomy_vms(figures.need()))
        .max(scaling.min);
    if fewer < standing && small_change_due(scale, fewer).is_none_or(|due| due <= now) {
        let window_s = window_ms / 1_000;
        let cause = format!(
            "{}, and no more were needed for {window_s} s",
            figures.cause()
        );
        change(scale, standing, fewer, cause, now);
    }
}

/// When the next change may be made that is so small, where it has to wait.
fn small_change_due(scale: &ScaleLayout, fewer: u32) -> Option<Timestamp> {
    let gone = scale.wish.saturating_sub(fewer);
    let last = scale.decision.as_ref()?.at;
    let is_small = gone.saturating_mul(SMALL_PART) < scale.wish;
    is_small.then_some(Timestamp(last.0.saturating_add(SMALL_CHANGE_MS)))
}

/// The window begins anew.
fn change(scale: &mut ScaleLayout, from: u32, to: u32, cause: String, now: Timestamp) {
    scale.wish = to;
    scale.enough = to;
    scale.peaks.clear();
    scale.rising = None;
    scale.decision = Some(ScaleDecision {
        at: now,
        from,
        to,
        cause,
    });
}

/// Whether the load has asked for more in two samples. The first is written down.
fn is_confirmed(figures: &Figures, scale: &mut ScaleLayout, now: Timestamp) -> bool {
    let since = *scale.rising.get_or_insert(now);
    now.since_ms(since) > figures.oldest_ms() || now.since_ms(since) >= LONGEST_DOUBT_MS
}

/// The fewest VMs of which none carries more than its target.
fn asked_vms(need: f64) -> u32 {
    enough_vms(need, 1.0)
}

/// The fewest VMs with which each is within the tolerance.
fn least_vms(need: f64) -> u32 {
    enough_vms(need, TOLERANCE)
}

/// The fewest VMs with which each still is when the load has grown as far as it may.
fn roomy_vms(need: f64) -> u32 {
    enough_vms(need * HEADROOM, TOLERANCE)
}

/// The fewest VMs, at least one, of which each carries at most `share` of its target.
fn enough_vms(need: f64, share: f64) -> u32 {
    /// A sum that is a whole number but for the error of its addition is that number.
    const ROUNDING: f64 = 1e-9;
    let vms = (need / share - ROUNDING).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 1 and the bound"
    )]
    let vms = vms.clamp(1.0, f64::from(MOST_WISHED)) as u32;
    vms
}

#[cfg(test)]
mod tests;
