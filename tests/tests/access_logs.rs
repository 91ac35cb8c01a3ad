//! Access logs end to end: from a request to what is kept of it on the host.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::path::PathBuf;

use access_log::{Found, Question, search};
use end_to_end::{Driver, Evenkeel, Host, Web, eventually};
use model::access::AccessKind;
use model::{InstanceId, Termination};
use serde_json::json;

/// What is kept of an instance's requests.
struct Log {
    directory: PathBuf,
    instance: InstanceId,
}

impl Log {
    fn of(host: &Host, web: &Web<'_>) -> Self {
        let id = web.info()["id"].as_u64().expect("an id");
        Self {
            directory: host.path("state/access-logs"),
            instance: InstanceId(id),
        }
    }

    fn all(&self) -> Found {
        let question = Question {
            start: Some(0),
            limit: usize::MAX,
            ..Question::default()
        };
        search(&self.directory, self.instance, &question).expect("it can be read")
    }

    /// The paths that begin so, in their order.
    fn paths(&self, begin: &str) -> Vec<String> {
        let lines = self.all().lines.into_iter();
        let asked = lines.filter(|line| line.head.kind == AccessKind::Http);
        asked
            .map(|line| line.path)
            .filter(|path| path.starts_with(begin))
            .collect()
    }

    fn await_paths(&self, expected: &[&str]) {
        eventually("they are in the log", || {
            let paths = self.paths("/asked");
            if paths == expected {
                Ok(())
            } else {
                Err(paths)
            }
        });
    }
}

/// The second part of [`PARENT`].
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn ask(host: &Host, address: &str, path: &str) {
    ask_with(host, "", &format!("{address}{path}"));
}

fn ask_with(host: &Host, options: &str, url: &str) {
    let line = format!("curl --silent --show-error --max-time 20 {options} http://{url}");
    host.shell(&line);
}

fn kept_over(driver: Driver) {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 1);
    let vm = web.vms().remove(0);
    let log = Log::of(&host, &web);
    ask(&host, &vm.address, "/asked/1?a=b");
    log.await_paths(&["/asked/1?a=b"]);
    let lines = log.all().lines;
    let line = lines
        .iter()
        .find(|line| line.path == "/asked/1?a=b")
        .expect("it was there");
    assert_eq!(line.head.termination, Termination::Complete);
    assert_eq!((line.head.status, line.head.vm.0), (200, vm.id));
    assert_eq!((&*line.method, &*line.host), ("GET", &*vm.address));
    let servers: BTreeSet<SocketAddrV4> = ["1.1.1.10:8080", "1.1.1.11:8080"]
        .map(|a| a.parse().expect("an address"))
        .into();
    assert!(servers.contains(&line.head.backend), "{:?}", line.head);
    evenkeel.kill();
    let traced = format!("--header 'traceparent: {PARENT}'");
    ask_with(&host, &traced, &format!("{}/asked/2", vm.address));
    evenkeel.resume();
    ask(&host, &vm.address, "/asked/3");
    // What was asked for while nobody read waited in the VM.
    log.await_paths(&["/asked/1?a=b", "/asked/2", "/asked/3"]);

    let told = evenkeel.cli("logs web --path /asked/2 --status 200-299");
    assert!(
        told.contains("/asked/2  200 complete") && told.lines().count() == 1,
        "{told}"
    );
    let of_trace = evenkeel.cli(&format!("logs web --request {TRACE}"));
    assert_eq!(of_trace, told);
    assert!(told.ends_with(&format!("  trace {TRACE}\n")), "{told}");
    let in_json = evenkeel.cli(&format!("-o json logs web --request {TRACE}"));
    assert!(in_json.contains(PARENT), "{in_json}");
    assert_eq!(
        evenkeel.cli("logs web --path /asked --failed --since 1h"),
        ""
    );
    let door = evenkeel.door().do_(
        "info",
        "log",
        json!({ "instance": "web", "path": "/asked", "limit": 2 }),
    );
    let paths = door["lines"]
        .as_array()
        .map(|lines| lines.iter().map(|line| line["path"].clone()).collect());
    assert_eq!(paths, Some(vec![json!("/asked/2"), json!("/asked/3")]));
    assert!(log.directory.join(log.instance.0.to_string()).exists());
    follow(&host, &evenkeel, &vm.address);
    evenkeel.door().do_(
        "delete",
        "instance",
        json!({ "project": "p", "name": "web" }),
    );
    eventually("its log is gone with it", || {
        let left = log.directory.join(log.instance.0.to_string());
        if left.exists() { Err(left) } else { Ok(()) }
    });
}

