use super::*;
use crate::samples::{Bench, answered, healthy, heartbeat, instance, silent, unanswered};
use crate::{Scope, Standing};
use model::{InstanceId, ProbeSight, VmId};
use std::collections::BTreeMap;

/// What is seen of a VM, beginning with one that is healthy in every way and runs configuration 1.
struct Case {
    sight: Option<VmSight>,
    probes: BTreeMap<String, BTreeMap<VmId, ProbeSight>>,
}

impl Case {
    fn heartbeat(mut self, change: impl FnOnce(&mut HeartbeatSight)) -> Self {
        let sight = self.sight.as_mut().expect("the VM is seen");
        change(sight.heartbeat.as_mut().expect("it was heard"));
        self
    }

    fn sight(mut self, change: impl FnOnce(&mut VmSight)) -> Self {
        change(self.sight.as_mut().expect("the VM is seen"));
        self
    }

    fn probe(mut self, probe: Option<ProbeSight>) -> Self {
        self.probes = checker(probe);
        self
    }
}

/// What one checker saw, if anything.
fn checker(probe: Option<ProbeSight>) -> BTreeMap<String, BTreeMap<VmId, ProbeSight>> {
    let seen = probe.map(|probe| (VmId(1), probe)).into_iter().collect();
    [("local".to_owned(), seen)].into()
}

fn well() -> Case {
    Case {
        sight: Some(healthy(Generation(1))),
        probes: checker(Some(answered())),
    }
}

fn unseen() -> Case {
    Case {
        sight: None,
        probes: checker(None),
    }
}

fn unheard(watched_ms: u64) -> Case {
    well().sight(|sight| {
        *sight = VmSight {
            watched_ms,
            ..silent()
        }
    })
}

fn unheard_for(age_ms: u64) -> Case {
    well().heartbeat(|heard| heard.age_ms = age_ms)
}

fn refused(generation: u64) -> Case {
    well().heartbeat(|heard| {
        heard.heartbeat.generation = None;
        heard.heartbeat.refused = Some(Refusal {
            generation: Generation(generation),
            path: "port".into(),
            message: "it is taken".into(),
        });
    })
}

fn never_answered(uptime_ms: u64, watched_ms: u64) -> Case {
    well()
        .heartbeat(|heard| {
            heard.heartbeat.progress_age_ms = None;
            heard.heartbeat.uptime_ms = uptime_ms;
        })
        .sight(|sight| sight.watched_ms = watched_ms)
}

/// The verdict over a VM that stands at `standing`, with its evidence.
fn judge(standing: Verdict, case: &Case) -> (Verdict, String) {
    let mut bench = Bench::serving([instance(1)]);
    let vm = bench.standing_mut(1).vms.get_mut(&VmId(1));
    let vm = vm.expect("the VM stands");
    vm.verdict = standing;
    vm.evidence = "what it was".into();
    let windows = Windows::default();
    let signs = Signs {
        host_lag_ms: 0,
        has_lost_nics: false,
        is_being_made: false,
        windows: &windows,
        sight: case.sight.as_ref(),
        probe: quorum::ask(&case.probes, VmId(1)),
        wanted: Generation(1),
    };
    let (verdict, evidence) = decide_verdict(vm, &signs);
    (verdict, evidence.into_owned())
}

#[track_caller]
fn hold(standing: Verdict, cases: Vec<(Case, Verdict, &str)>) {
    for (number, (case, verdict, evidence)) in cases.into_iter().enumerate() {
        let expected = (verdict, evidence.to_owned());
        assert_eq!(judge(standing, &case), expected, "case {number}");
    }
}

#[test]
fn a_first_way_of_starting_a_vm_that_fails_is_no_death_while_another_is_tried() {
    let mut bench = Bench::serving([instance(1)]);
    bench.kill(1);
    for (in_flight, standing, verdict) in [
        (true, Verdict::Starting, Verdict::Starting),
        (false, Verdict::Starting, Verdict::Down),
        (true, Verdict::Serving, Verdict::Down),
    ] {
        bench
            .standing_mut(1)
            .vms
            .get_mut(&VmId(1))
            .expect("it stands")
            .verdict = standing;
        bench.observed.in_flight.clear();
        bench
            .observed
            .in_flight
            .extend(in_flight.then(|| vm_key(VmId(1))));
        let standing = Standing::of(&bench.intent, bench.layout.clone());
        let mut draft = Draft::of(bench.inputs(), &standing, &Scope::All);
        judge_vms(bench.inputs(), &mut draft);
        assert_eq!(
            draft.instances[&InstanceId(1)].vms[&VmId(1)].verdict,
            verdict
        );
    }
}

