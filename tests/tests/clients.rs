//! Clients that nobody here wrote, through a running instance: each answer is as if the server had been
//! asked itself.

use std::path::Path;

use end_to_end::{Door, Driver, Evenkeel, Host, Running, Servers, eventually};
use serde_json::{Value, json};

const SUBNET: &str = "1.1.1.0/24";

/// An instance over one server.
struct World<'h> {
    host: &'h Host,
    url: String,
    _server: Running<'h>,
    _evenkeel: Evenkeel<'h>,
}

/// The client programs, and the servers for them.
fn program(name: &str) -> String {
    format!("{}/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The Python that the pinned tools are installed for.
fn pinned_python() -> String {
    let tools = std::env::var("EVENKEEL_TOOLS").expect("`make test` says where the tools are");
    format!("{tools}/python3")
}

impl<'h> World<'h> {
    /// Over an application that gunicorn serves.
    fn with_application(host: &'h Host) -> Self {
        let directory = program("");
        Self::with(
            host,
            &[
                "gunicorn",
                "--worker-class=gthread",
                "--threads=8",
                "--keep-alive=60",
                "--bind=1.1.1.10:8080",
                "--chdir",
                directory.trim_end_matches('/'),
                "application:answer",
            ],
        )
    }

    fn with(host: &'h Host, command: &[&str]) -> Self {
        let evenkeel = Evenkeel::start(host, Driver::Process);
        host.use_own_dns();
        let cable = Servers::new(host, "cable", &["1.1.1.10/24"]);
        let run = [&["netns", "exec", "cable-net"], command].concat();
        let server = host.start("server", "ip", &run);
        eventually("the server listens", || {
            let listening = cable.shell("ss -Hltn");
            if listening.contains("1.1.1.10:8080") {
                Ok(())
            } else {
                Err(listening)
            }
        });
        let url = create(&evenkeel.door(), &cable);
        Self {
            host,
            url,
            _server: server,
            _evenkeel: evenkeel,
        }
    }

    /// Runs a client in a shell, with `URL` for where the instance is, and returns what it said.
    fn run(&self, line: &str) -> String {
        let line = line.replace("URL", self.url.trim_end_matches('/'));
        let output = self.host.try_shell(&line);
        let (said, complained) = (&output.stdout, &output.stderr);
        let (said, complained) = (
            String::from_utf8_lossy(said),
            String::from_utf8_lossy(complained),
        );
        assert!(
            output.status.success(),
            "`{line}` failed: {said}{complained}"
        );
        said.into_owned() + &complained
    }
}

fn create(door: &Door, cable: &Servers<'_>) -> String {
    door.attach(SUBNET, &cable.interface);
    let info = door.do_(
        "create",
        "instance",
        json!({ "name": "web", "subnet": SUBNET, "backend": {
            "entities": ["1.1.1.10:8080"], "health-check": { "protocol": "TCP" },
        } }),
    );
    info.get("url")
        .and_then(Value::as_str)
        .expect("an instance has a URL")
        .to_owned()
}

#[test]
fn curl() {
    let host = Host::new();
    let world = World::with_application(&host);
    let file = host.path("large");
    let file = file.to_str().expect("the path is text");
    world.run(&format!("head --bytes 32M /dev/urandom >{file}"));
    let digest = world.run(&format!("sha256sum <{file}"));
    let digest = format!("{} {}\n", digest.trim_end_matches("  -\n"), 32 << 20);
    let curl = |arguments: &str| {
        world.run(&format!(
            "curl --silent --show-error --fail --max-time 60 {arguments}"
        ))
    };

    assert_eq!(curl("URL/"), "application\n");
    assert_eq!(curl("--http1.0 URL/"), "application\n");
    let head = curl("--head URL/bytes/12345");
    assert!(
        head.starts_with("HTTP/1.1 200 OK") && head.contains("Content-Length: 12345\r\n"),
        "{head}"
    );

    // Bodies with a length and in chunks; curl waits for a 100 before a large one.
    let upload = format!("--data-binary @{file} URL/sum");
    let verbose = curl(&format!("--verbose {upload}"));
    assert!(verbose.contains("HTTP/1.1 100 "), "{verbose}");
    assert!(verbose.starts_with(&digest), "{verbose}");
    for fields in ["Expect:", "Transfer-Encoding: chunked"] {
        assert_eq!(
            curl(&format!("--header '{fields}' {upload}")),
            digest,
            "{fields}"
        );
    }
    assert_eq!(curl(&format!("--upload-file - URL/sum <{file}")), digest);
    assert_eq!(curl(&format!("--http1.0 {upload}")), digest);

    let whole = curl("URL/bytes/33554432 | sha256sum");
    for arguments in [
        "--http1.0 URL/bytes/33554432",
        "URL/chunks/33554432",
        "--http1.0 URL/chunks/33554432",
    ] {
        assert_eq!(
            curl(&format!("{arguments} | sha256sum")),
            whole,
            "{arguments}"
        );
    }
    let part = curl("--range 1000-1999 --include URL/bytes/5000");
    assert!(
        part.starts_with("HTTP/1.1 206 ")
            && part.contains("Content-Range: bytes 1000-1999/5000\r\n"),
        "{part}"
    );
    assert_eq!(
        curl("--location --write-out ' %{num_redirects}' --output /dev/null URL/redirect"),
        " 1"
    );
    let plain = curl("URL/bytes/100000 | sha256sum");
    assert_eq!(curl("--compressed URL/gzip | sha256sum"), plain);

    // One connection for all.
    let connections = curl("--output /dev/null --write-out '%{num_connects}' 'URL/?[1-50]'");
    assert_eq!(connections, format!("1{}", "0".repeat(49)));
}

#[test]
fn python_requests() {
    let host = Host::new();
    let world = World::with_application(&host);
    world.run(&format!(
        "/usr/bin/python3 {} requests URL",
        program("matrix.py")
    ));
}

#[test]
fn python_httpx() {
    let host = Host::new();
    let world = World::with_application(&host);
    world.run(&format!(
        "/usr/bin/python3 {} httpx URL",
        program("matrix.py")
    ));
}

#[test]
fn wrk_h2load_and_ab() {
    let host = Host::new();
    let world = World::with_application(&host);
    for more in ["", "-H 'Connection: close'"] {
        let said = world.run(&format!("wrk -t2 -c16 -d1s {more} URL/"));
        assert!(
            said.contains(" requests in ")
                && !said.contains("Socket errors")
                && !said.contains("Non-2xx"),
            "{said}"
        );
    }
    for target in ["URL/", "URL/bytes/100000", "URL/chunks/20000"] {
        let said = world.run(&format!(
            "h2load --h1 --requests 1000 --clients 16 {target}"
        ));
        assert!(
            said.contains("1000 succeeded, 0 failed, 0 errored, 0 timeout"),
            "{said}"
        );
        for more in ["", "-k"] {
            let said = world.run(&format!("ab -q -n 1000 -c 16 {more} {target}"));
            assert!(said.contains("Complete requests:      1000\n"), "{said}");
            assert!(
                said.contains("Failed requests:        0\n") && !said.contains("Non-2xx"),
                "{said}"
            );
        }
    }
}

#[test]
fn websockets_of_pypi() {
    let host = Host::new();
    let (python, program) = (pinned_python(), program("websocket.py"));
    assert!(
        Path::new(&python).is_file(),
        "`scripts/setup checks` installs {python}"
    );
    let world = World::with(&host, &[&python, &program, "serve", "1.1.1.10", "8080"]);
    let url = world.url.replace("http://", "ws://");
    world.run(&format!("{python} {program} ask {url}"));
}
