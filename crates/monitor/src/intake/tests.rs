use super::*;
use collectd::{Key, PACKET_BYTES, PacketWriter, seal_encrypted, seal_signed};
use proptest::prelude::*;

const VM: VmId = VmId(7);
const HOME: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 5);
const BORN: u64 = 1_795_000_000;

fn keys() -> VmKeys {
    VmKeys::new(b"the installation's".to_vec())
}

fn intake() -> Intake {
    let mut intake = Intake::new(keys());
    intake.set_senders(&[(VM, HOME), (VmId(8), Ipv4Addr::new(10, 200, 0, 6))].into());
    intake
}

fn at(second: u64) -> Moment {
    Moment {
        monotonic: Duration::from_secs(100 + second),
        wall: Duration::from_secs(BORN + second),
    }
}

fn list(second: u64, plugin: &str, kind: &str, instance: &str, value: Value) -> ValueList {
    ValueList {
        host: collectd_host(VM),
        plugin: plugin.into(),
        kind: kind.into(),
        kind_instance: instance.into(),
        time: Time::from_secs(BORN + second),
        interval: Time::from_secs(1),
        values: vec![value],
        ..ValueList::default()
    }
}

/// What a VM that is half busy sends in a second, after `requests` requests.
fn figures(second: u64, requests: i64) -> Vec<ValueList> {
    vec![
        list(second, "cpu", "percent", "active", Value::Gauge(50.0)),
        list(
            second,
            "evenkeel",
            "gauge",
            "connections",
            Value::Gauge(12.0),
        ),
        list(
            second,
            "evenkeel",
            "derive",
            "requests",
            Value::Derive(requests),
        ),
    ]
}

fn parts(lists: &[ValueList]) -> Vec<u8> {
    let mut writer = PacketWriter::new(usize::from(u16::MAX));
    for list in lists {
        assert!(writer.add(list).is_none());
    }
    writer.take().unwrap()
}

fn key_of(vm: VmId) -> Key {
    Key {
        user: collectd_host(vm),
        password: keys().of(vm).into_bytes(),
    }
}

fn sealed(lists: &[ValueList]) -> Vec<u8> {
    seal_encrypted(&parts(lists), &key_of(VM), [3; 16])
}

#[test]
fn what_a_vm_sends_becomes_its_load() {
    let mut intake = intake();
    for (second, requests) in [(0, 0), (1, 100), (2, 200), (3, 300), (4, 700)] {
        let packet = sealed(&figures(second, requests));
        intake.take(&packet, HOME, at(second)).unwrap();
    }
    let expected = LoadSight {
        cpu_percent: Some(50.0),
        connections: Some(12.0),
        requests_per_second: Some(200.0),
        newest: LoadSample {
            cpu_percent: Some(50.0),
            connections: Some(12.0),
            requests_per_second: Some(400.0),
        },
        age_ms: 3_000,
    };
    assert_eq!(intake.load(at(7)), [(VM, expected)].into());
    assert!(intake.load(at(4 + 11)).is_empty(), "nobody knows any more");
    assert!(intake.refused().is_empty());
}

#[test]
fn a_figure_that_has_stopped_is_not_told_with_those_that_go_on() {
    let mut intake = intake();
    intake.take(&sealed(&figures(0, 0)), HOME, at(0)).unwrap();
    intake.take(&sealed(&figures(1, 9)), HOME, at(1)).unwrap();
    for second in 2..9 {
        let cpu = list(second, "cpu", "percent", "active", Value::Gauge(10.0));
        intake.take(&sealed(&[cpu]), HOME, at(second)).unwrap();
    }
    let load = intake.load(at(8))[&VM];
    assert_eq!(load.cpu_percent, Some(10.0));
    assert_eq!((load.connections, load.requests_per_second), (None, None));
}

#[test]
fn figures_are_as_old_as_the_one_of_them_that_came_first() {
    let mut intake = intake();
    for second in 0..2 {
        let packet = sealed(&figures(second, 9 * second as i64));
        intake.take(&packet, HOME, at(second)).unwrap();
    }
    let cpu = list(3, "cpu", "percent", "active", Value::Gauge(10.0));
    intake.take(&sealed(&[cpu]), HOME, at(3)).unwrap();
    assert_eq!(intake.load(at(4))[&VM].age_ms, 3_000);
}

#[test]
fn what_is_not_the_vms_own_and_new_is_refused_and_counted() {
    let fresh = || figures(0, 5);
    let (own, other) = (key_of(VM), key_of(VmId(8)));
    let posing = Key {
        user: own.user.clone(),
        password: other.password.clone(),
    };
    let mut misnamed = fresh();
    misnamed[2].host = "vm-8".into();
    let with = |lists: &[ValueList], key: &Key| seal_encrypted(&parts(lists), key, [1; 16]);
    let stranger = Ipv4Addr::new(10, 200, 0, 99);
    for (packet, from, kind) in [
        (with(&fresh(), &own), stranger, "stranger"),
        (with(&fresh(), &own), Ipv4Addr::new(10, 200, 0, 6), "sealed"),
        (with(&fresh(), &other), HOME, "sealed"),
        (with(&fresh(), &posing), HOME, "sealed"),
        (parts(&fresh()), HOME, "plain"),
        (seal_signed(&parts(&fresh()), &own), HOME, "plain"),
        (with(&misnamed, &own), HOME, "misnamed"),
        (with(&figures(3_600, 5), &own), HOME, "stale"),
        (
            seal_encrypted(&[0, 0, 0, 99], &own, [1; 16]),
            HOME,
            "malformed",
        ),
    ] {
        let mut intake = intake();
        let refusal = intake.take(&packet, from, at(0)).unwrap_err();
        assert_eq!(refusal.kind(), kind, "{refusal}");
        assert_eq!(intake.refused(), &[(kind, 1)].into());
        assert!(intake.load(at(0)).is_empty());
    }
}

