//! Access logs are sent on to a syslog server that nobody here wrote.

#![expect(
    clippy::indexing_slicing,
    reason = "what rsyslog wrote is JSON, and a panic is a failed test"
)]

use std::path::{Path, PathBuf};

use end_to_end::{Driver, Evenkeel, Host, Running, Web, eventually};
use serde_json::Value;

const PORT: u16 = 5514;

/// rsyslog, which writes what it understands of each message in a line of its own.
fn start<'h>(host: &'h Host, transport: &str, kept: &Path) -> Running<'h> {
    let config = host.path("rsyslog.conf");
    let text = format!(
        r#"
global(workDirectory="{directory}")
module(load="im{transport}")
input(type="im{transport}" port="{PORT}" address="127.0.0.1")
template(name="taken" type="string"
  string="%syslogfacility-text%|%syslogseverity-text%|%app-name%|%procid%|%msgid%|%timereported:::date-rfc3339%|%msg%\n")
action(type="omfile" file="{kept}" template="taken")
"#,
        directory = host.directory().display(),
        kept = kept.display(),
    );
    std::fs::write(&config, text).expect("the directory can be written");
    let (config, pid) = (config.display().to_string(), host.path("rsyslog.pid"));
    let _old = std::fs::remove_file(&pid);
    let pid = pid.display().to_string();
    host.start(
        "rsyslog",
        "/usr/sbin/rsyslogd",
        &["-n", "-f", &config, "-i", &pid],
    )
}

/// The lines about a path: what stands before the message, and the message.
fn lines(kept: &Path, path: &str) -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(kept).unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let (header, said) = line.split_once("@cee: ")?;
        let said: Value = serde_json::from_str(said).expect("JSON");
        (said["path"] == path).then(|| (header.to_owned(), said))
    });
    lines.collect()
}

fn await_one(kept: &Path, path: &str) -> (String, Value) {
    eventually("rsyslog has the line", || {
        let mut found = lines(kept, path);
        match (found.pop(), found.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(std::fs::read_to_string(kept)),
        }
    })
}

fn ask(host: &Host, address: &str, path: &str) {
    host.shell(&format!(
        "curl --silent --output /dev/null --max-time 20 http://{address}{path}"
    ));
}

struct Scene<'h> {
    evenkeel: Evenkeel<'h>,
    web: Web<'h>,
    kept: PathBuf,
}

impl<'h> Scene<'h> {
    fn new(host: &'h Host, transport: &str) -> Self {
        let line = format!("[monitor]\nsyslog = \"{transport}://127.0.0.1:{PORT}\"\n");
        let evenkeel = Evenkeel::start_with(host, Driver::Process, &line);
        let web = Web::create(host, evenkeel.door(), 1);
        let kept = host.path("taken.log");
        Self {
            evenkeel,
            web,
            kept,
        }
    }

    fn address(&self) -> String {
        self.web.vms().remove(0).address
    }
}

#[test]
fn rsyslog_understands_each_line_and_gets_those_of_the_time_when_it_was_away() {
    let host = Host::new();
    let kept = host.path("taken.log");
    let server = start(&host, "tcp", &kept);
    let mut scene = Scene::new(&host, "tcp");
    ask(&host, &scene.address(), "/asked/1");
    let (header, said) = await_one(&kept, "/asked/1");
    let vm = scene.web.vms().remove(0).id;
    assert!(
        header.starts_with(&format!("local0|info|evenkeel|vm-{vm}|access|20")),
        "{header}"
    );
    assert_eq!(
        (&said["instance"], &said["project"], &said["status"]),
        (&"web".into(), &"p".into(), &200.into())
    );
    server.kill();
    eventually("status says that it is away", || {
        let status = scene.evenkeel.cli("status");
        match status.contains("not sent to the syslog server") {
            true => Ok(()),
            false => Err(status),
        }
    });
    ask(&host, &scene.address(), "/asked/2");
    scene.web.kill_servers();
    let address = scene.address();
    eventually("no backend is up", || {
        let line = format!(
            "curl --silent --output /dev/null --write-out %{{http_code}} http://{address}/asked/down"
        );
        let code = host.shell(&line);
        if code == "503" { Ok(()) } else { Err(code) }
    });
    ask(&host, &address, "/asked/3");
    let _server = start(&host, "tcp", &kept);
    await_one(&kept, "/asked/2");
    let (header, said) = await_one(&kept, "/asked/3");
    assert!(header.starts_with("local0|warning|"), "{header}");
    assert_eq!(said["termination"], "no-healthy-backend");
    eventually("status has nothing to say any more", || {
        let status = scene.evenkeel.cli("status");
        match status.contains("syslog") {
            false => Ok(()),
            true => Err(status),
        }
    });
}

#[test]
fn rsyslog_gets_datagrams_as_well() {
    let host = Host::new();
    let kept = host.path("taken.log");
    let _server = start(&host, "udp", &kept);
    let scene = Scene::new(&host, "udp");
    // Before the server listens, a datagram is lost.
    let (header, _) = eventually("rsyslog has a line", || {
        ask(&host, &scene.address(), "/asked/1");
        lines(&scene.kept, "/asked/1").pop().ok_or("none")
    });
    assert!(header.starts_with("local0|info|evenkeel|vm-"), "{header}");
}
