//! The most VMs that were needed within a window, in bounded memory and few writes.
//!
//! The usual queue of a sliding maximum: only numbers larger than all that came later are kept, so there are
//! never more than there are numbers. The number that holds at present carries no time, and one that comes
//! and goes is written down once in a twentieth of the window: a steady load writes nothing.

use model::{ScaleLayout, ScalePeak, Scaling, Timestamp};

/// Writes in a window, at the most, for one number that comes and goes.
const GRAINS: u64 = 20;

/// Takes note that so many VMs are needed now.
pub(super) fn remember(scale: &mut ScaleLayout, needed: u32, window_ms: u64, now: Timestamp) {
    scale
        .peaks
        .retain(|peak| now.since_ms(peak.until) < window_ms);
    if needed > scale.enough {
        let is_known = |peak: &ScalePeak| peak.vms >= needed && peak.until >= now;
        if !scale.peaks.iter().any(is_known) {
            scale.peaks.retain(|peak| peak.vms > needed);
            scale.enough = needed;
        }
    } else if needed < scale.enough {
        // A larger number that counts as needed for longer stands for this one as well.
        if scale.peaks.last().is_none_or(|peak| peak.until < now) {
            scale.peaks.push(ScalePeak {
                vms: scale.enough,
                until: after_grain(now, window_ms),
            });
        }
        scale.enough = needed;
    }
}

/// The most VMs that were needed within the window.
pub(super) fn most(scale: &ScaleLayout) -> u32 {
    let peak = scale.peaks.first().map_or(0, |peak| peak.vms);
    peak.max(scale.enough)
}

/// When the window ends in which more than `vms` were needed, though fewer are enough by now.
pub(super) fn end_of_more_than(scale: &ScaleLayout, vms: u32, window_ms: u64) -> Option<Timestamp> {
    let mut larger = scale.peaks.iter().rev().filter(|peak| peak.vms > vms);
    let last = larger.next()?;
    Some(Timestamp(last.until.0.saturating_add(window_ms)))
}

/// Every time in what the load asks for.
pub(crate) fn times(scale: &mut ScaleLayout) -> impl Iterator<Item = &mut Timestamp> {
    let peaks = scale.peaks.iter_mut().map(|peak| &mut peak.until);
    let decision = scale.decision.as_mut().map(|decision| &mut decision.at);
    peaks.chain(&mut scale.rising).chain(decision)
}

/// Whether there is such a time as [`bear_what_lies_ahead`] brings to the present.
pub(crate) fn lies_ahead(scaling: &Scaling, scale: &ScaleLayout, now: Timestamp) -> bool {
    let longest = after_grain(now, scaling.scale_in_window_ms);
    let decided = scale.decision.as_ref().map(|decision| decision.at);
    scale.peaks.iter().any(|peak| peak.until > longest)
        || scale.rising.is_some_and(|since| since > now)
        || decided.is_some_and(|at| at > now)
}

/// Brings times that lie ahead of the clock, because it was set back, to the present.
pub(crate) fn bear_what_lies_ahead(scaling: &Scaling, scale: &mut ScaleLayout, now: Timestamp) {
    let longest = after_grain(now, scaling.scale_in_window_ms);
    for peak in &mut scale.peaks {
        peak.until = peak.until.min(longest);
    }
    if let Some(since) = &mut scale.rising {
        *since = now.min(*since);
    }
    if let Some(decision) = &mut scale.decision {
        decision.at = now.min(decision.at);
    }
}

/// Until when a number counts as needed that is needed no more.
fn after_grain(now: Timestamp, window_ms: u64) -> Timestamp {
    Timestamp(now.0.saturating_add(window_ms / GRAINS))
}
