//! What change costs clients: nothing. Every answer is held to be whole and right, and every failure counts.
//!
//! `EVENKEEL_SOAK` multiplies how often things change; `make soak` runs ten times as many as the tests do, and
//! has the figures written to the file that `EVENKEEL_SOAK_RESULTS` names.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use end_to_end::{
    Count, Crowd, Door, Driver, Evenkeel, Host, Kinds, Running, Servers, eventually, quick_checks,
    within,
};
use serde_json::{Value, json};

const SUBNET: &str = "1.1.1.0/24";
const SERVERS: usize = 4;
/// Changes through the JSON door, and by the balancer's own configuration file.
const DOOR_CHANGES: u64 = 100;
const FILE_CHANGES: u64 = 900;
const REPLACEMENTS: u64 = 10;
const BACKEND_KILLS: u64 = 6;
const BALANCER_KILLS: u64 = 3;
/// Within which a killed balancer must serve again for the test to pass; what it takes is printed.
const AGAIN_WITHIN: Duration = Duration::from_secs(5);
/// Between two kills of a balancer: one that lives for less is held to be in a crash loop.
const LIFE: Duration = Duration::from_millis(1_200);

const EVERYBODY: Kinds = Kinds {
    kept: 3,
    resting: 2,
    new: 2,
    tunnels: 2,
    downloads: 1,
};

fn scaled(count: u64) -> u64 {
    let scale = std::env::var("EVENKEEL_SOAK").ok();
    count * scale.map_or(1, |scale| scale.parse().expect("EVENKEEL_SOAK is a number"))
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

fn figures(count: &Count, changes: u64, began: Instant) -> Value {
    json!({
        "changes": changes,
        "seconds": began.elapsed().as_secs(),
        "answers": count.answers(),
        "tunnel_messages": count.echoes(),
        "downloads": count.downloads(),
        "failures": count.failures(),
    })
}

fn entity(server: usize) -> String {
    format!("1.1.1.{}:8080", 10 + server)
}

/// An instance `web` in a process, over servers on one cable.
struct Service<'h> {
    host: &'h Host,
    evenkeel: Evenkeel<'h>,
    cable: Servers<'h>,
    servers: Vec<Option<Running<'h>>>,
}

impl<'h> Service<'h> {
    fn start(host: &'h Host) -> Self {
        let evenkeel = Evenkeel::start(host, Driver::Process);
        let places = [0, 1, 2, 3].map(|server| format!("1.1.1.{}/24", 10 + server));
        let cable = Servers::new(host, "cable", &places.each_ref().map(String::as_str));
        let mut service = Self {
            host,
            evenkeel,
            cable,
            servers: Vec::new(),
        };
        for server in 0..SERVERS {
            service.servers.push(None);
            service.start_server(server);
        }
        service.door().attach(SUBNET, &service.cable.interface);
        let entities: Vec<_> = (0..SERVERS).map(entity).collect();
        let backend =
            json!({ "entities": entities, "health-check": quick_checks(Driver::Process) });
        let form = json!({ "name": "web", "subnet": SUBNET, "backend": backend });
        service.door().do_("create", "instance", form);
        (0..SERVERS).for_each(|server| service.await_up(server));
        service
    }

    fn door(&self) -> Door {
        self.evenkeel.door()
    }

    fn start_server(&mut self, server: usize) {
        let running = self.cable.http(&format!("server{server}"), &entity(server));
        self.servers[server] = Some(running);
    }

    fn await_up(&self, server: usize) {
        eventually("the backend is up", || {
            let info = self.door().instance("web");
            match info["backends"][server]["health"] == "up" {
                true => Ok(()),
                false => Err(info.to_string()),
            }
        });
    }

    fn vm(&self) -> Value {
        self.door().instance("web")["vms"][0].clone()
    }

    fn address(&self) -> SocketAddr {
        let vm = self.vm();
        let address = vm["address"].as_str().expect("it has an address");
        format!("{address}:80").parse().expect("it is one")
    }

    /// The VM's process, which is the supervisor.
    fn supervisor(&self) -> u32 {
        let pid = self.vm()["pid"].as_u64().expect("it runs");
        u32::try_from(pid).expect("a process number is small")
    }

    /// What the supervisor and its balancers have said.
    fn log(&self) -> String {
        let path = format!("run/vms/vm{}/balancer.log", self.vm()["id"]);
        std::fs::read_to_string(self.host.path(&path)).unwrap_or_default()
    }
}

