//! A supervisor that keeps a balancer running, and replaces it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{BackendHealth, Generation};

use crate::support::{
    Client, Host, Options, Origin, eventually, get, http_config, in_namespace, plain, spawn,
};

/// A supervised balancer that is reached as under the `process` driver.
struct Supervised {
    host: Host,
    directory: tempfile::TempDir,
    /// How the socket that the host connects to is called where processes' descriptors are listed.
    socket: PathBuf,
}

impl Supervised {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("channel");
        let listener = UnixListener::bind(&path).unwrap();
        let socket = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        let options = Options {
            supervised: true,
            ..Options::default()
        };
        let process = spawn("--listen-channel-fd", &OwnedFd::from(listener), &options);
        let host = Host::over(UnixStream::connect(&path).unwrap(), process, options);
        host.tell(&model::HostMessage::Boot(host.boot()));
        Self {
            host,
            directory,
            socket,
        }
    }

    fn reconnect(&mut self) {
        let stream = UnixStream::connect(self.directory.path().join("channel")).unwrap();
        self.host.reconnect(stream);
    }

    /// The balancers that the supervisor runs, oldest first.
    fn balancers(&self) -> Vec<i32> {
        let pid = self.host.process.id();
        let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let listed = listed.unwrap_or_default();
        listed
            .split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect()
    }

    fn the_balancer(&self) -> i32 {
        *self.balancers().first().expect("a balancer runs")
    }

    /// Replaces the balancer, and waits until the new one serves.
    fn replace(&mut self, generation: u64) {
        let before = self.balancers();
        self.host.signal(libc::SIGUSR2);
        // The host's connection ends with the old one's part, which may take a connection up to then.
        eventually("only a new process takes connections", || {
            let takes = before.iter().any(|pid| self.takes_connections(*pid));
            (!takes).then_some(())
        });
        self.reconnect();
        self.host.await_generation(Generation(generation));
    }

    /// Whether the host may have this process for a partner.
    fn takes_connections(&self, pid: i32) -> bool {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
        open.into_iter().flatten().flatten().any(|descriptor| {
            std::fs::read_link(descriptor.path()).is_ok_and(|file| file == self.socket)
        })
    }
}

