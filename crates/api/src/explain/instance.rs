//! Why an instance stands as it does.

use std::collections::BTreeMap;

use model::{
    BackendHealth, BackendReport, Condition, Event, EventKind, Instance, InstanceReport,
    Termination, Timestamp, Verdict, VmReport,
};

use super::termination::meaning;
use super::{Explanation, Finding, ago, counted, dated};

/// How far back failed requests are looked for, in milliseconds.
pub(crate) const REQUESTS_MS: u64 = 600_000;
/// How far back it is told why VMs came and went, in milliseconds.
pub(crate) const EVENTS_MS: u64 = 24 * 3_600_000;
/// Events that are told of one thing.
const MOST_EVENTS: usize = 8;
/// What helps where no backend took requests, of which this explanation tells.
const NO_BACKEND: &str = "see what is said of the backends here, and in `evenkeel events --kind backend` of those that \
     are up again";
/// Backends, and kinds of failures, that are told one by one.
const MOST_TOLD: usize = 5;

/// What is known of an instance.
pub(crate) struct Evidence<'e> {
    pub instance: &'e Instance,
    pub url: String,
    /// The controller's account.
    pub report: Option<&'e InstanceReport>,
    /// What happened, the oldest first.
    pub events: &'e [Event],
    /// Why that is not known, where it is not.
    pub unread: Option<&'e str>,
    /// What keeps the whole installation from its work.
    pub troubles: &'e [String],
    /// Roles that nobody plays.
    pub absent_roles: &'e [&'static str],
    /// Requests that failed of late; nothing where the log cannot be read.
    pub failed: Option<&'e access_log::Found>,
    pub now: Timestamp,
}

/// Why an instance stands as it does: what is missing, and why; why there are as many VMs as there are; why
/// requests failed of late.
pub(crate) fn explain_instance(known: &Evidence<'_>) -> Explanation {
    let mut findings = installation(known);
    if let Some(report) = known.report {
        let mut of_backends = backends(known, report);
        // What weighs most comes first.
        if report.condition == Condition::NoBackend {
            findings.append(&mut of_backends);
        }
        findings.extend(missing(report));
        findings.extend(report.vms.iter().filter_map(|vm| machine(known, vm)));
        findings.extend(of_backends);
    }
    findings.extend(requests(known));
    findings.extend(number_of_vms(known));
    Explanation {
        instance: known.instance.name.clone(),
        id: known.instance.id,
        url: known.url.clone(),
        condition: known.report.map(|report| report.condition),
        summary: summary(known),
        findings,
    }
}

fn summary(known: &Evidence<'_>) -> String {
    let Some(report) = known.report else {
        return "the controller has not taken it up yet".to_owned();
    };
    // Those that are set aside or leave have done with it, and have findings of their own.
    let is_crew = |vm: &&VmReport| vm.aside.is_none() && vm.leaving.is_none();
    let crew: Vec<_> = report.vms.iter().filter(is_crew).collect();
    let serving = crew.iter().filter(|vm| vm.state == Verdict::Serving);
    let up = |backend: &&BackendReport| backend.health == BackendHealth::Up;
    let up = report.backends.iter().filter(up);
    let counts = [
        share(serving.count(), crew.len(), "VM", ["serves", "serve"]),
        share(
            up.count(),
            report.backends.len(),
            "backend",
            ["is up", "are up"],
        ),
    ]
    .join(", ");
    let words = match report.condition {
        Condition::Serving => "it serves as it was asked for",
        Condition::Degraded => "it answers, but something that was asked for is not there",
        Condition::NoBackend => {
            "no backend is up, so requests are answered with 503 and sessions reset"
        }
        Condition::Pending => "it does not answer yet",
        Condition::Failing => "it does not answer, and did before",
        Condition::Deleting => "it was deleted and is being taken apart",
    };
    format!("{words}: {counts}")
}

/// `1 of 2 VMs serves`, `2 of 2 VMs serve`.
fn share(part: usize, all: usize, noun: &str, [one, many]: [&str; 2]) -> String {
    let verb = if part == 1 || all == 1 { one } else { many };
    format!("{part} of {} {verb}", counted(all, noun))
}

/// What is wrong with all of it.
fn installation(known: &Evidence<'_>) -> Vec<Finding> {
    let absent = known.absent_roles.iter().map(|role| {
        let why = match *role {
            "controller" => "nothing is made, replaced or changed meanwhile; what serves goes on",
            "checker" => "nobody asks the VMs from where clients are; one that ended is replaced all the same",
            "dns" => "names are not answered, so clients find no URL",
            "monitor" => "no figures and no access logs are taken, and the number of VMs does not follow the load",
            _ => "its work is not done meanwhile",
        };
        Finding::new("installation", format!("the {role} is not alive"))
            .because(why)
            .advising(format!("start `evenkeel serve`, with `--role {role}` where roles run apart"))
    });
    let troubles = known.troubles.iter().map(String::as_str);
    let troubles = troubles.chain(known.unread);
    let troubles = troubles.map(|trouble| Finding::new("installation", trouble));
    absent.chain(troubles).collect()
}

