//! A checker whose process has no descriptors left. Alone in its process, since the limit is the process's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs::File;

use model::VmId;
use monitor::{Checker, ProbeTiming};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{answers_all, answers_one, failure_of_one, until};

#[tokio::test]
async fn want_of_descriptors_is_the_checkers_own_trouble_and_no_failure_of_the_vms() {
    let target = answers_all().await;
    let mut checker = Checker::new(ProbeTiming::default());
    checker.set_targets([(VmId(1), target)].into());
    until(&checker, "an answer", answers_one).await;
    assert_eq!(checker.trouble(), None);

    let before = getrlimit(Resource::Nofile);
    let soft = Rlimit {
        current: Some(64),
        ..before
    };
    setrlimit(Resource::Nofile, soft).unwrap();
    // No descriptor below the limit is free.
    let mut held = Vec::new();
    let mut failed = None;
    while checker.trouble().is_none() {
        while let Ok(file) = File::open("/dev/null") {
            held.push(file);
        }
        failed = failed.or(failure_of_one(&checker));
        assert_eq!(failed, None);
        tokio::task::yield_now().await;
    }
    let trouble = checker.trouble().unwrap();
    assert!(
        trouble.contains("1 of 1 VMs: Too many open files"),
        "{trouble}"
    );
    assert!(checker.is_blind());
    assert!(checker.sights().is_empty(), "what was known is told on");

    setrlimit(Resource::Nofile, before).unwrap();
    drop(held);
    until(&checker, "another answer", answers_one).await;
    assert_eq!(checker.trouble(), None);
}
