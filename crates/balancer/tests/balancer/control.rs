//! The control channel and the process's life.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{Generation, GuestMessage, HostMessage, TrafficType};

use crate::support::{
    Client, Host, Options, Origin, eventually, get, http_config, in_namespace, plain, spawn,
};

#[test]
fn who_it_is_comes_over_the_channel() {
    in_namespace(|| {
        let (near, far) = UnixStream::pair().unwrap();
        let process = spawn("--channel-fd", &OwnedFd::from(far), &Options::default());
        let host = Host::over(near, process, Options::default());
        eventually("it asks who it is", || {
            host.has_heard(|m| matches!(m, GuestMessage::AwaitingBoot { .. }))
                .then_some(())
        });
        let (origin, boot) = (Origin::named("a"), host.boot());
        // A configuration may come before the balancer knows where to listen.
        host.tell(&HostMessage::Configure(http_config(1, &[origin.address])));
        host.tell(&HostMessage::Boot(boot));
        host.await_generation(Generation(1));
        assert_eq!(get(host.front(), "/").text(), "a");
    });
}

#[test]
fn a_configuration_is_refused_whole_and_the_old_one_goes_on() {
    in_namespace(|| {
        let (origin, host) = (Origin::named("a"), Host::start());
        host.serve(&http_config(1, &[origin.address]));
        let mut bad = http_config(2, &[origin.address, origin.address]);
        bad.backends[1].port = 0;
        host.tell(&HostMessage::Configure(bad));
        let heartbeat = host.await_heartbeat("it is refused", |h| h.refused.is_some());
        let refused = heartbeat.refused.unwrap();
        assert_eq!(
            (refused.generation, &*refused.path),
            (Generation(2), "backends[1].port")
        );
        assert_eq!(heartbeat.generation, Some(Generation(1)));
        assert_eq!(get(host.front(), "/").text(), "a");
        host.tell_raw(b"{\"message\":\"configure\",\"generation\":3,\"port\":\"eighty\"}\n");
        host.await_heartbeat("nonsense is refused", |h| {
            h.refused
                .as_ref()
                .is_some_and(|r| r.generation == Generation(3))
        });
        host.tell_raw(b"not json at all\n");
        host.configure(&http_config(4, &[origin.address]));
        assert_eq!(host.next_heartbeat().refused, None);
        // An older one is ignored.
        host.tell(&HostMessage::Configure(http_config(3, &[])));
        assert_eq!(host.next_heartbeat().generation, Some(Generation(4)));
    });
}

#[test]
fn a_port_that_is_taken_is_tried_until_it_is_free() {
    in_namespace(|| {
        let (origin, host) = (Origin::named("a"), Host::start());
        let taken = std::net::TcpListener::bind(host.front()).unwrap();
        host.tell(&HostMessage::Configure(http_config(1, &[origin.address])));
        let heartbeat = host.await_heartbeat("it says so", |h| h.refused.is_some());
        assert_eq!(heartbeat.generation, None);
        let refused = heartbeat.refused.unwrap();
        assert!(
            refused.path == "port" && refused.message.contains("cannot listen"),
            "{refused:?}"
        );
        drop(taken);
        host.await_generation(Generation(1));
        assert_eq!(get(host.front(), "/").text(), "a");
        assert_eq!(host.next_heartbeat().refused, None);
    });
}

#[test]
fn a_front_address_that_is_not_there_yet_is_waited_for() {
    in_namespace(|| {
        let front = Ipv4Addr::new(10, 200, 0, 5);
        let origin = Origin::named("a");
        let host = Host::start_with(Options {
            front: Some(front),
            ..Options::default()
        });
        host.tell(&HostMessage::Configure(http_config(1, &[origin.address])));
        host.await_heartbeat("it says so", |h| {
            h.refused.is_some() && h.generation.is_none()
        });
        let added = Command::new("ip")
            .args(["addr", "add", "10.200.0.5/16", "dev", "lo"])
            .status();
        assert!(added.unwrap().success());
        host.await_generation(Generation(1));
        assert_eq!(get(host.front(), "/").text(), "a");
    });
}

#[test]
fn traffic_may_change_its_kind() {
    in_namespace(|| {
        let (origin, host) = (Origin::named("a"), Host::start());
        host.serve(&http_config(1, &[origin.address]));
        let mut kept = Client::connect(host.front());
        assert_eq!(kept.get("/").field("Via"), Some("1.1 evenkeel"));
        let mut config = http_config(2, &[origin.address]);
        config.traffic = TrafficType::Tcp;
        host.configure(&config);
        assert_eq!(get(host.front(), "/").field("Via"), None);
        assert_eq!(kept.get("/").field("Via"), Some("1.1 evenkeel"));
    });
}

#[test]
fn the_host_may_come_and_go_and_traffic_does_not_notice() {
    in_namespace(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("channel");
        let listener = UnixListener::bind(&path).unwrap();
        let options = Options::default();
        let process = spawn("--listen-channel-fd", &OwnedFd::from(listener), &options);
        let connect = || UnixStream::connect(&path).unwrap();
        let mut host = Host::over(connect(), process, options);
        let origin = Origin::named("a");
        host.tell(&HostMessage::Boot(host.boot()));
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        for generation in 2..12 {
            // A host that dies within a line.
            host.tell_raw(b"{\"message\":\"conf");
            host.reconnect(connect());
            assert_eq!(client.get("/").text(), "a");
            host.configure(&http_config(generation, &[origin.address]));
        }
        // Two hosts at once: the newer one is believed.
        let older = connect();
        host.reconnect(connect());
        host.configure(&http_config(12, &[origin.address]));
        drop(older);
        assert_eq!(client.get("/").text(), "a");
    });
}

