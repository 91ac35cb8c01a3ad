//! Figures go the whole way between real daemons, and what somebody made of them on the way does not.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use end_to_end::{Collectd, Driver, Evenkeel, Host, Running, Web, eventually, within};
use serde_json::{Value, json};

/// Records the packets of VMs that go to the monitor, as they are: one to a file, under its sender's address.
const RECORDER: &str = r#"
import os, socket, sys
listener = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
listener.bind(('ek-front', 0))
for number in range(10000):
    packet = listener.recv(65535)
    udp = packet[(packet[0] & 15) * 4:]
    if packet[9] == 17 and udp[2:4] == (25826).to_bytes(2, 'big'):
        at = os.path.join(sys.argv[1], socket.inet_ntoa(packet[12:16]))
        os.makedirs(at, exist_ok=True)
        with open(os.path.join(at, 'next'), 'wb') as file: file.write(udp[8:])
        os.rename(os.path.join(at, 'next'), os.path.join(at, '%05d' % number))
"#;
/// Sends a file's bytes to the monitor from an address of the VM's own.
const SENDER: &str = r#"
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind((sys.argv[1], 0))
sender.sendto(open(sys.argv[2], 'rb').read(), ('10.200.0.1', 25826))
"#;

/// Somebody between a VM and the monitor.
struct Eavesdropper<'h> {
    host: &'h Host,
    _recorder: Running<'h>,
}

impl<'h> Eavesdropper<'h> {
    fn listen(host: &'h Host) -> Self {
        for (name, text) in [("recorder.py", RECORDER), ("sender.py", SENDER)] {
            fs::write(host.path(name), text).expect("the host's directory can be written");
        }
        let (program, packets) = (host.path("recorder.py"), host.path("packets"));
        let arguments = [program, packets].map(|path| path.display().to_string());
        let recorder = host.start("recorder", "python3", &arguments.each_ref().map(|a| &**a));
        Self {
            host,
            _recorder: recorder,
        }
    }

    /// A packet that came from an address.
    fn recorded(&self, address: &str) -> Vec<u8> {
        let directory = self.host.path("packets").join(address);
        eventually("a packet is recorded", || {
            let files = fs::read_dir(&directory).map_err(|error| error.to_string())?;
            let mut files = files.flatten().map(|entry| entry.path());
            let whole = files.find(|path| !path.ends_with("next"));
            let whole = whole.ok_or("none is whole")?;
            fs::read(whole).map_err(|error| error.to_string())
        })
    }

    /// Sends a packet as a VM would.
    fn send(&self, vm: u64, address: &str, packet: &[u8]) {
        let (program, file) = (self.host.path("sender.py"), self.host.path("forged"));
        fs::write(&file, packet).expect("the host's directory can be written");
        let (program, file) = (program.display(), file.display());
        self.host.shell(&format!(
            "ip netns exec ek-v{vm} python3 {program} {address} {file}"
        ));
    }
}

/// How many packets of this kind of sender were refused for a reason, as `status` tells it.
fn refused(evenkeel: &Evenkeel<'_>, whose: &str) -> BTreeMap<String, u64> {
    let system = evenkeel.door().do_("info", "system", json!({}));
    let reasons = system["refused"][whose].as_object().cloned();
    let reasons = reasons.into_iter().flatten();
    reasons
        .filter_map(|(reason, packets)| Some((reason, packets.as_u64()?)))
        .collect()
}

/// Waits until so many packets more than `before` are refused for this reason, and holds that none was for another.
/// A daemon that is to send is prodded: it queues a value before it can flush it.
fn await_refused(
    evenkeel: &Evenkeel<'_>,
    whose: &str,
    before: &BTreeMap<String, u64>,
    reason: &str,
    more: u64,
    prod: &dyn Fn(),
) {
    let mut expected = before.clone();
    *expected.entry(reason.to_owned()).or_default() += more;
    eventually("it is refused and counted", || {
        prod();
        let found = refused(evenkeel, whose);
        (found == expected).then_some(()).ok_or(found)
    });
}

/// The VM's key, which only root can read.
fn key_of(host: &Host, vm: u64) -> String {
    let record = fs::read(host.path(&format!("run/vms/vm{vm}/vm.json"))).expect("root reads it");
    let record: Value = serde_json::from_slice(&record).expect("it is JSON");
    let key = record["boot"]["monitor"]["key"].as_str();
    key.expect("a VM has a key").to_owned()
}

