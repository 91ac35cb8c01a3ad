//! Figures of the installation as a whole, and of each role. Pure.

use std::collections::BTreeMap;

use model::Verdict;

use super::family::{Family, Labels};
use super::sources::Sources;

/// All roles that a server plays.
const ROLES: [&str; 5] = ["api", "checker", "controller", "dns", "monitor"];
/// The verdicts over VMs, in words.
const STATES: [(&str, Verdict); 4] = [
    ("down", Verdict::Down),
    ("serving", Verdict::Serving),
    ("starting", Verdict::Starting),
    ("suspect", Verdict::Suspect),
];

/// Figures without a user's name in them.
pub(crate) fn families(sources: &Sources) -> Vec<Family> {
    let mut families = whole(sources);
    families.extend(controller(sources));
    families.push(checkers(sources));
    families.extend(dns(sources));
    families.extend(monitor(sources));
    families
}

fn whole(sources: &Sources) -> Vec<Family> {
    let none = Labels::none;
    let mut up = Family::gauge("evenkeel_up", "Whether the role is at work.");
    for role in ROLES {
        up.add(none().and("role", role), bit(sources.roles.contains(role)));
    }
    let mut vms = Family::gauge("evenkeel_vms", "VMs by the controller's verdict.");
    let all = || sources.reports.values().flat_map(|report| &report.vms);
    for (word, state) in STATES {
        let count = all().filter(|vm| vm.state == state).count();
        vms.add(none().and("state", word), count as f64);
    }
    let version = none().and("version", env!("CARGO_PKG_VERSION"));
    let is_open = sources.host.breaker_open_since.is_some();
    vec![
        Family::gauge("evenkeel_build_info", "The program's version.").with(version, 1.0),
        up,
        one(
            "evenkeel_troubles",
            "What keeps the installation or a role from its work: as many as `evenkeel status` tells.",
            sources.troubles as f64,
        ),
        one(
            "evenkeel_breaker_open",
            "Whether so many VMs are down that none is replaced.",
            bit(is_open),
        ),
        one(
            "evenkeel_projects",
            "Projects.",
            sources.intent.projects.len() as f64,
        ),
        one(
            "evenkeel_instances",
            "Load balancers that users ask for.",
            sources.intent.instances.len() as f64,
        ),
        vms,
        one(
            "evenkeel_checkers",
            "Checkers that are alive and can look.",
            sources.looking as f64,
        ),
    ]
}

fn controller(sources: &Sources) -> Vec<Family> {
    let Some(counts) = &sources.controller else {
        return Vec::new();
    };
    let count = |name, help, count: u64| {
        let family = Family::counter(name, help).since(counts.began_at);
        family.with(Labels::none(), count as f64)
    };
    let mut families = vec![
        count(
            "evenkeel_controller_rounds_total",
            "Rounds of the controller.",
            counts.rounds,
        ),
        count(
            "evenkeel_controller_failed_rounds_total",
            "Rounds of the controller that failed.",
            counts.failed_rounds,
        ),
        count(
            "evenkeel_controller_effects_total",
            "Steps that the controller began to bring the world closer to what is asked.",
            counts.effects,
        ),
        count(
            "evenkeel_controller_failed_effects_total",
            "Steps that failed; each is tried again.",
            counts.failed_effects,
        ),
    ];
    if let Some(at) = counts.last_round_at {
        families.push(one(
            "evenkeel_controller_last_round_timestamp_seconds",
            "When the controller's last round ended that did not fail, in seconds since the Unix epoch.",
            at.0 as f64 / 1e3,
        ));
    }
    families
}

fn checkers(sources: &Sources) -> Family {
    let mut probes = Family::counter(
        "evenkeel_checker_probes_total",
        "Questions to VMs: answered, failed, without an answer of one set aside, or unasked for want of own means.",
    );
    for (name, counts) in &sources.checkers {
        let labels = Labels::none().and("checker", name.as_str());
        for (result, count) in [
            ("answered", counts.answered),
            ("failed", counts.failed),
            ("aside", counts.aside),
            ("unasked", counts.unasked),
        ] {
            probes.add(labels.and("result", result), count as f64);
        }
    }
    probes
}

