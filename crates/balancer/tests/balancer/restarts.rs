//! Backends that are killed and started again under load.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::support::{Client, Host, eventually, http_config, in_namespace};

/// nginx as one process, so that killing it closes everything at once.
struct Nginx {
    address: SocketAddrV4,
    directory: TempDir,
    process: Option<Child>,
}

const CONFIG: &str = "
daemon off;
master_process off;
user root;
pid DIRECTORY/pid;
error_log DIRECTORY/error;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path DIRECTORY/body;
  proxy_temp_path DIRECTORY/proxy;
  fastcgi_temp_path DIRECTORY/fastcgi;
  uwsgi_temp_path DIRECTORY/uwsgi;
  scgi_temp_path DIRECTORY/scgi;
  keepalive_requests 50;
  server {
    listen 127.0.0.1:PORT;
    location / { return 200 'well'; }
  }
}
";

impl Nginx {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!("bound to IPv4");
        };
        drop(listener);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let config = CONFIG
            .replace("DIRECTORY", path)
            .replace("PORT", &address.port().to_string());
        std::fs::write(directory.path().join("nginx.conf"), config).unwrap();
        let mut nginx = Self {
            address,
            directory,
            process: None,
        };
        nginx.restart();
        nginx
    }

    /// Starts it, and waits until it listens.
    fn restart(&mut self) {
        let path = self.directory.path();
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(path)
            .arg("-e")
            .arg(path.join("error"))
            .arg("-c")
            .arg(path.join("nginx.conf"))
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: prctl is async-signal-safe and touches no memory of the parent.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let spawned = command.spawn();
        self.process = Some(spawned.expect("nginx is there: run `scripts/setup checks`"));
        eventually("nginx listens", || TcpStream::connect(self.address).ok());
    }

    /// `kill -9`.
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Clients that ask without end, half of them on a new connection each time; none may fail.
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(host: &Host, clients: usize) -> Self {
        let (stop, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let front = host.front();
        let clients = (0..clients)
            .map(|number| {
                let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
                std::thread::spawn(move || {
                    let mut client = Client::connect(front);
                    while !stop.load(Ordering::SeqCst) {
                        if number % 2 == 0 {
                            client = Client::connect(front);
                        }
                        let reply = client.get("/");
                        assert_eq!(
                            (reply.status, &*reply.text()),
                            (200, "well"),
                            "{}",
                            reply.head
                        );
                        asked.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        Self {
            stop,
            asked,
            clients,
        }
    }

    /// Waits for so many more answers.
    fn await_answers(&self, more: usize) {
        let until = self.asked.load(Ordering::SeqCst) + more;
        eventually("answers come", || {
            let failed = self.clients.iter().any(|client| client.is_finished());
            assert!(!failed, "a request failed");
            (self.asked.load(Ordering::SeqCst) >= until).then_some(())
        });
    }

    fn finish(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.join().expect("no request failed");
        }
        self.asked.load(Ordering::SeqCst)
    }
}

#[test]
fn a_backend_that_is_killed_and_started_again_costs_no_request() {
    in_namespace(|| {
        let (mut dies, stays, host) = (Nginx::start(), Nginx::start(), Host::start());
        let mut config = http_config(1, &[dies.address, stays.address]);
        // The checks do not help: they come too late.
        config.health_check.criteria.interval_ms = 60_000;
        host.serve(&config);
        let load = Load::start(&host, 16);
        for _ in 0..5 {
            load.await_answers(200);
            dies.kill();
            load.await_answers(200);
            dies.restart();
        }
        let asked = load.finish();
        let counters = host.next_heartbeat().counters;
        assert_eq!(counters.errors, 0, "of {asked}");
    });
}

#[test]
fn the_only_backend_that_is_killed_and_started_again_costs_waiting_and_no_request() {
    in_namespace(|| {
        let (mut dies, host) = (Nginx::start(), Host::start());
        let mut config = http_config(1, &[dies.address]);
        config.health_check.criteria.interval_ms = 60_000;
        host.serve(&config);
        let load = Load::start(&host, 16);
        for _ in 0..5 {
            load.await_answers(200);
            dies.kill();
            std::thread::sleep(std::time::Duration::from_millis(100));
            dies.restart();
        }
        load.await_answers(200);
        let asked = load.finish();
        let counters = host.next_heartbeat().counters;
        assert_eq!(counters.errors, 0, "of {asked}");
    });
}