/// The newest value of the figure `memory`, which no balancer tells that has no machine of its own.
fn memory(evenkeel: &Evenkeel<'_>) -> Option<f64> {
    let info =
        json!({ "project": "p", "instance": "web", "figure": "memory", "step": 1, "last": 60 });
    let told = evenkeel.door().do_("info", "figures", info);
    let values = told["figures"][0]["rows"][0]["values"].as_array()?;
    values.iter().rev().find_map(Value::as_f64)
}

#[test]
fn packets_that_were_altered_repeated_or_made_with_another_key_are_refused_and_counted_by_reason() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let web = Web::create(&host, evenkeel.door(), 2);
    let (vm, other) = (web.vms()[0].clone(), web.vms()[1].clone());
    let eavesdropper = Eavesdropper::listen(&host);
    let packet = eavesdropper.recorded(&vm.address);
    let of_other = eavesdropper.recorded(&other.address);
    let before = refused(&evenkeel, "vms");

    // Its own packet once more.
    for _ in 0..2 {
        eavesdropper.send(vm.id, &vm.address, &packet);
    }
    await_refused(&evenkeel, "vms", &before, "stale", 2, &|| ());
    // With one bit turned: in what is encrypted, in its key's name, and in the words that say it is encrypted.
    let before = refused(&evenkeel, "vms");
    for at in [packet.len() - 1, packet.len() / 2, 7] {
        let mut altered = packet.clone();
        altered[at] ^= 1;
        eavesdropper.send(vm.id, &vm.address, &altered);
    }
    // Another VM's packet, and from this one's address; and its own from the other's.
    eavesdropper.send(vm.id, &vm.address, &of_other);
    eavesdropper.send(other.id, &other.address, &packet);
    await_refused(&evenkeel, "vms", &before, "sealed", 5, &|| ());
    let table = evenkeel.cli("status");
    assert!(table.contains("5 sealed"), "{table}");

    // A daemon beside the balancer that has the VM's key is heard, in the time there is.
    let user = format!("vm-{}", vm.id);
    let key = key_of(&host, vm.id);
    let namespace = format!("ek-v{}", vm.id);
    let daemon = |security: &str, password: &str| {
        let server = format!(
            "<Server \"10.200.0.1\" \"25826\">\nSecurityLevel \"{security}\"\nUsername \"{user}\"\nPassword \"{password}\"\n</Server>"
        );
        Collectd::start(&host, &namespace, &user, &server, "")
    };
    let good = daemon("Encrypt", &key);
    let figure = format!("{user}/memory/memory-used");
    within(Duration::from_secs(30), "its figures are kept", || {
        good.put(&figure, "N", "4096");
        match memory(&evenkeel) {
            Some(4096.0) => Ok(()),
            other => Err(other),
        }
    });
    let before = refused(&evenkeel, "vms");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is past 1970");
    // The daemon takes each time once, and what it had not sent yet may go in the same packet.
    let mut long_ago = now.as_secs() - 3_600;
    eventually("what is of an hour ago is refused", || {
        long_ago += 1;
        let free = format!("{user}/memory/memory-free");
        good.put(&free, &long_ago.to_string(), "1");
        let found = refused(&evenkeel, "vms");
        (found.get("stale") > before.get("stale"))
            .then_some(())
            .ok_or(found)
    });
    drop(good);

    for (security, password, reason) in [
        ("Encrypt", "another", "sealed"),
        ("Sign", "another", "sealed"),
        ("Sign", &*key, "plain"),
    ] {
        let before = refused(&evenkeel, "vms");
        let daemon = daemon(security, password);
        within(Duration::from_secs(30), "a daemon is refused", || {
            daemon.put(&figure, "N", "666");
            let found = refused(&evenkeel, "vms");
            (found.get(reason) > before.get(reason))
                .then_some(())
                .ok_or(found)
        });
    }
    assert_ne!(memory(&evenkeel), Some(666.0));
}

