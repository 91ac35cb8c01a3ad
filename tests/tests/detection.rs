//! Finding out which VMs are down, and above all which are not: checkers that see nothing, that stand elsewhere,
//! that die, and a host that is starved.
//!
//! `EVENKEEL_SOAK` multiplies how long the host is starved; `make soak` starves it for ten minutes and has the
//! figures written to the file that `EVENKEEL_SOAK_RESULTS` names.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use end_to_end::{
    Door, Driver, Evenkeel, Host, Running, Visitors, Vm, Web, eventually, over_both_drivers,
    throughout,
};
use serde_json::{Value, json};

const ALL_IS_WELL: &str = "its heartbeats come and its hot path answers";
/// Longer than any silence for which a VM is condemned, and than a checker that died is remembered.
const LONG_ENOUGH: Duration = Duration::from_secs(3);
/// For how long the host is starved, and by how many processes for each of two processors.
const STARVATION: Duration = Duration::from_secs(30);
const BUSY_LOOPS: u32 = 4;

/// The server's roles in processes of their own, with two checkers: `here` on the host, and `away` in a
/// network of its own, from which the host routes.
struct Watched<'h> {
    host: &'h Host,
    _others: Vec<Running<'h>>,
    here: Option<Running<'h>>,
    _away: Running<'h>,
}

impl<'h> Watched<'h> {
    fn start(host: &'h Host) -> Self {
        Evenkeel::configure(host, Driver::Process, "");
        host.shell(
            "ip netns add away && ip -n away link set lo up && \
             ip link add away type veth peer name eth0 netns away && \
             ip address add 192.0.2.1/24 dev away && ip link set away up && \
             ip -n away address add 192.0.2.2/24 dev eth0 && ip -n away link set eth0 up && \
             ip -n away route add default via 192.0.2.1 && sysctl -qw net.ipv4.ip_forward=1",
        );
        let others = ["controller", "dns", "api"];
        let others =
            others.map(|role| start(host, role, &program(), &serve(host, &["--role", role])));
        let mut elsewhere = ["netns", "exec", "away", &program()]
            .map(str::to_owned)
            .to_vec();
        elsewhere.extend(serve(host, &["--role", "checker", "--name", "away"]));
        let away = start(host, "away", "ip", &elsewhere);
        let mut watched = Self {
            host,
            _others: others.into(),
            here: None,
            _away: away,
        };
        watched.resume_here();
        eventually("the door opens", || {
            watched.door().ask("info", "system", json!({}))
        });
        watched
    }

    fn resume_here(&mut self) {
        let arguments = serve(self.host, &["--role", "checker", "--name", "here"]);
        self.here = Some(start(self.host, "here", &program(), &arguments));
    }

    fn door(&self) -> Door {
        Door::at(&self.host.path("run/evenkeel.sock"))
    }
}

#[test]
fn a_vm_is_suspect_only_by_the_word_of_more_than_half_of_the_checkers() {
    let host = Host::new();
    let mut watched = Watched::start(&host);
    let web = Web::create(&host, watched.door(), 2);
    let before = web.vms();
    let stand = |what: &str, state: &str| {
        eventually(what, || all_are(&web, &before, state));
        throughout(LONG_ENOUGH, what, || all_are(&web, &before, state));
    };
    stand("both checkers are answered", "serving");
    // What the host forwards for others passes another chain than what it says itself.
    let probes = "ip daddr 10.200.0.0/16 tcp dport 80 drop";
    host.shell(&format!(
        "nft 'add table ip cut
              add chain ip cut output {{ type filter hook output priority 0; }}
              add rule ip cut output {probes}'"
    ));
    stand("one of two checkers is no majority", "serving");
    host.shell("ip link set away down");
    stand("both are", "suspect");
    let evidence = web.vms()[0].evidence.clone();
    // By which of the two checkers it is told, and whether that one's machine still looks for a way, is chance.
    let words = "its heartbeats come, but its front address does not answer: ";
    let why = evidence.strip_prefix(words).expect(&evidence);
    let is_cut = why.starts_with("no answer within ") || why == "host unreachable";
    assert!(is_cut, "{evidence}");
    host.shell("nft delete table ip cut");
    stand("the other one is no majority either", "serving");
    watched.here.take().expect("it runs").kill();
    stand("the one that is left sees nothing", "suspect");
    host.shell("ip link set away up && ip -n away route replace default via 192.0.2.1");
    stand("the one that is left is answered", "serving");
    watched.resume_here();
    stand("both are answered again", "serving");
}