/// `logs -f` prints what there is, and then what comes after it began, once.
fn follow(host: &Host, evenkeel: &Evenkeel<'_>, address: &str) {
    let _follower = evenkeel.start_cli("follow", "logs web -f --path /asked");
    let await_last = |expected: &str| {
        eventually("it is printed", || {
            let text = std::fs::read_to_string(host.path("follow.log")).unwrap_or_default();
            let paths = text.lines().flat_map(|line| line.split_whitespace());
            let paths: Vec<String> = paths
                .filter(|word| word.contains("/asked/"))
                .map(str::to_owned)
                .collect();
            let is_last = paths.last().is_some_and(|last| last.ends_with(expected));
            is_last.then_some(paths).ok_or(text)
        })
    };
    assert_eq!(await_last("/asked/3").len(), 3);
    ask(host, address, "/asked/4");
    await_last("/asked/4");
    ask(host, address, "/asked/5");
    assert_eq!(await_last("/asked/5").len(), 5, "each is printed once");
}

#[test]
fn requests_are_kept_over_a_balancer_without_a_machine_and_a_servers_end_costs_none() {
    kept_over(Driver::Process);
}

#[test]
fn requests_are_kept_over_a_machine_of_the_pool_and_a_servers_end_costs_none() {
    kept_over(Driver::Pooled);
}

#[test]
fn what_a_full_disk_did_not_take_is_said_to_be_missing_when_there_is_room_again() {
    let host = Host::new();
    let logs = host.path("state/access-logs").display().to_string();
    host.shell(&format!(
        "umask 077 && mkdir -p {logs} && mount -t tmpfs -o size=1m tmpfs {logs}"
    ));
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let web = Web::create(&host, evenkeel.door(), 1);
    let address = web.vms().remove(0).address;
    // How many lines are there, and how many are said to be missing.
    let told = || {
        let question =
            json!({ "project": "p", "instance": "web", "path": "/asked", "limit": 1_000 });
        let told = evenkeel.door().do_("info", "log", question);
        let lines = told["lines"].as_array().cloned().unwrap_or_default();
        let missing = lines.iter().filter_map(|line| line["dropped"].as_u64());
        let missing: Vec<u64> = missing.collect();
        (lines.len() - missing.len(), missing.iter().sum::<u64>())
    };
    let await_told = |asked: usize| {
        eventually("each line is there or is said to be missing", || {
            let (there, missing) = told();
            match there + missing as usize == asked {
                true => Ok(missing),
                false => Err((there, missing)),
            }
        })
    };
    ask(&host, &address, "/asked/1");
    assert_eq!(await_told(1), 0);
    host.shell(&format!(
        "dd if=/dev/zero of={logs}/fill bs=4k 2>&1 | grep -q 'No space left'"
    ));
    let mut asked = 1;
    let is_trouble = |status: &str| status.contains("access logs are not kept");
    // A few find room in what was begun.
    eventually("status says that lines are not kept", || {
        for _ in 0..10 {
            asked += 1;
            ask(&host, &address, &format!("/asked/{asked}"));
        }
        let status = evenkeel.cli("status");
        is_trouble(&status).then_some(()).ok_or(status)
    });
    host.shell(&format!("rm {logs}/fill"));
    assert!(await_told(asked) > 0, "it was full");
    ask(&host, &address, "/asked/last");
    await_told(asked + 1);
    let table = evenkeel.cli("logs web --path /asked");
    assert!(table.contains("lines are missing here"), "{table}");
    eventually("status has nothing to say any more", || {
        let status = evenkeel.cli("status");
        (!is_trouble(&status)).then_some(()).ok_or(status)
    });
}
