//! What Debian's collectd sends is read here, and what is written here collectd takes: plain, signed and
//! encrypted.
//!
//! One daemon stands between a test's two sockets. It measures by itself, and it passes on what it takes, so
//! that what comes back has been read by it and written anew.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what a test needs and does not find fails the test"
)]

use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use collectd::{
    Key, PACKET_BYTES, PacketWriter, Protection, Time, Value, ValueList, open, read,
    seal_encrypted, seal_signed,
};

/// Where the daemon listens, in the test's own network.
const DAEMON: &str = "127.0.0.1:25826";
/// Within which the daemon is to have answered.
const DEADLINE: Duration = Duration::from_secs(20);

/// Runs `test` on a thread in a network of its own, with loopback up.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let outcome = std::thread::spawn(move || {
        // SAFETY: unshare has no memory effects; it changes this thread's namespace alone.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(unshared, 0, "these tests need root");
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.expect("iproute2 is installed").success());
        test();
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn key() -> Key {
    Key {
        user: "vm-7".into(),
        password: b"between the two of us".to_vec(),
    }
}

/// A daemon that ends with the test.
struct Daemon {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// Starts one that sends to `port` under `level`, and takes nothing that is protected less.
    fn start(level: &str, port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        let secret = String::from_utf8(key().password).unwrap();
        let (host, listen_port) = DAEMON.split_once(':').unwrap();
        std::fs::write(directory.path().join("users"), format!("vm-7: {secret}\n")).unwrap();
        let text = format!(
            r#"
Hostname "measured.example"
FQDNLookup false
Interval 0.2
BaseDir "{at}"
PIDFile "{at}/pid"
PluginDir "/usr/lib/collectd"
TypesDB "/usr/share/collectd/types.db"
LoadPlugin load
LoadPlugin memory
LoadPlugin network
<Plugin network>
  Forward true
  <Listen "{host}" "{listen_port}">
    SecurityLevel "{level}"
    AuthFile "{at}/users"
  </Listen>
  <Server "127.0.0.1" "{port}">
    SecurityLevel "{level}"
    Username "vm-7"
    Password "{secret}"
  </Server>
</Plugin>
"#
        );
        let config = directory.path().join("collectd.conf");
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("/usr/sbin/collectd");
        command
            .arg("-f")
            .arg("-C")
            .arg(&config)
            .stdin(Stdio::null());
        // SAFETY: prctl is a system call that touches no memory.
        let command = unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        let child = command
            .spawn()
            .expect("Debian's collectd-core is installed");
        Self {
            child,
            _directory: directory,
        }
    }
}

/// One value of each kind, under names that the daemon knows.
fn sample(round: u64) -> Vec<ValueList> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let list = |kind: &str, kind_instance: &str, value: Value| ValueList {
        host: "vm-7".into(),
        plugin: "evenkeel".into(),
        plugin_instance: "web".into(),
        kind: kind.into(),
        kind_instance: kind_instance.into(),
        time: Time::from_duration(now),
        interval: Time::from_secs(1),
        values: vec![value],
    };
    vec![
        list("gauge", "connections", Value::Gauge(12.5)),
        list("derive", "requests", Value::Derive(40 + round as i64)),
        list("counter", "packets", Value::Counter((1 << 63) + round)),
        list("absolute", "errors", Value::Absolute(3)),
    ]
}

fn packet(lists: &[ValueList]) -> Vec<u8> {
    let mut writer = PacketWriter::new(PACKET_BYTES - 128);
    for list in lists {
        assert!(writer.add(list).is_none(), "they fit");
    }
    writer.take().unwrap()
}

/// Talks with a daemon until what it measured and what it passed on have both come.
fn talk(level: &'static str, protection: Protection, seal: fn(&[u8]) -> Vec<u8>) {
    in_namespace(move || {
        let inbox = UdpSocket::bind("127.0.0.1:0").unwrap();
        inbox
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let _daemon = Daemon::start(level, inbox.local_addr().unwrap().port());
        let (began, mut buffer) = (Instant::now(), [0; 4096]);
        let (mut own, mut passed_on) = (Vec::new(), Vec::new());
        for round in 0.. {
            // More than once: the daemon may not listen yet, and it sends when a packet is full.
            let sent = sample(round);
            let _refused_while_it_starts = inbox.send_to(&seal(&packet(&sent)), DAEMON);
            if let Ok(length) = inbox.recv(&mut buffer) {
                let password = key().password;
                let opened = open(&buffer[..length], |user| {
                    (user == "vm-7").then_some(&password[..])
                })
                .expect("it has our password");
                assert_eq!(opened.protection, protection);
                for list in read(&opened.parts).expect("it writes what we read") {
                    match list.host.as_str() {
                        "measured.example" => own.push(list),
                        host => {
                            assert_eq!(host, "vm-7");
                            passed_on.push(list);
                        }
                    }
                }
            }
            let kinds = ["gauge", "derive", "counter", "absolute"];
            let has = |kind: &&str| passed_on.iter().any(|list| list.kind == **kind);
            if !own.is_empty() && kinds.iter().all(has) {
                break;
            }
            assert!(
                began.elapsed() < DEADLINE,
                "own {own:?}, passed on {passed_on:?}"
            );
        }
        check_own(&own);
        check_passed_on(&passed_on);
    });
}

fn check_own(own: &[ValueList]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for list in own {
        let age = now.abs_diff(list.time.to_duration());
        assert!(age < Duration::from_secs(60), "{list} is {age:?} off");
        let interval = list.interval.to_duration();
        assert!(interval.abs_diff(Duration::from_millis(200)) < Duration::from_millis(1));
        let sound = |value: &Value| matches!(value, Value::Gauge(g) if *g >= 0.0);
        assert!(list.values.iter().all(sound), "{list}: {:?}", list.values);
    }
}

fn check_passed_on(passed_on: &[ValueList]) {
    for list in passed_on {
        assert_eq!(
            (list.plugin.as_str(), list.plugin_instance.as_str()),
            ("evenkeel", "web")
        );
        let expected = |value: &Value| match (list.kind_instance.as_str(), value) {
            ("connections", Value::Gauge(figure)) => *figure == 12.5,
            ("requests", Value::Derive(count)) => (40..1_000).contains(count),
            ("packets", Value::Counter(count)) => *count >= 1 << 63,
            ("errors", Value::Absolute(count)) => *count == 3,
            _ => false,
        };
        assert!(
            list.values.iter().all(expected),
            "{list}: {:?}",
            list.values
        );
        assert_eq!(list.values.len(), 1);
        assert_eq!(list.interval, Time::from_secs(1));
    }
}

#[test]
fn debians_collectd_and_ours_understand_each_other_in_the_clear() {
    talk("None", Protection::Plain, <[u8]>::to_vec);
}

#[test]
fn debians_collectd_and_ours_understand_each_other_signed() {
    talk("Sign", Protection::Signed, |parts| {
        seal_signed(parts, &key())
    });
}

#[test]
fn debians_collectd_and_ours_understand_each_other_encrypted() {
    talk("Encrypt", Protection::Encrypted, |parts| {
        seal_encrypted(parts, &key(), [42; 16])
    });
}