/// Which servers are there in the turn, and with what weight: the first always is, another one often.
fn mix(turn: u64) -> impl Iterator<Item = (usize, u64)> {
    let there = move |server: &usize| *server == 0 || !(turn + *server as u64).is_multiple_of(3);
    let weighted = move |server| (server, 1 + (turn + 3 * server as u64) % 7);
    (0..SERVERS).filter(there).map(weighted)
}

#[test]
fn no_request_fails_while_the_door_changes_backends() {
    let host = Host::new();
    let service = Service::start(&host);
    let door = service.door();
    let crowd = Crowd::begin(&host, service.address(), EVERYBODY);
    let (began, changes) = (Instant::now(), scaled(DOOR_CHANGES));
    for turn in 0..changes {
        let entities: Vec<_> = mix(turn)
            .map(|(server, weight)| json!({ "address": format!("1.1.1.{}", 10 + server), "port": 8080, "weight": weight }))
            .collect();
        let wanted: Vec<_> = mix(turn).map(|(_, weight)| json!(weight)).collect();
        // The answer comes when the VM's heartbeat has named the configuration.
        let change = json!({ "name": "web", "backend": { "entities": entities } });
        let info = door.do_("update", "instance", change);
        let told = info["backends"].as_array().expect("a list");
        let told: Vec<_> = told
            .iter()
            .map(|backend| backend["weight"].clone())
            .collect();
        assert_eq!(told, wanted, "after change {turn}");
        let running = &info["vms"][0]["configuration"];
        assert!(
            running.is_u64() && *running == info["configuration"],
            "{info:#}"
        );
    }
    let count = crowd.end_without_failure();
    tell("door_changes", figures(&count, changes, began));
    assert!(count.answers() > changes && count.echoes() > changes && count.downloads() > 0);
}

/// A balancer of its own on the host, with its supervisor, a configuration file and four servers.
struct Alone<'h> {
    host: &'h Host,
    balancer: Running<'h>,
    _servers: Vec<Running<'h>>,
}

impl<'h> Alone<'h> {
    const ADDRESS: &'static str = "127.0.0.1:8000";

    fn start(host: &'h Host) -> Self {
        let origin = end_to_end::program_of_this_package("origin");
        let server = |at: usize| {
            let address = format!("127.0.0.1:{}", 9000 + at);
            host.start(&format!("s{at}"), &origin, &["http", "s", &address])
        };
        let servers = (0..SERVERS).map(server).collect();
        Self::write(host, 1);
        let program = std::env::var("EVENKEEL_BALANCER").expect("`make test` says where it is");
        let config = host.path("balancer.json");
        let config = config.to_str().expect("the path is text");
        let arguments = [
            "supervise",
            "standalone",
            "--listen",
            Self::ADDRESS,
            "--config",
            config,
        ];
        let balancer = host.start("balancer", program, &arguments);
        Self {
            host,
            balancer,
            _servers: servers,
        }
    }

    fn write(host: &Host, generation: u64) {
        let backend = |(server, weight)| json!({ "address": "127.0.0.1", "port": 9000 + server, "weight": weight });
        let config = json!({
            "generation": generation, "instance": "web", "traffic": "http", "port": 8000,
            "backends": mix(generation).map(backend).collect::<Vec<_>>(),
            "health_check": { "protocol": "HTTP", "request_path": "/", "criteria": {
                "interval_ms": 500, "timeout_ms": 2_000, "health_threshold": 1, "unhealth_threshold": 3 } }
        });
        let (path, beside) = (host.path("balancer.json"), host.path("balancer.new"));
        std::fs::write(&beside, config.to_string()).expect("the directory can be written");
        std::fs::rename(beside, path).expect("the directory can be written");
    }

    /// Has a configuration taken, and waits until it runs.
    fn change(&self, generation: u64) {
        Self::write(self.host, generation);
        self.host.signal(self.balancer.pid, "HUP");
        let line = format!("configuration {generation} runs");
        let (path, began) = (self.host.path("balancer.log"), Instant::now());
        while !std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&line)) {
            assert!(began.elapsed() < Duration::from_secs(60), "no `{line}`");
            sleep(Duration::from_millis(1));
        }
        // What was read before need not be read again.
        std::fs::File::create(&path).expect("the log can be emptied");
    }
}