/// What is waited for, but for VMs and backends, of which more is known.
fn missing(report: &InstanceReport) -> Vec<Finding> {
    let known_better = |what: &str| {
        let of_vm = report.vms.iter().any(|vm| what == format!("VM {}", vm.id));
        let of_all = report.condition == Condition::NoBackend && what == "backends";
        of_vm || of_all || what.starts_with("backend ")
    };
    let waiting = report.waiting_for.iter();
    waiting
        .filter(|waiting| !known_better(&waiting.what))
        .map(|waiting| {
            Finding::new(&waiting.what, "it is not as it was asked for").because(&waiting.why)
        })
        .collect()
}

/// A VM that is not simply well.
fn machine(known: &Evidence<'_>, vm: &VmReport) -> Option<Finding> {
    let state = match vm.state {
        Verdict::Serving if vm.aside.is_none() && vm.leaving.is_none() => return None,
        Verdict::Serving => "is well",
        Verdict::Starting => "is starting",
        Verdict::Suspect => {
            "is suspect: one of its signs is missing, and for that alone it is not replaced"
        }
        Verdict::Down => "is down",
    };
    let what = format!("it {state}, as was found {}", ago(vm.since, known.now));
    let reasons = [Some(&vm.evidence), vm.aside.as_ref(), vm.leaving.as_ref()];
    let reasons: Vec<_> = reasons.into_iter().flatten().map(String::as_str).collect();
    // Why it is aside or leaves names the evidence, where it was that.
    let is_named = |at: usize, reason: &str| {
        let mut later = reasons.iter().skip(at + 1);
        reason.is_empty() || later.any(|later| later.contains(reason))
    };
    let told = reasons.iter().enumerate();
    let told = told.filter(|(at, reason)| !is_named(*at, reason));
    let told: Vec<_> = told.map(|(_, reason)| *reason).collect();
    let about = known.events.iter().filter(|event| event.vm == Some(vm.id));
    let finding = Finding::new(format!("VM {}", vm.id), what)
        .because(told.join("; "))
        .resting_on(last(about));
    Some(finding)
}

/// Backends that take no traffic.
fn backends(known: &Evidence<'_>, report: &InstanceReport) -> Vec<Finding> {
    let is_up = |backend: &&BackendReport| backend.health == BackendHealth::Up;
    let bad: Vec<_> = report.backends.iter().filter(|it| !is_up(it)).collect();
    let mut findings = Vec::new();
    if report.backends.is_empty() {
        let finding = Finding::new(
            "backends",
            "there are none, so each request is answered with 503",
        )
        .advising("name servers in `backend.entities`");
        findings.push(finding);
    } else if bad.len() == report.backends.len() {
        let what = "none is up, so requests are answered with 503 (no-healthy-backend)";
        findings.push(Finding::new("backends", what));
    }
    for backend in bad.iter().take(MOST_TOLD) {
        findings.push(bad_backend(known, backend));
    }
    if let Some(more) = bad.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
        let what = format!(
            "{} more are not up; `evenkeel instance info` names them",
            counted(more, "backend")
        );
        findings.push(Finding::new("backends", what));
    }
    findings
}

fn bad_backend(known: &Evidence<'_>, backend: &BackendReport) -> Finding {
    let state = match backend.health {
        BackendHealth::Down => "it is down",
        _ => "it is not known whether it is well: VMs do not say the same, or have not asked yet",
    };
    let since = backend.since.map_or_else(String::new, |since| {
        format!(", as was found {}", ago(since, known.now))
    });
    let place = backend
        .address
        .map(|address| format!("{address}:{}", backend.port));
    let named = |event: &&Event| {
        let names = [Some(&backend.entity), place.as_ref()];
        event.kind == EventKind::Backend
            && names
                .into_iter()
                .flatten()
                .any(|name| has_word(&event.text, name))
    };
    Finding::new(
        format!("backend {}", backend.entity),
        format!("{state}{since}"),
    )
    .because(&backend.last_check)
    .resting_on(last(known.events.iter().filter(named)))
    .advising(check_advice(&backend.last_check))
}