#[test]
fn a_checker_without_descriptors_says_so_and_gives_its_place_up_until_it_has_some() {
    let host = Host::new();
    let watched = Watched::start(&host);
    let web = Web::create(&host, watched.door(), 1);
    let before = web.vms();
    let checker = watched.here.as_ref().expect("it runs").pid;
    let limit = |most: &str| host.shell(&format!("prlimit --pid {checker} --nofile={most}"));
    let status = |what: &str, checkers: &[&str], hold: &dyn Fn(&str) -> bool| {
        eventually(what, || {
            let status = watched.door().do_("info", "system", json!({}));
            let troubles = status["troubles"].to_string();
            match status["checkers"] == json!(checkers) && hold(&troubles) {
                true => Ok(()),
                false => Err((status["checkers"].clone(), troubles)),
            }
        });
    };
    let is_well = |troubles: &str| !troubles.contains("checker");
    status("both look", &["away", "here"], &is_well);
    limit("5:");
    status("it says what it lacks", &["away"], &|troubles| {
        troubles.contains("no means to ask 1 of 1 VMs: Too many open files")
    });
    throughout(LONG_ENOUGH, "the VM serves", || {
        all_are(&web, &before, "serving")
    });
    limit("4096:");
    status("both look again", &["away", "here"], &is_well);
}

#[test]
fn a_second_checker_of_the_same_name_is_refused_and_the_first_goes_on() {
    let host = Host::new();
    let watched = Watched::start(&host);
    let web = Web::create(&host, watched.door(), 1);
    let before = web.vms();
    let line = serve(&host, &["--role", "checker", "--name", "here"]).join(" ");
    let output = host.try_shell(&format!("timeout 20 {} {line}", program()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another checker named `here`"), "{said}");
    assert!(said.contains("--name"), "{said}");
    throughout(LONG_ENOUGH, "the VM serves", || {
        all_are(&web, &before, "serving")
    });
}

over_both_drivers!(while_all_probes_are_lost_no_vm_is_replaced_but_the_one_that_dies);

fn while_all_probes_are_lost_no_vm_is_replaced_but_the_one_that_dies(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    let vms = if driver == Driver::Process { 4 } else { 2 };
    let web = Web::create(&host, evenkeel.door(), vms);
    let before = web.vms();
    host.shell(
        "nft 'add table ip cut
              add chain ip cut output { type filter hook output priority 0; }
              add rule ip cut output ip daddr 10.200.0.0/16 tcp dport 80 drop'",
    );
    eventually("all are suspect", || all_are(&web, &before, "suspect"));
    for vm in web.vms() {
        let words = "its heartbeats come, but its front address does not answer: no answer within ";
        assert!(vm.evidence.starts_with(words), "{vm:?}");
    }
    throughout(LONG_ENOUGH, "all are suspect and stay", || {
        all_are(&web, &before, "suspect")
    });
    let named = before.iter().map(|vm| vm.address.clone()).collect();
    assert_eq!(web.dig(), Ok(named), "they may well serve others");
    let (dead, others) = before.split_first().expect("it has some");
    host.kill(dead.pid.expect("it runs"));
    let made = |vms: &[Vm]| {
        let known = |vm: &Vm| before.iter().any(|known| known.id == vm.id);
        vms.iter().filter(|vm| !known(vm)).count()
    };
    eventually("the dead one is replaced", || {
        let vms = web.vms();
        if made(&vms) == 1 { Ok(()) } else { Err(vms) }
    });
    throughout(LONG_ENOUGH, "one was made, and the others stay", || {
        let vms = web.vms();
        let stays = |other: &Vm| {
            vms.iter()
                .any(|vm| (vm.id, vm.pid) == (other.id, other.pid))
        };
        match made(&vms) == 1 && others.iter().all(stays) {
            true => Ok(()),
            false => Err(vms),
        }
    });
    host.shell("nft delete table ip cut");
    web.await_condition("serving");
}

#[test]
fn a_checker_that_is_killed_costs_nothing_and_takes_part_again() {
    let host = Host::new();
    host.use_own_dns();
    let mut watched = Watched::start(&host);
    let web = Web::create(&host, watched.door(), 2);
    let before = web.vms();
    let visitors = Visitors::begin(&host, &format!("http://{}/", web.name));
    watched.here.take().expect("it runs").kill();
    throughout(LONG_ENOUGH, "DNS answers and the VMs serve", || {
        web.fetch()?;
        all_are(&web, &before, "serving").map_err(|vms| format!("{vms:?}"))
    });
    watched.resume_here();
    host.shell("ip link set away down");
    throughout(LONG_ENOUGH, "it outweighs one that sees nothing", || {
        all_are(&web, &before, "serving")
    });
    visitors.end().assert_flawless(100);
}

#[test]
fn a_status_store_that_is_lost_for_a_while_is_made_anew_and_every_role_is_back_at_work() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let web = Web::create(&host, evenkeel.door(), 2);
    let before = web.vms();
    host.use_own_dns();
    let visitors = Visitors::begin(&host, &format!("http://{}/", web.name));
    let status = host.path("run/status.db").display().to_string();
    host.shell(&format!(
        "for end in '' -wal -shm; do [ ! -e {status}$end ] || mv {status}$end {status}$end.lost; done; \
         mkdir {status}"
    ));
    throughout(LONG_ENOUGH, "DNS answers and the VMs serve", || {
        web.fetch().map(drop)
    });
    let begun_again = "the status store was lost";
    host.shell(&format!("rmdir {status}"));
    eventually("every role is started again", || {
        let log = std::fs::read_to_string(host.path("evenkeel.log"));
        let log = log.map_err(|error| error.to_string())?;
        let failed = |role: &str| {
            log.lines()
                .any(|line| line.contains(begun_again) && line.contains(&format!("role={role}")))
        };
        let roles = ["controller", "checker", "dns", "api", "monitor"];
        let missing: Vec<_> = roles.into_iter().filter(|role| !failed(role)).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?}"))
        }
    });
    eventually("all roles are at work", || {
        let system = evenkeel.door().ask("info", "system", json!({}));
        let system = system.map_err(|error| error.to_string())?["info"].clone();
        let roles = system["roles"].as_object().map_or(0, serde_json::Map::len);
        match roles == 5 && system["troubles"] == json!([]) {
            true => Ok(()),
            false => Err(system.to_string()),
        }
    });
    web.await_condition("serving");
    eventually("the checker tells", || {
        let vms = web.vms();
        match vms.iter().all(|vm| vm.evidence == ALL_IS_WELL) {
            true => Ok(()),
            false => Err(vms),
        }
    });
    all_are(&web, &before, "serving").expect("nothing was replaced");
    visitors.end().assert_flawless(100);
}