/// The newest value of a figure of the backends' hosts, by backend.
fn told_by_hosts(evenkeel: &Evenkeel<'_>, figure: &str) -> BTreeMap<String, f64> {
    let info = json!({
        "project": "p", "instance": "web", "figure": figure, "by": "backend", "step": 1, "last": 60,
    });
    let told = evenkeel.door().do_("info", "figures", info);
    let rows = told["figures"][0]["rows"].as_array().cloned();
    let rows = rows.unwrap_or_default().into_iter();
    let newest = |row: Value| {
        let backend = row["backend"].as_str()?.to_owned();
        let values = row["values"].as_array()?.iter();
        Some((backend, values.rev().find_map(Value::as_f64)?))
    };
    rows.filter_map(newest).collect()
}

#[test]
fn figures_of_backends_hosts_by_the_users_own_collectd_are_told_with_the_backends() {
    let host = Host::new();
    let passwords = host.path("passwords");
    fs::write(&passwords, "p: of the project\nq: of another\n").expect("it can be written");
    let section = format!(
        "[collectd]\nlisten = '192.0.2.1:25826'\nsecurity = 'none'\nauth_file = '{}'\n",
        passwords.display()
    );
    let evenkeel = Evenkeel::start_with(&host, Driver::Process, &section);
    let web = Web::create(&host, evenkeel.door(), 1);
    assert!(
        web.name.starts_with("web.p."),
        "the label is the user: {}",
        web.name
    );
    // The servers' way to the operator's network, from one of their addresses.
    host.shell(
        "ip link add ops type veth peer name eth1 netns cable-net && ip link set ops up && \
         ip address add 192.0.2.1/24 dev ops && ip route add 1.1.1.0/24 dev ops && \
         ip -n cable-net link set eth1 up && \
         ip -n cable-net route add 192.0.2.1/32 dev eth1 src 1.1.1.11",
    );
    let server = |more: &str| format!("<Server \"192.0.2.1\" \"25826\">\n{more}\n</Server>");
    let sealed = |level: &str, user: &str, password: &str| {
        server(&format!(
            "SecurityLevel \"{level}\"\nUsername \"{user}\"\nPassword \"{password}\""
        ))
    };
    let await_told = |figure: &str, backend: &str, expected: f64, by: &Collectd<'_>| {
        within(
            Duration::from_secs(30),
            "it is told with the backend",
            || {
                by.flush();
                let told = told_by_hosts(&evenkeel, figure);
                (told.get(backend) == Some(&expected))
                    .then_some(())
                    .ok_or(told)
            },
        );
    };

    // In the clear, by the address that it comes from; with what the plugins measure.
    let plugins =
        "LoadPlugin cpu\nLoadPlugin memory\nLoadPlugin interface\nLoadPlugin load\nLoadPlugin df\n";
    let plain = Collectd::start(&host, "cable-net", "db", &server(""), plugins);
    within(Duration::from_secs(30), "a real host is told", || {
        plain.flush();
        let told = ["host-cpu", "host-memory", "host-load", "host-received"]
            .map(|figure| told_by_hosts(&evenkeel, figure).get("1.1.1.11").copied());
        match told {
            [Some(cpu), Some(memory), Some(load), Some(_)] => {
                assert!(
                    (0.0..=100.0).contains(&cpu) && memory > 1e6 && load >= 0.0,
                    "{told:?}"
                );
                Ok(())
            }
            unknown => Err(unknown),
        }
    });
    let table = evenkeel.cli("figures web --by backend --last 1m");
    assert!(
        table.contains("host-cpu") && table.contains("1.1.1.11"),
        "{table}"
    );
    drop(plain);

    // Signed and encrypted, by the name that it bears.
    let signed = Collectd::start(
        &host,
        "cable-net",
        "1.1.1.10",
        &sealed("Sign", "p", "of the project"),
        "",
    );
    signed.put("1.1.1.10/memory/memory-used", "N", "4096");
    await_told("host-memory", "1.1.1.10", 4096.0, &signed);
    drop(signed);
    let encrypted = sealed("Encrypt", "p", "of the project");
    let encrypted = Collectd::start(&host, "cable-net", "1.1.1.10", &encrypted, "");
    encrypted.put("1.1.1.10/load/load", "N", "1.5:1:1");
    await_told("host-load", "1.1.1.10", 1.5, &encrypted);
    drop(encrypted);

    // Another's password, a project that is not there, and a host that is no backend.
    assert_eq!(refused(&evenkeel, "hosts"), BTreeMap::new());
    for (user, password, name, reason) in [
        ("p", "guessed", "1.1.1.10", "sealed"),
        ("q", "of another", "1.1.1.10", "stranger"),
    ] {
        let daemon = Collectd::start(
            &host,
            "cable-net",
            name,
            &sealed("Encrypt", user, password),
            "",
        );
        let before = refused(&evenkeel, "hosts");
        daemon.put(&format!("{name}/memory/memory-used"), "N", "666");
        await_refused(&evenkeel, "hosts", &before, reason, 1, &|| daemon.flush());
    }
    let before = refused(&evenkeel, "hosts");
    let stranger = Collectd::start(&host, "", "elsewhere", &server(""), "");
    stranger.put("elsewhere/memory/memory-used", "N", "666");
    await_refused(&evenkeel, "hosts", &before, "stranger", 1, &|| {
        stranger.flush()
    });
    let told = told_by_hosts(&evenkeel, "host-memory");
    assert_ne!(told.get("1.1.1.10"), Some(&666.0));
}