#[test]
fn a_host_that_does_not_listen_stops_nothing() {
    in_namespace(|| {
        let (near, far) = UnixStream::pair().unwrap();
        let process = spawn("--channel-fd", &OwnedFd::from(far), &Options::default());
        let (aside, _kept) = UnixStream::pair().unwrap();
        let mut host = Host::over(aside, process, Options::default());
        let origin = Origin::named("a");
        let say = |message: &HostMessage| {
            let mut line = serde_json::to_vec(message).unwrap();
            line.push(b'\n');
            std::io::Write::write_all(&mut &near, &line).unwrap();
        };
        let mut boot = host.boot();
        boot.heartbeat_ms = 1;
        say(&HostMessage::Boot(boot));
        say(&HostMessage::Configure(http_config(1, &[origin.address])));
        eventually("it serves", || {
            std::net::TcpStream::connect(host.front()).ok()
        });
        // The channel fills up, since nobody reads.
        let mut client = Client::connect(host.front());
        for _ in 0..500 {
            assert_eq!(client.get("/").text(), "a");
        }
        std::thread::sleep(Duration::from_millis(300));
        host.reconnect(near);
        let first = host.next_heartbeat();
        let later = host.await_heartbeat("newer ones", |h| h.sequence > first.sequence + 10);
        assert_eq!(later.generation, Some(Generation(1)));
    });
}

#[test]
fn a_new_process_goes_on_with_the_configuration_that_was_kept() {
    in_namespace(|| {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            config_file: Some(directory.path().join("config.json")),
            ..Options::default()
        };
        let origin = Origin::named("a");
        let mut host = Host::start_with(options.clone());
        host.serve(&http_config(7, &[origin.address]));
        host.signal(libc::SIGKILL);
        host.wait();
        let again = Host::start_with(options);
        again.await_generation(Generation(7));
        assert_eq!(get(again.front(), "/").text(), "a");
    });
}

#[test]
fn sigterm_finishes_what_is_under_way_and_takes_nothing_new() {
    in_namespace(|| {
        let release = Arc::new(AtomicBool::new(false));
        let waits = Arc::clone(&release);
        let origin = Origin::http(move |_| {
            while !waits.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            plain("done")
        });
        let mut host = Host::start();
        host.serve(&http_config(1, &[origin.address]));
        let mut idle = Client::connect(host.front());
        let mut busy = Client::connect(host.front());
        let mut late = Client::connect(host.front());
        busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        host.await_heartbeat("it is under way", |h| h.backends[0].active == 1);
        host.signal(libc::SIGTERM);
        eventually("nothing new is taken", || {
            std::net::TcpStream::connect(host.front())
                .is_err()
                .then_some(())
        });
        // A request that meets the end on its way is served as well.
        late.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(idle.rest().as_deref(), Some(&b""[..]));
        release.store(true, Ordering::SeqCst);
        for client in [&mut busy, &mut late] {
            let reply = client.reply(false).unwrap();
            assert_eq!(
                (reply.text(), reply.field("Connection")),
                ("done".to_owned(), Some("close"))
            );
        }
        assert!(host.wait().success());
    });
}

#[test]
fn running_out_of_descriptors_refuses_nobody_for_ever() {
    in_namespace(|| {
        let origin = Origin::named("a");
        let host = Host::start_with(Options {
            open_files: Some(64),
            ..Options::default()
        });
        host.serve(&http_config(1, &[origin.address]));
        let crowd: Vec<_> = (0..200).map(|_| Client::connect(host.front())).collect();
        host.await_heartbeat("it is full", |h| h.counters.open_connections > 30);
        drop(crowd);
        eventually("it serves again", || {
            let mut client = Client::connect(host.front());
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client.reply(false).filter(|reply| reply.text() == "a")
        });
    });
}

#[test]
fn a_process_that_stood_still_as_a_whole_says_so_and_not_that_its_hot_path_did() {
    const STILL: Duration = Duration::from_millis(1_500);
    in_namespace(|| {
        let (origin, host) = (Origin::named("a"), Host::start());
        host.serve(&http_config(1, &[origin.address]));
        host.await_heartbeat("progress is seen", |heartbeat| {
            heartbeat.progress_age_ms.is_some()
        });
        let before = host.next_heartbeat();
        host.signal(libc::SIGSTOP);
        // The time that it stands still is what is tried here.
        std::thread::sleep(STILL);
        host.signal(libc::SIGCONT);
        let still_ms = STILL.as_millis() as u64;
        let uptime_ms = before.uptime_ms + still_ms;
        host.await_heartbeat("it goes on as before", |heartbeat| {
            heartbeat.uptime_ms > uptime_ms && heartbeat.lag_ms < still_ms / 2
        });
        let later = RefCell::new(Vec::new());
        host.has_heard(|message| {
            if let GuestMessage::Heartbeat(heartbeat) = message
                && heartbeat.sequence > before.sequence
            {
                let age_ms = heartbeat.progress_age_ms.expect("it was seen before");
                later.borrow_mut().push((heartbeat.lag_ms, age_ms));
            }
            false
        });
        let later = later.into_inner();
        let lag_ms = later.iter().map(|(lag_ms, _)| *lag_ms).max();
        let age_ms = later.iter().map(|(_, age_ms)| *age_ms).max();
        assert!(lag_ms > Some(still_ms * 3 / 4), "{later:?}");
        assert!(age_ms < Some(still_ms * 3 / 4), "{later:?}");
    });
}