#[test]
fn a_new_vm_serves_when_it_runs_the_wanted_configuration_and_answers_itself_and_the_checker() {
    use Verdict::{Serving, Starting};
    let old = well().heartbeat(|heard| heard.heartbeat.generation = Some(Generation(0)));
    hold(
        Starting,
        vec![
            (
                well(),
                Serving,
                "its heartbeats come and its hot path answers",
            ),
            (unseen(), Starting, "it is not made yet"),
            (
                well().sight(|s| s.pid = None),
                Starting,
                "its process is not started yet",
            ),
            (
                unheard(60_000),
                Starting,
                "it runs, and its first heartbeat is awaited",
            ),
            (old, Starting, "it has yet to take configuration 1"),
            (
                refused(1),
                Starting,
                "it refused configuration 1: port: it is taken",
            ),
            (refused(0), Starting, "it has yet to take configuration 1"),
            (
                never_answered(2_000, 2_000),
                Starting,
                "its hot path has not answered yet",
            ),
            (
                well().probe(Some(unanswered(9))),
                Starting,
                "its front address does not answer the checker: timed out",
            ),
            (
                well().probe(None),
                Starting,
                "the checker has yet to probe it",
            ),
            (
                well()
                    .probe(None)
                    .heartbeat(|h| h.heartbeat.uptime_ms = 5_001),
                Serving,
                "its heartbeats come; no checker has probed it",
            ),
            (
                unheard_for(751),
                Starting,
                "its heartbeats ceased before it served",
            ),
        ],
    );
}

#[test]
fn a_new_vm_is_down_when_it_ended_or_was_never_heard_or_fell_silent_or_never_answers() {
    use Verdict::{Down, Starting};
    let ended = well().sight(|sight| {
        sight.pid = None;
        sight.exit = Some("exit code 1".into());
    });
    hold(
        Starting,
        vec![
            (ended, Down, "its process ended: exit code 1"),
            (unheard(60_001), Down, "no heartbeat within 60 s"),
            (
                unheard_for(7_501).probe(Some(unanswered(3))),
                Down,
                "its heartbeats ceased before it served, and its front address does not answer: timed out",
            ),
            (
                unheard_for(7_500).probe(Some(unanswered(3))),
                Starting,
                "its heartbeats ceased before it served",
            ),
            (
                unheard_for(60_001),
                Down,
                "its heartbeats ceased before it served",
            ),
            (
                never_answered(60_001, 60_001),
                Down,
                "its hot path never answered within 60 s",
            ),
        ],
    );
}

#[test]
fn a_vm_that_served_is_only_suspect_while_a_single_sign_is_missing() {
    use Verdict::{Serving, Suspect};
    for standing in [Serving, Suspect] {
        hold(
            standing,
            vec![
                (
                    well(),
                    Serving,
                    "its heartbeats come and its hot path answers",
                ),
                (
                    well().probe(Some(unanswered(2))),
                    Serving,
                    "its heartbeats come and its hot path answers",
                ),
                (
                    well().probe(Some(unanswered(1_000))),
                    Suspect,
                    "its heartbeats come, but its front address does not answer: timed out",
                ),
                (
                    well().probe(None),
                    Serving,
                    "its heartbeats come; no checker has probed it",
                ),
                (unheard_for(751), Suspect, "no heartbeat for 750 ms"),
                (unheard_for(600_000), Suspect, "no heartbeat for 750 ms"),
                (unheard(600_000), Suspect, "no heartbeat for 750 ms"),
                (
                    unheard_for(600_000).probe(None),
                    Suspect,
                    "no heartbeat for 750 ms",
                ),
                (
                    never_answered(100, 600_000),
                    Suspect,
                    "its balancer began anew and has not answered itself yet",
                ),
                (
                    never_answered(600_000, 100),
                    Suspect,
                    "its balancer began anew and has not answered itself yet",
                ),
            ],
        );
    }
}

#[test]
fn a_vm_that_served_is_down_when_its_process_or_both_signs_or_its_progress_are_gone() {
    use Verdict::{Down, Serving, Suspect};
    let no_answer = "no heartbeat for 750 ms, and its front address does not answer: timed out";
    for standing in [Serving, Suspect] {
        let stuck = well().heartbeat(|heard| heard.heartbeat.progress_age_ms = Some(1_001));
        hold(
            standing,
            vec![
                (unseen(), Down, "nothing of it is left on the host"),
                (well().sight(|s| s.pid = None), Down, "its process is gone"),
                (unheard_for(751).probe(Some(unanswered(3))), Down, no_answer),
                (unheard(751).probe(Some(unanswered(3))), Down, no_answer),
                (stuck, Down, "its hot path made no progress for 1000 ms"),
                (
                    never_answered(60_001, 60_001),
                    Down,
                    "its hot path never answered within 60 s",
                ),
            ],
        );
    }
}

