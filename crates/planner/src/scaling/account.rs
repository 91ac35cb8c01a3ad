//! The account of an instance's number of VMs: what was decided, from which figures, and by which rule.

use model::{
    Instance, InstanceLayout, Metric, ScaleDecision, ScaleLayout, Scaling, ScalingReport, Timestamp,
};

use super::figures::{Figures, Lack, read_figures};
use super::recent;
use super::{HEADROOM, TOLERANCE, asked_vms, least_vms, roomy_vms, small_change_due, wanted_vms};
use crate::Inputs;

const ENOUGH: &str = "as many as the load asks for";

/// How the number of VMs follows from the load; `None` where the load decides nothing.
pub(crate) fn scaling_report(
    inputs: Inputs<'_>,
    asked: &Instance,
    standing: &InstanceLayout,
) -> Option<ScalingReport> {
    let scaling = asked.auto_scaling.by_load()?;
    let figures = read_figures(inputs, scaling, standing);
    let wanted = wanted_vms(asked, standing);
    let decision = standing.scale.decision.as_ref();
    Some(ScalingReport {
        wanted: u32::try_from(wanted).unwrap_or(u32::MAX),
        decision: decision_in_words(scaling, &standing.scale),
        decided_at: decision.map(|decision| decision.at),
        rule: rule_in_words(scaling, &standing.scale, &figures, inputs.now),
        metrics: figures.reports(),
    })
}

/// Says nothing that changes before the next decision does, or the user's bounds.
pub(crate) fn decision_in_words(scaling: &Scaling, scale: &ScaleLayout) -> String {
    let Scaling { min, max, .. } = *scaling;
    let Some(decision) = &scale.decision else {
        return format!("none yet: {min}, the least");
    };
    let (cause, to) = (&decision.cause, decision.to);
    match to > max {
        true => format!("{cause}: would like {to}, but max is {max}"),
        false => format!("{cause}: {} → {to}", decision.from.min(max)),
    }
}

/// Whether a decision is not the one that is known. The next one always begins with the number at which that
/// ended; one of which only the time differs was moved with the clock.
pub(crate) fn is_another(known: Option<&ScaleDecision>, decided: &ScaleDecision) -> bool {
    known.is_none_or(|known| (known.from, known.to) != (decided.from, decided.to))
}

/// Why there are not more VMs, or fewer, at present.
fn rule_in_words(
    scaling: &Scaling,
    scale: &ScaleLayout,
    figures: &Figures,
    now: Timestamp,
) -> String {
    let wish = scale.wish.max(scaling.min);
    let least = least_vms(figures.newest_need());
    if figures.is_empty() {
        return match scale.wish {
            0 => format!("no figures yet: {wish}, the least"),
            _ => format!("no figures: {} until there are", wish.min(scaling.max)),
        };
    }
    if least > wish {
        return format!("{least} are asked for, and one more sample is awaited");
    }
    if wish > scaling.max {
        return format!("would like {wish}, but max is {}", scaling.max);
    }
    if wish == scaling.min {
        let asked = asked_vms(figures.need());
        return match asked < wish {
            true => format!("would be {asked}, but min is {wish}"),
            false => ENOUGH.into(),
        };
    }
    let changed = scale.decision.as_ref().map(|decision| decision.at);
    match figures.lack(changed, now) {
        Some(lack) => format!("not fewer: {}", lack_in_words(lack)),
        None => why_not_fewer(scaling, scale, figures),
    }
}

fn lack_in_words(lack: Lack) -> String {
    match lack {
        Lack::Starting(vm) => format!("VM {vm} is starting"),
        Lack::Figures(vm, metric) => {
            let metric = match metric {
                Metric::Cpu => "cpu",
                Metric::Connections => "connections",
                Metric::Requests => "requests",
            };
            format!("VM {vm} has no fresh figures of {metric}")
        }
        Lack::Down => "a VM is down, and its clients have to find the others".into(),
        Lack::Moving => "clients are on the move after the last change".into(),
        Lack::Vms => "there is no VM".into(),
    }
}

/// What holds back a smaller number of VMs that are all known to have little to do.
fn why_not_fewer(scaling: &Scaling, scale: &ScaleLayout, figures: &Figures) -> String {
    let asked = asked_vms(figures.need()).max(scaling.min);
    let fewer = roomy_vms(figures.need()).max(asked);
    if asked < scale.wish && scale.wish <= fewer {
        return held_by_headroom(asked, scale.wish, figures.need());
    }
    if fewer >= scale.wish {
        return ENOUGH.into();
    }
    if let Some(end) = recent::end_of_more_than(scale, fewer, scaling.scale_in_window_ms) {
        let end = time_of_day(end);
        return format!("would be {fewer}, held by the scale-in window until {end} UTC");
    }
    match small_change_due(scale, fewer) {
        Some(due) => format!(
            "would be {fewer}, and so small a change waits until {} UTC, an hour after the last",
            time_of_day(due)
        ),
        None => ENOUGH.into(),
    }
}

fn held_by_headroom(least: u32, wish: u32, need: f64) -> String {
    let fewer = wish.saturating_sub(1).max(1);
    let percent = 100.0 * need / f64::from(fewer);
    let most = 100.0 * TOLERANCE / HEADROOM;
    format!(
        "{least} would do, but a VM goes only when the others would have at most {most:.0} % of their \
         target, and {fewer} would have {percent:.0} %"
    )
}

/// `17:51:32`.
fn time_of_day(time: Timestamp) -> String {
    let seconds = time.0 / 1_000;
    let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
}