#[test]
fn no_request_fails_while_the_file_changes_backends() {
    let host = Host::new();
    let alone = Alone::start(&host);
    let address = Alone::ADDRESS.parse().expect("it is one");
    await_answer(&host, address);
    let crowd = Crowd::begin(&host, address, EVERYBODY);
    let (began, changes) = (Instant::now(), scaled(FILE_CHANGES));
    for turn in 0..changes {
        alone.change(turn + 2);
    }
    let count = crowd.end_without_failure();
    tell("file_changes", figures(&count, changes, began));
    assert!(count.answers() > changes && count.echoes() > changes && count.downloads() > 0);
}

fn await_answer(host: &Host, address: SocketAddr) {
    eventually("the balancer serves", || {
        let asked = host.try_shell(&format!("curl --silent --fail http://{address}/echo/1"));
        match asked.stdout == b"1\n" {
            true => Ok(()),
            false => Err(asked),
        }
    });
}

#[test]
fn no_request_fails_while_the_balancer_is_replaced() {
    let host = Host::new();
    let service = Service::start(&host);
    let (before, supervisor) = (service.vm(), service.supervisor());
    let crowd = Crowd::begin(&host, service.address(), EVERYBODY);
    let (began, replacements) = (Instant::now(), scaled(REPLACEMENTS));
    for number in 1..=replacements {
        host.signal(supervisor, "USR2");
        eventually("a new process serves", || {
            let serving = service.log().matches("a new process serves").count() as u64;
            if serving == number {
                Ok(())
            } else {
                Err(serving)
            }
        });
        sleep(Duration::from_millis(100));
    }
    // The newest one is the host's partner, and the VM is the same.
    let change = json!({ "name": "web", "backend": { "add": ["1.1.1.13:8081"] } });
    service.door().do_("update", "instance", change);
    let after = service.vm();
    assert_eq!(
        (&after["id"], &after["pid"]),
        (&before["id"], &before["pid"])
    );
    let count = crowd.end_without_failure();
    tell("replacements", figures(&count, replacements, began));
    assert!(count.answers() > replacements && count.downloads() > 0);
    within(Duration::from_secs(60), "the old processes end", || {
        let children = host.shell(&format!("pgrep --parent {supervisor}"));
        if children.lines().count() == 1 {
            Ok(())
        } else {
            Err(children)
        }
    });
}

#[test]
fn no_idempotent_request_fails_while_a_backend_is_killed() {
    let host = Host::new();
    let mut service = Service::start(&host);
    let kinds = Kinds {
        tunnels: 0,
        downloads: 0,
        ..EVERYBODY
    };
    let crowd = Crowd::begin(&host, service.address(), kinds);
    let (began, kills) = (Instant::now(), scaled(BACKEND_KILLS));
    for number in 0..kills {
        let server = usize::try_from(number).unwrap_or(0) % SERVERS;
        if let Some(running) = service.servers[server].take() {
            running.kill();
        }
        sleep(Duration::from_millis(300));
        service.start_server(server);
        service.await_up(server);
    }
    let count = crowd.end_without_failure();
    tell("backend_kills", figures(&count, kills, began));
}

#[test]
fn a_killed_balancer_serves_again_and_nobody_is_refused() {
    let host = Host::new();
    let service = Service::start(&host);
    let (address, supervisor) = (service.address(), service.supervisor());
    let mut gaps = Vec::new();
    for _ in 0..scaled(BALANCER_KILLS) {
        sleep(LIFE);
        let balancer = host.shell(&format!("pgrep --parent {supervisor}"));
        let balancer = balancer.trim().parse().expect("one balancer runs");
        let began = Instant::now();
        host.kill(balancer);
        // Nothing but new connections: those that the killed process had are lost with it.
        let newcomers = Kinds {
            new: 1,
            ..Kinds::default()
        };
        let crowd = Crowd::begin(&host, address, newcomers);
        let gap = crowd.first_answer(began);
        let count = crowd.end_without_failure();
        assert!(count.answers() > 0 && gap < AGAIN_WITHIN, "{gap:?}");
        gaps.push(gap);
    }
    assert_eq!(
        service.supervisor(),
        supervisor,
        "the VM was taken for dead"
    );
    gaps.sort();
    let ms = |gap: Duration| gap.as_secs_f64() * 1000.0;
    let (median, worst) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
    let figures =
        json!({ "kills": gaps.len(), "gap_ms_median": ms(median), "gap_ms_worst": ms(worst) });
    tell("balancer_kills", figures);
}
