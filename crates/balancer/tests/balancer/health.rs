//! Active checks, against a real server and a thousand of them.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use model::{
    BackendHealth, BalancerConfig, Generation, GuestMessage, HealthCheck, HostMessage, StatusRange,
};
use tempfile::TempDir;

use crate::support::{
    Host, Options, Origin, eventually, http_config, in_namespace, plain, tcp_config,
};

/// Debian's nginx, which knows the text `we are well` under one host name only, and says it in each of
/// the ways in which a body's end can be known. Ends with the test.
struct Nginx {
    address: SocketAddrV4,
    process: Child,
    _directory: TempDir,
}

impl Nginx {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        write_site(directory.path(), port);
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(directory.path())
            .args(["-c", "nginx.conf"])
            .stderr(Stdio::null());
        // SAFETY: prctl is async-signal-safe and touches no memory of the parent.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let process = command.spawn().expect("nginx: run `scripts/setup checks`");
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        eventually("nginx listens", || TcpStream::connect(address).ok());
        Self {
            address,
            process,
            _directory: directory,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write_site(directory: &Path, port: u16) {
    let site = format!(
        r#"daemon off; master_process off; pid nginx.pid; error_log error.log;
events {{}}
http {{
  access_log off; default_type text/html;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{ listen 127.0.0.1:{port} default_server; return 404 "we are not here"; }}
  server {{ listen 127.0.0.1:{port}; server_name shop.example; root .;
    location = /length {{ return 200 "we are well"; }}
    location = /teapot {{ return 418 "we are well"; }}
    location = /chunked {{ ssi on; }}
    location = /until-close {{ ssi on; chunked_transfer_encoding off; }}
  }}
}}"#
    );
    std::fs::write(directory.join("nginx.conf"), site).unwrap();
    let page = r#"<!--#set var="who" value="we" -->so <!--#echo var="who" --> are well"#;
    for name in ["chunked", "until-close"] {
        std::fs::write(directory.join(name), page).unwrap();
    }
    // The text is there, behind the part of the body that is looked at.
    std::fs::write(
        directory.join("far"),
        format!("{}we are well", " ".repeat(66_000)),
    )
    .unwrap();
}

/// A running balancer whose one backend is checked in changing ways.
struct Checked {
    host: Host,
    config: BalancerConfig,
}

impl Checked {
    /// Changes the check, and returns the backend's health and the last check in words once one has
    /// begun with these.
    fn ask(&mut self, words: &str, change: impl FnOnce(&mut HealthCheck)) -> BackendHealth {
        change(&mut self.config.health_check);
        self.config.generation = self.config.generation.next();
        self.host.configure(&self.config);
        let generation = Some(self.config.generation);
        let heartbeat = self.host.await_heartbeat(words, |heartbeat| {
            let said = heartbeat.backends[0].last_check.as_deref();
            heartbeat.generation == generation && said.is_some_and(|said| said.starts_with(words))
        });
        heartbeat.backends[0].health
    }
}

#[test]
fn a_check_asks_as_its_host_and_believes_the_status_and_the_text_that_it_was_told() {
    use BackendHealth::{Down, Up};
    in_namespace(|| {
        let nginx = Nginx::start();
        let config = http_config(0, &[nginx.address]);
        let mut checked = Checked {
            host: Host::start(),
            config,
        };
        let path = |path: &'static str| move |c: &mut HealthCheck| c.request_path = path.into();
        assert_eq!(checked.ask("404 Not Found", path("/length")), Down);
        let host = |c: &mut HealthCheck| c.host = Some("shop.example".into());
        assert_eq!(checked.ask("200 OK in ", host), Up);

        let text = |c: &mut HealthCheck| c.expected_body = Some("we are well".into());
        assert_eq!(checked.ask("200 OK in ", text), Up);
        for way in ["/chunked", "/until-close"] {
            // A text that is not there first, so that a verdict of the last way is not taken for this one's.
            let other = "200 OK, but its body does not have \"we are ill\" in it";
            let ill = |c: &mut HealthCheck| {
                c.request_path = way.into();
                c.expected_body = Some("we are ill".into());
            };
            assert_eq!(checked.ask(other, ill), Down);
            assert_eq!(checked.ask("200 OK in ", text), Up, "{way}");
        }
        let far = "200 OK, but the first 64 KiB of its body do not have \"we are well\" in them";
        assert_eq!(checked.ask(far, path("/far")), Down);

        let status = |c: &mut HealthCheck| {
            c.request_path = "/teapot".into();
            let range = |from, to| StatusRange { from, to };
            c.expected_status = vec![range(200, 200), range(204, 299)];
        };
        assert_eq!(
            checked.ask("418, where 200, 204-299 is expected", status),
            Down
        );
        let status = |c: &mut HealthCheck| c.expected_status[1].to = 418;
        assert_eq!(checked.ask("418 in ", status), Up);
    });
}

/// A config over this port of so many loopback addresses.
fn over_many(mut config: BalancerConfig, ports: &[(u16, u8)]) -> BalancerConfig {
    let template = config.backends.pop().expect("one backend");
    for (net, (port, count)) in (1..).zip(ports) {
        for last in 1..=*count {
            let mut backend = template.clone();
            backend.address = Ipv4Addr::new(127, 0, net, last);
            backend.port = *port;
            config.backends.push(backend);
        }
    }
    config
}

#[test]
fn a_thousand_backends_are_each_judged_and_those_that_keep_silent_hold_up_nobody() {
    in_namespace(|| {
        let (origin, host) = (origin_at_every_address(), Host::start());
        // It takes some connections and never answers.
        let silent = TcpListener::bind("0.0.0.0:0").unwrap();
        let silent = (silent.local_addr().unwrap().port(), silent);
        let good = (origin.address.port(), 250);
        let bad = (silent.0, 250);
        let config = http_config(1, &[origin.address]);
        let mut config = over_many(config, &[bad, good, bad, good]);
        config.health_check.criteria.interval_ms = 1_000;
        config.health_check.criteria.timeout_ms = 1_000;
        host.configure(&config);
        let heartbeat = host.await_heartbeat("all are judged", |heartbeat| {
            let judged = |health| {
                heartbeat
                    .backends
                    .iter()
                    .filter(|b| b.health == health)
                    .count()
            };
            (judged(BackendHealth::Up), judged(BackendHealth::Down)) == (500, 500)
        });
        for backend in &heartbeat.backends {
            let is_silent = backend.port == silent.0;
            assert_eq!(
                backend.health == BackendHealth::Down,
                is_silent,
                "{backend:?}"
            );
            let said = backend.last_check.as_deref().unwrap_or_default();
            assert!(!is_silent || said == "no answer within 1000 ms", "{said}");
        }
    });
}

#[test]
fn a_balancer_that_lacks_descriptors_does_not_blame_its_backends() {
    in_namespace(|| {
        let origin = origin_at_every_address();
        let host = Host::start_with(Options {
            open_files: Some(48),
            ..Options::default()
        });
        let config = over_many(
            http_config(1, &[origin.address]),
            &[(origin.address.port(), 100)],
        );
        host.tell(&HostMessage::Configure(config));
        host.await_heartbeat("all are up", |heartbeat| {
            let mut backends = heartbeat.backends.iter();
            backends.len() == 100 && backends.all(|b| b.health == BackendHealth::Up)
        });
        let blames = |message: &GuestMessage| match message {
            GuestMessage::Heartbeat(heartbeat) => heartbeat
                .backends
                .iter()
                .any(|b| b.health == BackendHealth::Down),
            _ => false,
        };
        assert!(!host.has_heard(blames), "a backend was down");
        let lacks = |message: &GuestMessage| match message {
            GuestMessage::Heartbeat(heartbeat) => heartbeat.backends.iter().any(|b| {
                let said = b.last_check.as_deref().unwrap_or_default();
                said.starts_with("it could not be asked: ")
            }),
            _ => false,
        };
        assert!(host.has_heard(lacks), "descriptors never ran out");
    });
}

#[test]
fn a_tcp_check_asks_for_no_more_than_a_connection() {
    in_namespace(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!("bound to IPv4");
        };
        let host = Host::start();
        host.serve(&tcp_config(1, &[address]));
        drop(listener);
        let heartbeat = host.await_heartbeat("it is down", |heartbeat| {
            heartbeat.backends[0].health == BackendHealth::Down
        });
        assert_eq!(heartbeat.generation, Some(Generation(1)));
        let said = heartbeat.backends[0].last_check.as_deref();
        assert_eq!(said, Some("connection refused"));
    });
}

/// An origin that every loopback address reaches.
fn origin_at_every_address() -> Origin {
    Origin::http_at((Ipv4Addr::UNSPECIFIED, 0).into(), |_| plain("a"))
}