#[test]
fn a_packet_that_is_sent_again_changes_nothing() {
    let mut intake = intake();
    let packets: Vec<_> = (0..3).map(|s| sealed(&figures(s, 10 * s as i64))).collect();
    for (second, packet) in packets.iter().enumerate() {
        intake.take(packet, HOME, at(second as u64)).unwrap();
    }
    let known = intake.load(at(2));
    for packet in &packets {
        let refusal = intake.take(packet, HOME, at(3)).unwrap_err();
        assert_eq!(refusal, Refusal::Stale(VM));
    }
    let unchanged: Vec<_> = intake.load(at(2)).into_iter().collect();
    assert_eq!(unchanged, known.into_iter().collect::<Vec<_>>());
}

#[test]
fn what_one_vm_sends_has_a_bound() {
    let mut intake = intake();
    let many: Vec<_> = (0..1_000)
        .map(|n| list(0, "made-up", "gauge", &n.to_string(), Value::Gauge(1.0)))
        .collect();
    let mut sent_on = 0;
    for some in many.chunks(100) {
        let taken = intake.take(&sealed(some), HOME, at(0));
        sent_on += taken.map_or(0, |taken| taken.lists.len());
    }
    assert_eq!(sent_on, MOST_SERIES, "what is not kept is not sent on");
    assert_eq!(series_kept(&intake), MOST_SERIES);
    // Four packets whole, and the one before them in part.
    assert_eq!(intake.refused(), &[("crowded", 5)].into());
    let flood = (0..1_000).filter(|n| {
        let packet = sealed(&figures(1, *n));
        intake.take(&packet, HOME, at(1)) == Err(Refusal::Flood(VM))
    });
    assert_eq!(flood.count(), 1_000 - MOST_PACKETS as usize);
}

fn series_kept(intake: &Intake) -> usize {
    intake.vms.values().map(|sender| sender.series.len()).sum()
}

/// What a VM tells of a backend: a list with six values.
fn of_backend(second: u64, backend: usize) -> ValueList {
    let plugin = format!("evenkeel-1.1.1.{}:{}", backend % 250, 8_000 + backend);
    ValueList {
        values: vec![Value::Gauge(1.0); 6],
        ..list(second, &plugin, "evenkeel_backend", "", Value::Gauge(1.0))
    }
}

#[test]
fn backends_may_come_and_go_for_ever_and_the_newest_are_kept() {
    const AT_ONCE: usize = 32;
    let mut intake = intake();
    let mut second = 0;
    for generation in 0..20 {
        for _ in 0..3 {
            let backends =
                (0..AT_ONCE).map(|number| of_backend(second, generation * AT_ONCE + number));
            let mut lists: Vec<_> = backends.collect();
            lists.extend(figures(second, second as i64));
            let taken = intake.take(&sealed(&lists), HOME, at(second)).unwrap();
            assert_eq!(taken.lists.len(), lists.len(), "generation {generation}");
            second += 200;
        }
    }
    assert!(series_kept(&intake) <= MOST_SERIES);
    assert!(intake.refused().is_empty(), "{:?}", intake.refused());
}

#[test]
fn what_is_forgotten_is_of_another_time_and_what_is_not_may_not_be_sent_again() {
    // The furthest ahead that a time is taken, and the furthest behind.
    for told in [299, -299_i64] {
        let mut intake = intake();
        let time = Time::from_secs(BORN.strict_add_signed(told));
        let early = |name: usize| ValueList {
            time,
            ..list(0, "made-up", "gauge", &name.to_string(), Value::Gauge(1.0))
        };
        let many: Vec<_> = (0..MOST_SERIES).map(early).collect();
        for some in many.chunks(64) {
            intake.take(&sealed(some), HOME, at(0)).unwrap();
        }
        let recorded = sealed(&many[..1]);
        // Somebody makes the monitor look for room all the time.
        for second in (0..1_500).step_by(50) {
            let new = list(
                second,
                "made-up",
                "gauge",
                &format!("at {second}"),
                Value::Gauge(1.0),
            );
            let _crowded = intake.take(&sealed(&[new]), HOME, at(second));
            let again = intake.take(&recorded, HOME, at(second));
            assert_eq!(again, Err(Refusal::Stale(VM)), "{told} after {second} s");
        }
    }
}

#[test]
fn a_vm_that_is_gone_is_forgotten_and_its_address_is_another_ones() {
    let mut intake = intake();
    intake.take(&sealed(&figures(0, 0)), HOME, at(0)).unwrap();
    intake.set_senders(&[(VmId(9), HOME)].into());
    assert!(intake.load(at(0)).is_empty());
    let refusal = intake.take(&sealed(&figures(1, 0)), HOME, at(1));
    assert_eq!(refusal.unwrap_err().kind(), "sealed");
}

proptest! {
    #[test]
    fn no_bytes_of_a_vms_own_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        encrypted in any::<bool>(),
    ) {
        let mut intake = intake();
        let packet = match encrypted {
            true => seal_encrypted(&bytes, &key_of(VM), [5; 16]),
            false => bytes,
        };
        prop_assert!(packet.len() < PACKET_BYTES);
        let _ = intake.take(&packet, HOME, at(0));
        let _ = intake.load(at(1));
    }
}
