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

/// Records the packets that go to the monitor by an interface, as they are: one to a file, under its sender's address.
const RECORDER: &str = r#"
import os, socket, sys
listener = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
listener.bind((sys.argv[2], 0))
for number in range(10000):
    packet = listener.recv(65535)
    udp = packet[(packet[0] & 15) * 4:]
    if packet[9] == 17 and udp[2:4] == (25826).to_bytes(2, 'big'):
        at = os.path.join(sys.argv[1], socket.inet_ntoa(packet[12:16]))
        os.makedirs(at, exist_ok=True)
        with open(os.path.join(at, 'next'), 'wb') as file: file.write(udp[8:])
        os.rename(os.path.join(at, 'next'), os.path.join(at, '%05d' % number))
"#;
/// Sends a file's bytes to the monitor from one of a VM's or a host's own addresses.
const SENDER: &str = r#"
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind((sys.argv[1], 0))
sender.sendto(open(sys.argv[2], 'rb').read(), (sys.argv[3], 25826))
"#;

/// Where users' hosts send to.
const OPERATOR: &str = "192.0.2.1";

/// Somebody between those who send and the monitor.
struct Eavesdropper<'h> {
    host: &'h Host,
    /// Where the monitor listens.
    monitor: &'static str,
    _recorder: Running<'h>,
}

impl<'h> Eavesdropper<'h> {
    fn listen(host: &'h Host, interface: &str, monitor: &'static str) -> Self {
        for (name, text) in [("recorder.py", RECORDER), ("sender.py", SENDER)] {
            fs::write(host.path(name), text).expect("the host's directory can be written");
        }
        let (program, packets) = (host.path("recorder.py"), host.path("packets"));
        let [program, packets] = [program, packets].map(|path| path.display().to_string());
        let recorder = host.start("recorder", "python3", &[&program, &packets, interface]);
        Self {
            host,
            monitor,
            _recorder: recorder,
        }
    }

    /// A packet that came from an address and begins so.
    fn recorded(&self, address: &str, beginning: &[u8]) -> Vec<u8> {
        let directory = self.host.path("packets").join(address);
        eventually("a packet is recorded", || {
            let files = fs::read_dir(&directory).map_err(|error| error.to_string())?;
            let files = files.flatten().map(|entry| entry.path());
            let whole = files.filter(|path| !path.ends_with("next"));
            let mut packets = whole.filter_map(|path| fs::read(path).ok());
            let found = packets.find(|packet| packet.starts_with(beginning));
            found.ok_or_else(|| "none is whole".to_owned())
        })
    }