#[test]
fn a_vm_that_is_killed_or_freezes_is_found_and_its_neighbours_are_left_alone() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let web = Web::create(&host, evenkeel.door(), 4);
    let before = web.vms();
    for (what, signal, victim) in [
        ("killed", "KILL", &before[0]),
        ("frozen", "STOP", &before[1]),
    ] {
        let pid = victim.pid.expect("it serves");
        // Under the process driver the process that forwards is a child of the VM's.
        host.shell(&format!("kill -{signal} {pid} $(pgrep --parent {pid})"));
        let began = Instant::now();
        let state = eventually("it is found", || {
            let vms = web.vms();
            let state = vms.iter().find(|vm| vm.id == victim.id);
            let state = state.map_or("removed".to_owned(), |vm| vm.state.clone());
            if state == "down" || state == "removed" {
                Ok(state)
            } else {
                Err(vms)
            }
        });
        println!("{what}: {state} after {:?}", began.elapsed());
        eventually("it leaves DNS", || {
            let named = web.dig()?;
            if named.contains(&victim.address) {
                Err(format!("{named:?}"))
            } else {
                Ok(())
            }
        });
        println!("{what}: out of DNS after {:?}", began.elapsed());
    }
    web.await_condition("serving");
    let vms = web.vms();
    for neighbour in &before[2..] {
        assert!(
            vms.contains(neighbour),
            "{neighbour:?} is not among {vms:?}"
        );
    }
}

#[test]
fn a_host_that_is_starved_makes_no_verdict_over_processes() {
    starve(Driver::Process, 6);
}

#[test]
#[ignore = "two machines on two processors leave no room for the tests beside them: `make soak` runs it"]
fn a_host_that_is_starved_makes_no_verdict_over_machines() {
    starve(Driver::Machine, 2);
}