fn kill(pid: i32) {
    // SAFETY: the number is of the supervisor's child, which is reaped only after its end.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

#[test]
fn a_killed_balancer_refuses_nobody_and_its_successor_knows_all() {
    in_namespace(|| {
        let (up, down) = (Origin::named("up"), Origin::named("down"));
        let mut supervised = Supervised::start();
        let config = http_config(3, &[up.address, down.address]);
        supervised.host.serve(&config);
        down.stop();
        supervised.host.await_heartbeat("one is down", |heartbeat| {
            heartbeat.backends[1].health == BackendHealth::Down
        });
        for _ in 0..3 {
            kill(supervised.the_balancer());
            // Nothing is refused, and the dead backend is not tried anew: each would be an error here.
            for _ in 0..20 {
                let reply = get(supervised.host.front(), "/");
                assert_eq!((reply.status, reply.text()), (200, "up".to_owned()));
            }
        }
        supervised.reconnect();
        let heartbeat = supervised.host.await_heartbeat("it goes on", |heartbeat| {
            heartbeat.generation == Some(Generation(3))
        });
        assert_eq!(heartbeat.backends[1].health, BackendHealth::Down);
        assert_eq!(heartbeat.counters.errors, 0);
    });
}

#[test]
fn a_balancer_that_took_over_is_told_to_drain_again_and_answers_for_what_is_left_to_the_one_before()
{
    in_namespace(|| {
        let origin = Origin::named("up");
        let mut supervised = Supervised::start();
        supervised.host.serve(&http_config(1, &[origin.address]));
        let front = supervised.host.front();
        let drain = |host: &Host| {
            host.tell(&model::HostMessage::Drain);
            host.await_heartbeat("it drains", |h| h.draining == Some(true));
            host.await_turns();
            assert_eq!(get(front, "/").field("Connection"), Some("close"));
        };
        let mut kept = Client::connect(front);
        assert_eq!(kept.get("/").text(), "up");
        drain(&supervised.host);
        supervised.replace(1);
        let host = &supervised.host;
        host.await_heartbeat("it was not told", |h| h.draining == Some(false));
        drain(host);
        let others = |h: &model::Heartbeat| (h.counters.open_connections, h.deserted_ms);
        host.await_heartbeat("a client is left", |h| others(h) == (0, None));
        let reply = kept.get("/");
        let closes = reply.field("Connection");
        assert_eq!((reply.text().as_str(), closes), ("up", Some("close")));
        drop(kept);
        host.await_heartbeat("nobody is left", |h| h.deserted_ms >= Some(300));
        kill(supervised.the_balancer());
        assert_eq!(get(front, "/").field("Connection"), None);
        supervised.reconnect();
        let host = &supervised.host;
        host.await_heartbeat("it knows nothing", |h| h.draining == Some(false));
        drain(host);
    });
}

#[test]
fn a_replaced_balancer_finishes_what_it_has_and_takes_nothing_more() {
    in_namespace(|| {
        let release = Arc::new(AtomicBool::new(false));
        let waits = Arc::clone(&release);
        let origin = Origin::http(move |request| {
            while request.target() == "/slow" && !waits.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            plain("done")
        });
        let mut supervised = Supervised::start();
        supervised.host.serve(&http_config(1, &[origin.address]));
        let front = supervised.host.front();
        let old = supervised.the_balancer();
        let (mut idle, mut slow) = (Client::connect(front), Client::connect(front));
        assert_eq!(idle.get("/").text(), "done");
        slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        supervised
            .host
            .await_heartbeat("it is under way", |h| h.backends[0].active == 1);
        supervised.replace(1);
        assert_eq!(supervised.balancers().len(), 2, "the old one is not done");
        assert_eq!(get(front, "/").text(), "done");
        // A kept connection is served once more, and told that it ends.
        let reply = idle.get("/");
        assert_eq!(
            (reply.status, reply.field("Connection")),
            (200, Some("close"))
        );
        release.store(true, Ordering::SeqCst);
        let reply = slow.reply(false).unwrap();
        assert_eq!(
            (reply.text(), reply.field("Connection")),
            ("done".to_owned(), Some("close"))
        );
        eventually("the old process ends", || {
            (!supervised.balancers().contains(&old)).then_some(())
        });
        // The new one is whole: it takes configurations, and is replaced in its turn.
        supervised
            .host
            .configure(&http_config(2, &[origin.address]));
        supervised.replace(2);
        assert_eq!(get(front, "/").text(), "done");
    });
}

#[test]
fn a_new_program_that_cannot_run_changes_nothing() {
    in_namespace(|| {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("balancer");
        std::fs::copy(env!("CARGO_BIN_EXE_evenkeel-balancer"), &program).unwrap();
        let origin = Origin::named("a");
        let config = directory.path().join("config.json");
        let text = serde_json::to_vec(&http_config(1, &[origin.address])).unwrap();
        std::fs::write(&config, text).unwrap();
        let mut supervisor = start_standalone(&program, &config);
        let front = "127.0.0.1:8000".parse().unwrap();
        eventually("it serves", || std::net::TcpStream::connect(front).ok());
        let front = match front {
            std::net::SocketAddr::V4(front) => front,
            std::net::SocketAddr::V6(_) => unreachable!(),
        };
        // Another file takes its place, which ends as soon as it is run.
        std::fs::rename(&program, directory.path().join("old")).unwrap();
        std::fs::copy("/bin/false", &program).unwrap();
        let log = directory.path().join("log");
        for (signal, said) in [
            (libc::SIGUSR2, "the new process exited with status 1"),
            (libc::SIGKILL, "starting it again"),
        ] {
            let target = match signal {
                libc::SIGUSR2 => supervisor.id().cast_signed(),
                _ => child_of(supervisor.id()),
            };
            // SAFETY: both are processes of this test that nobody has waited for.
            unsafe { libc::kill(target, signal) };
            eventually("the supervisor says so", || {
                let text = std::fs::read_to_string(&log).unwrap();
                text.contains(said).then_some(())
            });
            // A crash is answered with the program that ran, not with the one on disk.
            assert_eq!(get(front, "/").text(), "a");
        }
        // SAFETY: the process was not waited for.
        unsafe { libc::kill(supervisor.id().cast_signed(), libc::SIGTERM) };
        let status = eventually("it ends", || supervisor.try_wait().unwrap());
        assert!(status.success(), "{status}");
        assert!(std::net::TcpStream::connect(front).is_err());
    });
}

fn start_standalone(program: &Path, config: &Path) -> std::process::Child {
    use std::os::unix::process::CommandExt;
    let log = std::fs::File::create(config.with_file_name("log")).unwrap();
    let mut command = Command::new(program);
    command
        .args([
            "supervise",
            "standalone",
            "--listen",
            "127.0.0.1:8000",
            "--config",
        ])
        .arg(config)
        .stderr(log);
    // SAFETY: prctl is safe between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command.spawn().unwrap()
}

fn child_of(pid: u32) -> i32 {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    listed.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_killed_supervisor_takes_its_balancer_along() {
    in_namespace(|| {
        let mut supervised = Supervised::start();
        let origin = Origin::named("a");
        supervised.host.serve(&http_config(1, &[origin.address]));
        let balancer = supervised.the_balancer();
        supervised.host.signal(libc::SIGKILL);
        supervised.host.wait();
        eventually("the balancer ends", || {
            (!Path::new(&format!("/proc/{balancer}")).exists()).then_some(())
        });
    });
}
