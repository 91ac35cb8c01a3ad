use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use model::{
    BackendCounts, BackendHealth, BackendReport, Condition, Generation, InstanceCounts, InstanceId,
    InstanceReport, Newest, Project, ProjectId, Timestamp, Verdict, VmGauges, VmId, VmReport,
};

use super::*;
use crate::samples::{instance, vm};

const PROJECT: ProjectId = ProjectId(1);
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(1, 1, 1, 10), 80);

fn project() -> Project {
    Project {
        id: PROJECT,
        user: "ann".into(),
        name: "shop".into(),
        label: "shop".into(),
        generation: Generation(1),
        created_at: Timestamp(0),
    }
}

fn report(vms: &[u64]) -> InstanceReport {
    let vm = |id: &u64| VmReport {
        requests: 4,
        ..vm(*id, Verdict::Serving)
    };
    let backend = BackendReport {
        entity: SERVER.to_string(),
        address: Some(*SERVER.ip()),
        port: SERVER.port(),
        weight: 1,
        backup: false,
        health: BackendHealth::Up,
        since: None,
        last_check: String::new(),
        requests: 0,
    };
    InstanceReport {
        generation: Generation(1),
        condition: Condition::Serving,
        in_effect: true,
        configuration: Generation(1),
        addresses: Vec::new(),
        vms: vms.iter().map(vm).collect(),
        backends: vec![backend],
        scaling: None,
        waiting_for: Vec::new(),
    }
}

/// So many instances with one VM and one backend each, of which all is known.
fn sources(instances: u64) -> Sources {
    let mut sources = Sources::default();
    sources.intent.projects.insert(PROJECT, project());
    let mut newest = Newest::default();
    for id in 1..=instances {
        sources
            .intent
            .instances
            .insert(InstanceId(id), instance(id));
        sources.reports.insert(InstanceId(id), report(&[id]));
        let mut counts = InstanceCounts::default();
        counts.backends.insert(SERVER, BackendCounts::default());
        newest.instances.insert(InstanceId(id), counts);
        let gauges = VmGauges {
            connections: Some(1.0),
            waiting: Some(0.0),
            cpu_percent: Some(1.0),
            memory_bytes: Some(1.0),
        };
        newest.vms.insert(VmId(id), gauges);
    }
    sources.newest = Some(newest);
    sources
}

fn text_of(sources: &Sources) -> String {
    let mut families = installation::families(sources);
    families.extend(instances::families(sources));
    text::encode(&families)
}

fn figures(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn how_many_figures_there_are_follows_from_what_was_asked_for() {
    let one = figures(&text_of(&sources(1)));
    let whole = figures(&text_of(&sources(0)));
    let text = text_of(&sources(1_000));
    assert_eq!(figures(&text), whole + 1_000 * (one - whole));
    assert_eq!(
        one - whole,
        72,
        "of an instance with one VM and one backend"
    );
    // What is not asked for has no name, so it is not told, whatever a VM claims.
    let mut claims = sources(1);
    let newest = claims.newest.as_mut().unwrap();
    let known = newest.instances.get_mut(&InstanceId(1)).unwrap();
    let elsewhere = "9.9.9.9:9".parse().unwrap();
    known.backends.insert(elsewhere, BackendCounts::default());
    newest.vms.insert(VmId(77), VmGauges::default());
    assert_eq!(figures(&text_of(&claims)), one);
}

#[test]
fn a_vm_that_is_set_aside_or_leaves_does_not_serve() {
    let mut sources = sources(1);
    let mut report = report(&[1, 2, 3, 4]);
    report.vms[0].aside = Some("it is fenced".into());
    report.vms[1].leaving = Some("too many".into());
    report.vms[2].state = Verdict::Suspect;
    sources.reports = BTreeMap::from([(InstanceId(1), report)]);
    let text = text_of(&sources);
    let serving = |vm: u64, bit: u8| {
        let line = format!(
            "evenkeel_vm_serving{{user=\"ann\",project=\"shop\",lb=\"web-1\",vm=\"{vm}\"}} {bit}\n"
        );
        assert!(text.contains(&line), "{line}{text}");
    };
    serving(1, 0);
    serving(2, 0);
    serving(3, 0);
    serving(4, 1);
    assert!(
        text.contains("evenkeel_lb_serving_vms{user=\"ann\",project=\"shop\",lb=\"web-1\"} 1\n")
    );
}

/// The names in a text, each as far as it goes.
fn names(text: &str) -> BTreeSet<&str> {
    let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let rests = text.split("evenkeel_").skip(1);
    let ends = rests.map(|rest| {
        rest.find(|c| !is_of_name(c))
            .map_or(rest, |end| &rest[..end])
    });
    ends.filter(|end| !end.is_empty()).collect()
}

#[test]
fn the_page_names_every_figure_and_no_other() {
    let page = include_str!("../../../../docs/reference/metrics.md");
    let sources = [
        include_str!("counted.rs"),
        include_str!("installation.rs"),
        include_str!("instances.rs"),
    ];
    let told: BTreeSet<&str> = sources.iter().flat_map(|source| names(source)).collect();
    assert!(told.len() > 40, "{told:?}");
    let named = names(page);
    // The page leaves out what two neighbours have in common: `…_failed_rounds_total`.
    let ends: Vec<&str> = page
        .split("`…")
        .skip(1)
        .filter_map(|rest| rest.split('`').next())
        .collect();
    for name in &told {
        let is_named = named.contains(name) || ends.iter().any(|end| name.ends_with(end));
        assert!(is_named, "the page does not name evenkeel_{name}");
    }
    for name in named {
        assert!(
            told.contains(name),
            "the page names evenkeel_{name}, which there is not"
        );
    }
}