#[test]
fn a_controller_that_began_just_now_leaves_verdicts_as_they_stand() {
    for standing in [Verdict::Serving, Verdict::Suspect] {
        let case = unheard(750).probe(Some(unanswered(1_000)));
        let evidence = "its heartbeat is awaited by a controller that began just now";
        hold(standing, vec![(case, standing, evidence)]);
    }
}

#[test]
fn a_vm_that_was_down_is_believed_when_it_runs_the_newest_configuration_and_answers() {
    use Verdict::{Down, Serving};
    let wait = "its heartbeats come again; it has yet to take configuration 1";
    let no_answer =
        "its heartbeats come again; its front address does not answer the checker: timed out";
    hold(
        Down,
        vec![
            (unseen(), Down, "what it was"),
            (well().sight(|s| s.pid = None), Down, "what it was"),
            (unheard(1), Down, "what it was"),
            (unheard_for(751), Down, "what it was"),
            (
                well().heartbeat(|heard| heard.heartbeat.generation = Some(Generation(0))),
                Down,
                wait,
            ),
            (
                well().heartbeat(|heard| heard.heartbeat.progress_age_ms = None),
                Down,
                "its heartbeats come again; its hot path has not answered yet",
            ),
            (well().probe(Some(unanswered(1))), Down, no_answer),
            (well(), Serving, ALL_IS_WELL),
            (well().probe(None), Serving, UNPROBED),
        ],
    );
}

#[test]
fn a_vm_that_leaves_and_is_down_stays_down() {
    let mut bench = Bench::serving([instance(1)]);
    bench.kill(1);
    bench.plan();
    bench.intent.instances.clear();
    bench.plan();
    bench.observed.vms.insert(VmId(1), healthy(Generation(1)));
    bench.plan();
    assert_eq!(bench.vm(1).verdict, Verdict::Down);
}

#[test]
fn silence_must_last_longer_where_things_are_late_anyway() {
    let silent_at = |late_ms, host_lag_ms| {
        let mut bench = Bench::serving([instance(1)]);
        bench.probes().insert(VmId(1), unanswered(3));
        bench.observed.host_lag_ms = host_lag_ms;
        let lasts = |age_ms: &u64| {
            let mut bench = Bench {
                settings: bench.settings.clone(),
                intent: bench.intent.clone(),
                layout: bench.layout.clone(),
                report: bench.report.clone(),
                observed: bench.observed.clone(),
                now: bench.now,
            };
            let heard = bench.sight(1).heartbeat.as_mut().expect("it was heard");
            (heard.age_ms, heard.late_ms) = (*age_ms, late_ms);
            bench.plan();
            bench.vm(1).verdict != Verdict::Down
        };
        (0..20_000).step_by(50).take_while(lasts).last()
    };
    assert_eq!(silent_at(0, 0), Some(750));
    assert_eq!(silent_at(200, 0), Some(1_150));
    assert_eq!(silent_at(0, 200), Some(1_150));
    assert_eq!(silent_at(1_000, 500), Some(3_750));
    assert_eq!(silent_at(100_000, 0), Some(7_500), "there is a bound");
}

#[test]
fn a_verdict_carries_the_time_of_its_last_change() {
    let mut bench = Bench::serving([instance(1)]);
    let began = bench.vm(1).since;
    bench.pass(60_000);
    bench.plan();
    assert_eq!(bench.vm(1).since, began);
    bench.probes().insert(VmId(1), unanswered(3));
    bench.plan();
    assert_eq!(
        (bench.vm(1).verdict, bench.vm(1).since),
        (Verdict::Suspect, bench.now)
    );
}

#[test]
fn evidence_stands_still_while_figures_move() {
    let mut bench = Bench::serving([instance(1)]);
    for (verdict, probe, age_ms, sees) in [
        (Verdict::Serving, answered(), 0, true),
        (Verdict::Suspect, unanswered(3), 0, true),
        (Verdict::Suspect, answered(), 4_000, true),
        (Verdict::Suspect, answered(), 0, false),
    ] {
        let mut standing = None;
        for round in 0..20_u64 {
            bench.pass(250);
            let mut beat = heartbeat(Generation(1));
            beat.sequence += round;
            beat.uptime_ms += 250 * round;
            beat.progress_age_ms = sees.then_some(round * 13 % 400);
            beat.counters.requests += round;
            let sight = bench.sight(1);
            sight.watched_ms += 250;
            sight.heartbeat = Some(HeartbeatSight {
                age_ms: age_ms + round * 250 % 400,
                late_ms: 0,
                heartbeat: beat,
            });
            let streak = probe.streak + u32::try_from(round).expect("it is small");
            let probe = ProbeSight {
                streak,
                ..probe.clone()
            };
            bench.probes().insert(VmId(1), probe);
            bench.plan();
            assert_eq!(bench.vm(1).verdict, verdict);
            let standing = standing.get_or_insert_with(|| bench.layout.clone());
            assert_eq!(bench.layout, *standing, "round {round}");
        }
    }
}