fn starve(driver: Driver, vms: u32) {
    let host = Host::new();
    Evenkeel::configure(&host, driver, "");
    let serve = serve(&host, &[]);
    let mut arguments = vec!["RUST_LOG=info,evenkeel=debug".to_owned(), program()];
    arguments.extend(serve);
    let _server = start(&host, "evenkeel", "env", &arguments);
    let door = Door::at(&host.path("run/evenkeel.sock"));
    eventually("the door opens", || door.ask("info", "system", json!({})));
    host.use_own_dns();
    let web = Web::create(&host, door, vms);
    let before = web.vms();
    let visitors = Visitors::begin(&host, &format!("http://{}/", web.name));
    let verdicts = || {
        let log = std::fs::read_to_string(host.path("evenkeel.log"));
        let log = log.expect("it writes one");
        log.matches("evenkeel::controller: verdict").count()
    };
    let verdicts_before = verdicts();
    let busy: Vec<_> = (0..BUSY_LOOPS)
        .map(|n| host.start(&format!("busy{n}"), "sh", &["-c", "while :; do :; done"]))
        .collect();
    let span = STARVATION * scale();
    let mut suspected = BTreeSet::new();
    throughout(span, "each VM stays, and none is down", || {
        let vms = web.vms();
        let suspect = vms.iter().filter(|vm| vm.state == "suspect");
        suspected.extend(suspect.map(|vm| (vm.id, vm.evidence.clone())));
        let up = vms
            .iter()
            .all(|vm| vm.state == "serving" || vm.state == "suspect");
        match up && identities(&vms) == identities(&before) {
            true => Ok(()),
            false => Err(vms),
        }
    });
    drop(busy);
    let tally = visitors.end();
    let changes = verdicts() - verdicts_before;
    let log = std::fs::read_to_string(host.path("evenkeel.log")).expect("it writes one");
    let longest = |field: &str| {
        let mark = format!("{field}=");
        let found = log.split(&mark).skip(1);
        let figures = found.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        figures
            .filter_map(|figure| figure.parse::<u64>().ok())
            .max()
    };
    tell(
        &format!("a starved host, {driver:?}"),
        json!({
            "seconds": span.as_secs(),
            "vms": vms,
            "busy_loops": BUSY_LOOPS,
            "verdict_changes": changes,
            "suspected": suspected,
            "host_lag_ms": longest("host_lag_ms"),
            "late_ms": longest("late_ms"),
            "lag_ms": longest(" lag_ms"),
            "requests": tally.answered(),
            "failed_requests": tally.failures.len(),
        }),
    );
}

/// The state of each of these VMs must be this one, and no other VM may be there.
fn all_are(web: &Web<'_>, expected: &[Vm], state: &str) -> Result<(), Vec<Vm>> {
    let vms = web.vms();
    let fits = vms.iter().all(|vm| vm.state == state) && identities(&vms) == identities(expected);
    if fits { Ok(()) } else { Err(vms) }
}

fn identities(vms: &[Vm]) -> Vec<(u64, Option<u32>)> {
    vms.iter().map(|vm| (vm.id, vm.pid)).collect()
}

fn scale() -> u32 {
    let scale = std::env::var("EVENKEEL_SOAK").ok();
    scale.map_or(1, |scale| scale.parse().expect("EVENKEEL_SOAK is a number"))
}

/// Writes a figure into the results, and on standard output.
fn tell(name: &str, figures: Value) {
    println!("{name}: {figures}");
    let Some(path) = std::env::var_os("EVENKEEL_SOAK_RESULTS").map(PathBuf::from) else {
        return;
    };
    let old = std::fs::read(&path).unwrap_or_default();
    let mut all: Value = serde_json::from_slice(&old).unwrap_or_else(|_| json!({}));
    all[name] = figures;
    let text = serde_json::to_string_pretty(&all).expect("figures are JSON");
    std::fs::write(&path, text + "\n").expect("the results can be written");
}

fn start<'h>(host: &'h Host, name: &str, program: &str, arguments: &[String]) -> Running<'h> {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    host.start(name, program, &arguments)
}

fn program() -> String {
    std::env::var("EVENKEEL_PROGRAM").expect("the tests know the program")
}

fn serve(host: &Host, more: &[&str]) -> Vec<String> {
    let config = host.path("evenkeel.toml").display().to_string();
    let common = ["serve", "--config", &config];
    common
        .iter()
        .chain(more)
        .map(|text| (*text).to_owned())
        .collect()
}