fn dns(sources: &Sources) -> Vec<Family> {
    let is_current = sources.published_serial == Some(sources.dns.serial);
    vec![
        one(
            "evenkeel_dns_zone_serial",
            "The generation of the zone that is published.",
            f64::from(sources.published_serial.unwrap_or_default()),
        ),
        one(
            "evenkeel_dns_zone_current",
            "Whether that is the newest one.",
            bit(is_current),
        ),
        one(
            "evenkeel_dns_names",
            "Names in the newest generation.",
            sources.dns.records.len() as f64,
        ),
    ]
}

fn monitor(sources: &Sources) -> Vec<Family> {
    let answers = one(
        "evenkeel_monitor_answers",
        "Whether the monitor told what it counted; without it nothing that VMs count is here.",
        bit(sources.newest.is_some()),
    );
    let Some(newest) = &sources.newest else {
        return vec![answers];
    };
    let intake = &newest.intake;
    let counter = |name, help| Family::counter(name, help).since(intake.began_at);
    let by_reason = |name, help, counts: &BTreeMap<String, u64>| {
        let mut family = counter(name, help);
        for (reason, count) in counts {
            family.add(Labels::none().and("reason", reason.as_str()), *count as f64);
        }
        family
    };
    let count = |name, help, count: u64| counter(name, help).with(Labels::none(), count as f64);
    vec![
        answers,
        count(
            "evenkeel_monitor_samples_total",
            "Samples that were taken from VMs.",
            intake.samples,
        ),
        by_reason(
            "evenkeel_monitor_refused_packets_total",
            "Packets of VMs that were not taken, or not whole, by reason.",
            &intake.refused_packets,
        ),
        by_reason(
            "evenkeel_monitor_refused_host_packets_total",
            "Packets of backends' hosts that were not taken, or not whole, by reason.",
            &intake.refused_host_packets,
        ),
        count(
            "evenkeel_monitor_unused_host_figures_total",
            "Figures of backends' hosts that were left out, since nothing is told of them.",
            intake.unused_host_figures,
        ),
        by_reason(
            "evenkeel_monitor_refused_samples_total",
            "Samples that the monitor log did not take, by reason.",
            &intake.refused_samples,
        ),
        count(
            "evenkeel_monitor_unkept_samples_total",
            "Samples that were taken and not kept, for want of room or of a log.",
            intake.unkept_samples,
        ),
        count(
            "evenkeel_monitor_forwarded_packets_total",
            "Packets that were sent on to a user's own collectd.",
            intake.forwarded_packets,
        ),
        count(
            "evenkeel_monitor_unforwarded_packets_total",
            "Packets that were not sent on, since there were too many, or nobody took them.",
            intake.unforwarded_packets,
        ),
        count(
            "evenkeel_monitor_dropped_syslog_lines_total",
            "Lines of access logs that were lost on their way to a syslog server.",
            intake.dropped_syslog_lines,
        ),
        one(
            "evenkeel_monitor_log_series",
            "Time series that the monitor log knows.",
            intake.log_series as f64,
        ),
        one(
            "evenkeel_monitor_log_bytes",
            "Bytes of the monitor log's segments and of its newest write-ahead log.",
            intake.log_bytes as f64,
        ),
        one(
            "evenkeel_monitor_log_damaged_files",
            "Files that were found damaged since the monitor log was opened, and put aside.",
            intake.damaged_log_files as f64,
        ),
        one(
            "evenkeel_monitor_log_lost_samples",
            "Samples that were found behind damage when the monitor log was opened.",
            intake.lost_samples as f64,
        ),
    ]
}

fn one(name: &'static str, help: &'static str, value: f64) -> Family {
    Family::gauge(name, help).with(Labels::none(), value)
}

/// 1 for what is so.
pub(super) fn bit(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}