/// Whether a name stands in a text by itself, and not as a part of another one.
pub(super) fn has_word(text: &str, name: &str) -> bool {
    let goes_on = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '.');
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (text.get(..at), text.get(at + name.len()..));
        let before = before.and_then(|text| text.chars().next_back());
        let after = after.and_then(|text| text.chars().next());
        !goes_on(before) && !goes_on(after)
    })
}

/// What helps, by what the last check came to.
fn check_advice(check: &str) -> &'static str {
    const NO_WAY: &str = "see whether packets reach the server: its firewall, its load, and whether an interface of \
         this machine that leads to it is attached: `evenkeel subnet attach`";
    const ADVICE: [(&str, &str); 6] = [
        (
            "refused",
            "see that the server runs, and listens on the port that is asked and not on loopback alone",
        ),
        ("no route", NO_WAY),
        ("unreachable", NO_WAY),
        ("no answer within", NO_WAY),
        ("resolve", "see that this machine's resolver knows the name"),
        (
            "outside",
            "give the instance a subnet that has the backend's address in it",
        ),
    ];
    let found = ADVICE.iter().find(|(word, _)| check.contains(word));
    match found {
        Some((_, advice)) => advice,
        None if check
            .chars()
            .next()
            .is_some_and(|first| first.is_ascii_digit()) =>
        {
            "see what the server answers there; `health-check` says what is asked, and which answers are good"
        }
        None => "",
    }
}

/// What became of requests of late, by how they ended.
fn requests(known: &Evidence<'_>) -> Vec<Finding> {
    let Some(failed) = known.failed else {
        return Vec::new();
    };
    let mut by_end: BTreeMap<Termination, Vec<&access_log::Line>> = BTreeMap::new();
    for line in &failed.lines {
        by_end.entry(line.head.termination).or_default().push(line);
    }
    let mut by_end: Vec<_> = by_end.into_iter().collect();
    by_end.sort_by_key(|(_, lines)| std::cmp::Reverse(lines.len()));
    by_end
        .into_iter()
        .take(MOST_TOLD)
        .map(|(termination, lines)| {
            let (mut why, mut advice) = meaning(termination, &known.instance.timeouts);
            if termination == Termination::NoHealthyBackend {
                advice = NO_BACKEND;
            }
            if termination == Termination::Complete {
                why = "backends themselves gave answers of 500 and above".to_owned();
            }
            let at_least = if failed.more { "at least " } else { "" };
            let what = format!(
                "{at_least}{} of the last {} min failed: {}",
                counted(lines.len(), "request"),
                REQUESTS_MS / 60_000,
                termination.word()
            );
            let most = most_hit(&lines);
            Finding::new("requests", what)
                .because(why)
                .resting_on(most)
                .advising(advice)
        })
        .collect()
}

/// Which backend and path most of them were for.
fn most_hit(lines: &[&access_log::Line]) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines {
        let path = line.path.split('?').next().unwrap_or_default();
        let backend = match line.head.backend.port() {
            0 => String::new(),
            _ => format!(" by backend {}", line.head.backend),
        };
        let asked = match line.method.as_str() {
            "" => "sessions".to_owned(),
            method => format!("{method} {path}"),
        };
        *counts.entry(format!("{asked}{backend}")).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let told = counts.into_iter().take(MOST_TOLD);
    told.map(|(what, count)| format!("{count} × {what}"))
        .collect()
}

/// Why there are as many VMs as there are.
fn number_of_vms(known: &Evidence<'_>) -> Option<Finding> {
    let report = known.report?;
    let matters = |event: &&Event| {
        matches!(
            event.kind,
            EventKind::Scaling
                | EventKind::Added
                | EventKind::SetAside
                | EventKind::PutBack
                | EventKind::Leaving
                | EventKind::Breaker
        )
    };
    let evidence = last(known.events.iter().filter(matters));
    let (what, why) = match &report.scaling {
        Some(scaling) => (
            format!(
                "the load decides: {} wanted",
                counted(scaling.wanted as usize, "VM")
            ),
            match &*scaling.rule {
                "" => scaling.decision.clone(),
                rule => format!("{}; now: {rule}", scaling.decision),
            },
        ),
        None if evidence.len() > 1 => (
            "the load does not decide: it has as many as were asked for".to_owned(),
            "more come and go only when one is down or is replaced".to_owned(),
        ),
        None => return None,
    };
    Some(
        Finding::new("number of VMs", what)
            .because(why)
            .resting_on(evidence),
    )
}

/// The newest of these, the oldest first.
fn last<'e>(events: impl DoubleEndedIterator<Item = &'e Event>) -> Vec<String> {
    let mut newest: Vec<_> = events.rev().take(MOST_EVENTS).map(dated).collect();
    newest.reverse();
    newest
}
