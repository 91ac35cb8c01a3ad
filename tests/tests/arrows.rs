//! Which crate may use which.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Every crate of the workspace with the crates of the workspace that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("planner", &["model"]),
    ("balancing", &["model"]),
    ("collectd", &[]),
    ("series", &[]),
    ("access-log", &["model"]),
    ("store", &["model"]),
    ("network", &["model"]),
    ("compute", &["model", "network"]),
    ("dns", &["model"]),
    ("monitor", &["model", "collectd", "series"]),
    ("balancer", &["model", "balancing", "collectd"]),
    ("api", &["model", "store", "monitor", "access-log"]),
    (
        "evenkeel",
        &[
            "model",
            "planner",
            "store",
            "network",
            "compute",
            "dns",
            "monitor",
            "api",
            "access-log",
        ],
    ),
    ("simulation", &["model", "planner", "store"]),
    ("end-to-end", &[]),
    (
        "bench",
        &[
            "collectd",
            "model",
            "planner",
            "series",
            "store",
            "end-to-end",
        ],
    ),
];

#[test]
fn crates_use_only_the_crates_that_they_may() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> = ARROWS
        .iter()
        .map(|(name, uses)| (*name, uses.iter().copied().collect()))
        .collect();
    let metadata = MetadataCommand::new()
        .no_deps()
        .exec()
        .expect("cargo is there");
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(
        ours,
        allowed.keys().copied().collect(),
        "the list names the crates there are"
    );
    for package in &metadata.packages {
        let uses: BTreeSet<&str> = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != DependencyKind::Development)
            .map(|dependency| dependency.name.as_str())
            .filter(|name| ours.contains(name))
            .collect();
        let allowed = allowed
            .get(package.name.as_str())
            .expect("it was just compared");
        assert!(
            uses.is_subset(allowed),
            "{} uses {uses:?} and may use {allowed:?}",
            package.name
        );
    }
}