    /// Sends a packet as whoever lives in a namespace would.
    fn send(&self, namespace: &str, address: &str, packet: &[u8]) {
        let (program, file) = (self.host.path("sender.py"), self.host.path("forged"));
        fs::write(&file, packet).expect("the host's directory can be written");
        let (program, file, monitor) = (program.display(), file.display(), self.monitor);
        self.host.shell(&format!(
            "ip netns exec {namespace} python3 {program} {address} {file} {monitor}"
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
    let eavesdropper = Eavesdropper::listen(&host, "ek-front", "10.200.0.1");
    let packet = eavesdropper.recorded(&vm.address, b"");
    let of_other = eavesdropper.recorded(&other.address, b"");
    let [vm_namespace, other_namespace] = [vm.id, other.id].map(|id| format!("ek-v{id}"));
    let before = refused(&evenkeel, "vms");

    // Its own packet once more.
    for _ in 0..2 {
        eavesdropper.send(&vm_namespace, &vm.address, &packet);
    }
    await_refused(&evenkeel, "vms", &before, "stale", 2, &|| ());
    // With one bit turned: in what is encrypted, in its key's name, and in the words that say it is encrypted.
    let before = refused(&evenkeel, "vms");
    for at in [packet.len() - 1, packet.len() / 2, 7] {
        let mut altered = packet.clone();
        altered[at] ^= 1;
        eavesdropper.send(&vm_namespace, &vm.address, &altered);
    }
    // Another VM's packet, and from this one's address; and its own from the other's.
    eavesdropper.send(&vm_namespace, &vm.address, &of_other);
    eavesdropper.send(&other_namespace, &other.address, &packet);
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

/// The servers' way to the operator's network, from one of their addresses.
fn connect_servers_to_operator(host: &Host) {
    host.shell(&format!(
        "ip link add ops type veth peer name eth1 netns cable-net && ip link set ops up && \
         ip address add {OPERATOR}/24 dev ops && ip route add 1.1.1.0/24 dev ops && \
         ip -n cable-net link set eth1 up && \
         ip -n cable-net route add {OPERATOR}/32 dev eth1 src 1.1.1.11"
    ));
}

/// To whom a host's daemon sends, and what else is said of it.
fn server(more: &str) -> String {
    format!("<Server \"{OPERATOR}\" \"25826\">\n{more}\n</Server>")
}

/// The same, signed or encrypted.
fn sealed(level: &str, user: &str, password: &str) -> String {
    server(&format!(
        "SecurityLevel \"{level}\"\nUsername \"{user}\"\nPassword \"{password}\""
    ))
}

#[test]
fn what_was_altered_on_the_way_from_a_users_host_is_refused_and_counted_signed_and_encrypted() {
    let host = Host::new();
    let passwords = host.path("passwords");
    fs::write(&passwords, "p: of the project\n").expect("it can be written");
    let section = format!(
        "[collectd]\nlisten = '{OPERATOR}:25826'\nsecurity = 'sign'\nauth_file = '{}'\n",
        passwords.display()
    );
    let evenkeel = Evenkeel::start_with(&host, Driver::Process, &section);
    let _web = Web::create(&host, evenkeel.door(), 1);
    connect_servers_to_operator(&host);
    let eavesdropper = Eavesdropper::listen(&host, "ops", OPERATOR);
    // How a packet begins that is signed, and one that is encrypted.
    for (level, beginning, figure) in [
        ("Sign", [0x02, 0x00], 4096.0),
        ("Encrypt", [0x02, 0x10], 8192.0),
    ] {
        let seal = sealed(level, "p", "of the project");
        let daemon = Collectd::start(&host, "cable-net", "1.1.1.10", &seal, "");
        within(Duration::from_secs(30), "what is whole is told", || {
            daemon.put("1.1.1.10/memory/memory-used", "N", &figure.to_string());
            let told = told_by_hosts(&evenkeel, "host-memory");
            (told.get("1.1.1.10") == Some(&figure))
                .then_some(())
                .ok_or(told)
        });
        drop(daemon);
        let packet = eavesdropper.recorded("1.1.1.11", &beginning);
        let before = refused(&evenkeel, "hosts");
        // In its last value, and in what stands before it.
        for at in [packet.len() - 1, packet.len() / 2] {
            let mut altered = packet.clone();
            altered[at] ^= 1;
            eavesdropper.send("cable-net", "1.1.1.11", &altered);
        }
        await_refused(&evenkeel, "hosts", &before, "sealed", 2, &|| ());
        let before = refused(&evenkeel, "hosts");
        eavesdropper.send("cable-net", "1.1.1.11", &packet);
        await_refused(&evenkeel, "hosts", &before, "stale", 1, &|| ());
        let told = told_by_hosts(&evenkeel, "host-memory");
        assert_eq!(told.get("1.1.1.10"), Some(&figure), "{level}");
    }
    let table = evenkeel.cli("status");
    assert!(table.contains("4 sealed"), "{table}");
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
    connect_servers_to_operator(&host);
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
fn what_the_collectd_in_a_vm_measures_of_its_machine_arrives_and_is_told() {
    let host = Host::new();
    let section = "[collectd.forward]\nserver = '127.0.0.1:26001'\nsecurity = 'none'\n";
    let evenkeel = Evenkeel::start_with(&host, Driver::Machine, section);
    let web = Web::create(&host, evenkeel.door(), 1);
    let types = host.path("run/types.db");
    eventually("its types are written", || fs::metadata(&types).map(drop));
    let listen = "<Listen \"127.0.0.1\" \"26001\">\n</Listen>";
    let types = format!("TypesDB \"{}\"\n", types.display());
    let server = Collectd::start(&host, "", "collector", listen, &types);
    let vm = web.vms()[0].clone();
    let name = format!(
        "vm-{}.{}/",
        vm.id,
        web.name.split_once(".lb").map_or("", |name| name.0)
    );
    let newest = |list: &str| {
        let values = server.values(&format!("{name}{list}"));
        let numbers = values.iter().filter_map(|value| value.split_once('='));
        numbers
            .map(|(_, number)| number.parse::<f64>().unwrap_or(f64::NAN))
            .collect::<Vec<_>>()
    };
    within(Duration::from_secs(60), "a real server has them", || {
        web.fetch_from(&vm.address)?;
        let known = server.known();
        let of_vm = known.iter().filter_map(|list| list.strip_prefix(&name));
        let of_nic =
            |list: &&str| list.starts_with("interface-eth") && list.ends_with("/if_octets");
        let nics: Vec<&str> = of_vm.filter(of_nic).collect();
        let lists = ["memory/memory-used", "load/load"];
        let has_all = lists
            .iter()
            .all(|list| known.contains(&format!("{name}{list}")));
        if !has_all || nics.len() < 2 {
            return Err(format!("{known:?}"));
        }
        let (memory, load) = (newest(lists[0]), newest(lists[1]));
        let moved: f64 = nics.iter().flat_map(|nic| newest(nic)).sum();
        assert!(memory[0] > 1e6, "{memory:?}");
        assert!(
            load.len() == 3 && load.iter().all(|load| *load >= 0.0),
            "{load:?}"
        );
        // A rate has nothing to rise from at first.
        match moved > 0.0 {
            true => Ok(()),
            false => Err(format!("nothing moved by {nics:?}")),
        }
    });
    within(Duration::from_secs(30), "memory is told", || {
        match memory(&evenkeel) {
            Some(bytes) if bytes > 1e6 => Ok(()),
            other => Err(other),
        }
    });
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