#[test]
fn what_vms_tell_is_sent_on_to_the_users_own_collectd() {
    let host = Host::new();
    for (name, text) in [
        ("users", "collector: a secret\n"),
        ("password", "a secret\n"),
    ] {
        fs::write(host.path(name), text).expect("it can be written");
    }
    let own_types = host.path("run/types.db");
    let listen = |port: u16, level: &str| {
        let users = host.path("users").display().to_string();
        let listen = format!(
            "<Listen \"127.0.0.1\" \"{port}\">\nSecurityLevel \"{level}\"\nAuthFile \"{users}\"\n</Listen>"
        );
        let types = format!("TypesDB \"{}\"\n", own_types.display());
        Collectd::start(&host, "", "collector", &listen, &types)
    };
    let section = |port: u16, security: &str| {
        let password = host.path("password");
        format!(
            "[collectd.forward]\nserver = '127.0.0.1:{port}'\nsecurity = '{security}'\n\
             user = 'collector'\npassword_file = '{}'\n",
            password.display()
        )
    };
    let mut evenkeel = Evenkeel::start_with(&host, Driver::Process, &section(26_001, "encrypt"));
    let web = Web::create(&host, evenkeel.door(), 1);
    let vm = web.vms()[0].clone();
    let name = format!(
        "vm-{}.{}",
        vm.id,
        web.name.split_once(".lb").map_or("", |name| name.0)
    );
    let await_told = |server: &Collectd<'_>| {
        within(Duration::from_secs(30), "a real server has it", || {
            for _ in 0..3 {
                web.fetch_from(&vm.address)?;
            }
            let known = server.known();
            let lists = [
                "evenkeel/derive-requests",
                "evenkeel/evenkeel_answers",
                "cpu/percent-active",
            ];
            let has = |list: &&str| known.contains(&format!("{name}/{list}"));
            match lists.iter().all(has) {
                true => Ok(()),
                false => Err(format!("{known:?}")),
            }
        });
        within(
            Duration::from_secs(30),
            "requests are told as a rate",
            || {
                web.fetch_from(&vm.address)?;
                let values = server.values(&format!("{name}/evenkeel/derive-requests"));
                let rate = values
                    .first()
                    .and_then(|value| value.strip_prefix("value="));
                let rate = rate.and_then(|rate| rate.parse::<f64>().ok());
                match rate {
                    Some(rate) if (0.0..10_000.0).contains(&rate) && rate > 0.0 => Ok(()),
                    _ => Err(format!("{values:?}")),
                }
            },
        );
    };
    eventually("its types are written", || {
        fs::metadata(&own_types).map(drop)
    });
    let await_trouble = |evenkeel: &Evenkeel<'_>, expected: bool| {
        eventually("status says whether somebody is there", || {
            let table = evenkeel.cli("status");
            let is_told = table.contains("not all sent on to 127.0.0.1");
            (is_told == expected).then_some(()).ok_or(table)
        });
    };
    await_trouble(&evenkeel, true);
    let encrypted = listen(26_001, "Encrypt");
    await_told(&encrypted);
    await_trouble(&evenkeel, false);
    drop(encrypted);
    await_trouble(&evenkeel, true);

    // The user's server may be away, and have another one in its place.
    assert!(evenkeel.stop());
    Evenkeel::configure(&host, Driver::Process, &section(26_002, "sign"));
    evenkeel.resume();
    let signed = listen(26_002, "Sign");
    await_told(&signed);
}
