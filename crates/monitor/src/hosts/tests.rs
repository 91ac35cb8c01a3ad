use collectd::{Key, PacketWriter, Time, seal_encrypted, seal_signed};
use proptest::prelude::*;

use super::*;
use crate::intake::kept::SILENCE;

const BORN: u64 = 1_795_000_000;
/// When the intake began, and how old it is at the second 0.
const BEGAN: Duration = Duration::from_secs(77);
const AGE: u64 = 1_000;
const MOST_OF_PROJECT: usize = 2_000;
const SHOP: ProjectId = ProjectId(1);
const BANK: ProjectId = ProjectId(2);
const ONE: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 10);
const TWO: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 11);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

/// `shop` has backends at both addresses, and `bank` at the second.
fn intake(least: Protection) -> HostIntake {
    let password = |user: &str| (user.to_owned(), format!("of {user}").into_bytes());
    let rules = HostRules {
        least,
        passwords: ["shop", "bank", "nobody"].map(password).into(),
        most_of_project: MOST_OF_PROJECT,
    };
    let mut intake = HostIntake::new(rules, BEGAN);
    let project = |label: &str, backends: &[Ipv4Addr]| HostProject {
        label: label.into(),
        backends: backends.iter().copied().collect(),
    };
    let projects = [
        (SHOP, project("shop", &[ONE, TWO])),
        (BANK, project("bank", &[TWO])),
    ];
    intake.set_projects(&projects.into());
    intake
}

fn at(second: u64) -> Moment {
    Moment {
        monotonic: BEGAN + Duration::from_secs(AGE + second),
        wall: Duration::from_secs(BORN + second),
    }
}

fn list(host: &str, second: u64, name: [&str; 4], values: Vec<Value>) -> ValueList {
    let [plugin, plugin_instance, kind, kind_instance] = name.map(str::to_owned);
    ValueList {
        host: host.into(),
        plugin,
        plugin_instance,
        kind,
        kind_instance,
        time: Time::from_secs(BORN + second),
        interval: Time::from_secs(10),
        values,
    }
}

fn used(host: &str, second: u64) -> ValueList {
    let name = ["memory", "", "memory", "used"];
    list(host, second, name, vec![Value::Gauge(7.0)])
}

fn parts(lists: &[ValueList]) -> Vec<u8> {
    let mut writer = PacketWriter::new(usize::from(u16::MAX));
    for list in lists {
        assert!(writer.add(list).is_none());
    }
    writer.take().unwrap()
}

fn key(user: &str) -> Key {
    Key {
        user: user.into(),
        password: format!("of {user}").into_bytes(),
    }
}

fn signed(user: &str, lists: &[ValueList]) -> Vec<u8> {
    seal_signed(&parts(lists), &key(user))
}

fn encrypted(user: &str, lists: &[ValueList]) -> Vec<u8> {
    seal_encrypted(&parts(lists), &key(user), [3; 16])
}

/// Whose and where what is taken is, and how many samples.
fn told(taken: &[HostTaken]) -> Vec<(ProjectId, Ipv4Addr, usize)> {
    let told = taken.iter();
    told.map(|taken| (taken.project, taken.address, taken.samples.len()))
        .collect()
}

#[test]
fn a_host_is_the_backend_that_it_is_named_after_or_sends_from_in_the_project_that_it_signs_as() {
    for (packet, from, expected) in [
        (parts(&[used("db", 0)]), ONE, vec![(SHOP, ONE, 1)]),
        (signed("shop", &[used("db", 0)]), TWO, vec![(SHOP, TWO, 1)]),
        (signed("bank", &[used("db", 0)]), TWO, vec![(BANK, TWO, 1)]),
        (
            encrypted("shop", &[used("1.1.1.10", 0)]),
            ELSEWHERE,
            vec![(SHOP, ONE, 1)],
        ),
        (
            encrypted("shop", &[used("1.1.1.10", 0), used("1.1.1.11", 0)]),
            ELSEWHERE,
            vec![(SHOP, ONE, 1), (SHOP, TWO, 1)],
        ),
        // What nobody signed is where it comes from, whatever it says.
        (parts(&[used("1.1.1.11", 0)]), ONE, vec![(SHOP, ONE, 1)]),
    ] {
        let taken = intake(Protection::Plain).take(&packet, from, at(0));
        assert_eq!(told(&taken.unwrap()), expected);
    }
}

#[test]
fn figures_that_nothing_is_told_of_are_left_out_and_counted() {
    let mut intake = intake(Protection::Plain);
    let other = |second, values| {
        let name = ["processes", "", "ps_state", "running"];
        list("db", second, name, vec![Value::Gauge(1.0); values])
    };
    let packet = encrypted("shop", &[used("db", 1), other(1, 1), other(1, 3)]);
    let taken = intake.take(&packet, ONE, at(1)).unwrap();
    assert_eq!(told(&taken), [(SHOP, ONE, 1)]);
    assert_eq!(intake.unused(), 4);
    assert!(intake.take(&packet, ONE, at(1)).is_err(), "it came before");
    let packet = encrypted("shop", &[other(2, 2)]);
    assert!(intake.take(&packet, ONE, at(2)).is_ok());
    assert_eq!(
        (intake.unused(), intake.refused().get("stale")),
        (6, Some(&1))
    );
}

#[test]
fn what_was_measured_before_the_monitor_began_is_not_believed_for_it_may_be_repeated() {
    const START: u64 = 5_000;
    let begin = || {
        let mut intake = intake(Protection::Plain);
        intake.began = at(START).monotonic;
        intake
    };
    let packet = |second| encrypted("shop", &[used("db", second)]);
    let mut intake = begin();
    let refused = intake.take(&packet(START - 3), ONE, at(START + 1));
    assert_eq!(refused.unwrap_err().kind(), "stale");
    for second in [START - 2, START + 1, START + 2] {
        let taken = intake.take(&packet(second), ONE, at(START + 2));
        assert!(taken.is_ok(), "{second}");
    }
    // Then the machine's clock is set back, beyond the beginning.
    const BACK: u64 = 3_600;
    let mut intake = begin();
    assert!(intake.take(&packet(START - 3), ONE, at(START + 1)).is_err());
    let later = Moment {
        wall: at(START + 4 - BACK).wall,
        ..at(START + 4)
    };
    for (second, is_taken) in [(START - 3 - BACK, false), (START + 3 - BACK, true)] {
        let taken = intake.take(&packet(second), ONE, later);
        assert_eq!(taken.is_ok(), is_taken, "{second}");
    }
}

#[test]
fn what_is_not_a_projects_own_and_new_is_refused_and_counted() {
    let mut guessed = key("shop");
    guessed.password = b"guess".to_vec();
    let forged = seal_signed(&parts(&[used("db", 0)]), &guessed);
    let mut altered = encrypted("shop", &[used("db", 0)]);
    *altered.last_mut().unwrap() ^= 1;
    let db = || used("db", 0);
    for (least, packet, from, kind) in [
        (Protection::Plain, forged, ONE, "sealed"),
        (Protection::Plain, altered, ONE, "sealed"),
        (Protection::Plain, signed("eve", &[db()]), ONE, "sealed"),
        (Protection::Signed, parts(&[db()]), ONE, "plain"),
        (Protection::Encrypted, signed("shop", &[db()]), ONE, "plain"),
        (Protection::Plain, vec![0, 0, 0, 99], ONE, "malformed"),
        (Protection::Plain, parts(&[db()]), ELSEWHERE, "stranger"),
        (
            Protection::Plain,
            signed("shop", &[db()]),
            ELSEWHERE,
            "stranger",
        ),
        (Protection::Plain, signed("bank", &[db()]), ONE, "stranger"),
        (
            Protection::Plain,
            signed("nobody", &[db()]),
            ONE,
            "stranger",
        ),
        (
            Protection::Plain,
            signed("bank", &[used("1.1.1.10", 0)]),
            ELSEWHERE,
            "stranger",
        ),
        (Protection::Plain, parts(&[db()]), TWO, "ambiguous"),
        (
            Protection::Plain,
            parts(&[db(), used("web", 0)]),
            ONE,
            "misnamed",
        ),
        (Protection::Plain, parts(&[used("db", 400)]), ONE, "stale"),
    ] {
        let mut intake = intake(least);
        let before = intake.take(&encrypted("shop", &[db()]), ONE, at(0));
        let rest = kind != "misnamed";
        assert!(before.is_ok());
        let refusal = intake.take(&packet, from, at(if rest { 61 } else { 1 }));
        let refusal = refusal.unwrap_err();
        assert_eq!(refusal.kind(), kind, "{refusal}");
        assert_eq!(intake.refused(), &[(kind, 1)].into());
    }
}

#[test]
fn a_packet_that_is_sent_again_is_refused_and_so_is_one_of_another_time() {
    let mut intake = intake(Protection::Encrypted);
    let packet = encrypted("shop", &[used("db", 0)]);
    intake.take(&packet, ONE, at(0)).unwrap();
    for second in [0, 1, 600] {
        let again = intake.take(&packet, ONE, at(second));
        assert_eq!(again, Err(HostRefusal::Stale));
    }
    let next = encrypted("shop", &[used("db", 601)]);
    assert_eq!(told(&intake.take(&next, ONE, at(601)).unwrap()).len(), 1);
}

#[test]
fn counts_become_rates_and_what_is_not_known_is_left_out() {
    let mut intake = intake(Protection::Plain);
    let lists = |second: u64, octets: i64| {
        let octets = vec![Value::Derive(octets), Value::Derive(2 * octets)];
        [
            list("db", second, ["interface", "eth0", "if_octets", ""], octets),
            list(
                "db",
                second,
                ["users", "", "users", ""],
                vec![Value::Gauge(1.0)],
            ),
        ]
    };
    let first = intake.take(&parts(&lists(0, 1_000)), ONE, at(0)).unwrap();
    assert_eq!(told(&first), [(SHOP, ONE, 0)]);
    let second = intake.take(&parts(&lists(10, 6_000)), ONE, at(10)).unwrap();
    let sample = |name: &str, figure| Sample {
        name: format!("interface-eth0/if_octets.{name}"),
        time: Duration::from_secs(BORN + 10),
        reading: Reading::Gauge(figure),
    };
    assert_eq!(
        second[0].samples,
        [sample("rx", 500.0), sample("tx", 1_000.0)]
    );
}

#[test]
fn what_comes_late_or_by_a_clock_that_strays_is_kept_at_a_time_that_the_log_takes() {
    for (told, expected) in [(0, 92), (95, 95), (100, 100), (250, 103)] {
        let taken = intake(Protection::Plain).take(&parts(&[used("db", told)]), ONE, at(100));
        let time = taken.unwrap()[0].samples[0].time;
        assert_eq!(time, Duration::from_secs(BORN + expected), "{told}");
    }
}

#[test]
fn of_what_comes_late_together_the_newest_is_kept_and_the_others_are_counted_as_late() {
    let mut intake = intake(Protection::Plain);
    let octets = |second: u64| {
        let name = ["interface", "eth0", "if_octets", ""];
        list(
            "db",
            second,
            name,
            vec![Value::Derive(100 * second as i64); 2],
        )
    };
    intake.take(&parts(&[octets(0)]), ONE, at(0)).unwrap();
    let packet = parts(&[octets(10), octets(20), octets(30), octets(36)]);
    let taken = intake.take(&packet, ONE, at(40)).unwrap();
    let times: Vec<u64> = taken[0]
        .samples
        .iter()
        .map(|sample| sample.time.as_secs() - BORN)
        .collect();
    assert_eq!(times, [36, 36], "rx and tx");
    let rates = taken[0].samples.iter().map(|sample| sample.reading.clone());
    assert_eq!(rates.collect::<Vec<_>>(), vec![Reading::Gauge(100.0); 2]);
    assert_eq!(intake.refused(), &[("late", 1)].into());
}

#[test]
fn what_hosts_send_has_a_bound_for_each_and_for_a_project() {
    let address = |host: u8| Ipv4Addr::new(1, 1, 2, host);
    let backends = (0..40).map(address).collect();
    let mut intake = intake(Protection::Plain);
    let label = "shop".to_owned();
    intake.set_projects(&[(SHOP, HostProject { label, backends })].into());
    for host in 0..40 {
        let many: Vec<_> = (0..200)
            .map(|n| {
                let name = format!("eth{n}");
                let name = ["interface", &*name, "if_octets", ""];
                list("db", 0, name, vec![Value::Derive(1), Value::Derive(1)])
            })
            .collect();
        for some in many.chunks(20) {
            let _full = intake.take(&parts(some), address(host), at(0));
        }
    }
    let kept = intake.projects[&SHOP].hosts.values();
    let kept: Vec<usize> = kept.map(|host| host.series.len()).collect();
    assert_eq!(kept.iter().max(), Some(&MOST_OF_HOST));
    assert_eq!(kept.iter().sum::<usize>(), MOST_OF_PROJECT);
    assert!(intake.refused()["crowded"] > 0);
    let flood = (0..200).filter(|_| {
        let packet = parts(&[used("db", 1)]);
        intake.take(&packet, address(0), at(1)) == Err(HostRefusal::Flood)
    });
    assert_eq!(flood.count(), 200 - MOST_PACKETS as usize);
}

#[test]
fn interfaces_and_file_systems_may_come_and_go_for_ever_and_the_newest_are_kept() {
    const AT_ONCE: u64 = 30;
    let mut intake = intake(Protection::Plain);
    let mut second = 0;
    for generation in 0..20 {
        for _ in 0..3 {
            let octets = |number: u64| {
                let name = format!("veth{}", generation * AT_ONCE + number);
                let name = ["interface", &*name, "if_octets", ""];
                let count = || Value::Derive(1_000 * second as i64);
                list("db", second, name, vec![count(), count()])
            };
            let mut lists: Vec<_> = (0..AT_ONCE).map(octets).collect();
            lists.push(used("db", second));
            intake.take(&parts(&lists), ONE, at(second)).unwrap();
            let kept = intake.projects[&SHOP].hosts[&ONE].series.len();
            assert!(kept <= MOST_OF_HOST);
            second += 250;
        }
    }
    assert!(intake.refused().is_empty(), "{:?}", intake.refused());
}

#[test]
fn a_host_that_falls_silent_leaves_its_projects_room_to_others() {
    let mut intake = intake(Protection::Plain);
    intake.rules.most_of_project = 2;
    let load = |second| {
        list(
            "db",
            second,
            ["load", "", "load", ""],
            vec![Value::Gauge(1.0); 3],
        )
    };
    intake.take(&parts(&[used("db", 0)]), ONE, at(0)).unwrap();
    let taken = intake
        .take(&signed("shop", &[load(1)]), TWO, at(1))
        .unwrap();
    assert_eq!(
        told(&taken),
        [(SHOP, TWO, 1)],
        "there is room for one of three"
    );
    assert_eq!(intake.refused(), &[("crowded", 1)].into());
    let later = 1 + SILENCE.as_secs();
    let taken = intake
        .take(&signed("shop", &[load(later)]), TWO, at(later))
        .unwrap();
    assert_eq!(told(&taken), [(SHOP, TWO, 2)], "the first has made room");
}

#[test]
fn what_nobody_would_believe_is_not_even_opened_when_it_is_too_much() {
    let mut intake = intake(Protection::Encrypted);
    let forged = signed("eve", &[used("db", 0)]);
    for _ in 0..2_000 {
        let _refused = intake.take(&forged, ELSEWHERE, at(0));
    }
    let opened = u64::from(MOST_OPENED);
    let expected = [("sealed", opened), ("flood", 2_000 - opened)];
    assert_eq!(intake.refused(), &expected.into());
    let good = encrypted("shop", &[used("db", 0)]);
    assert!(intake.take(&good, ONE, at(0)).is_ok(), "of another address");
}

#[test]
fn a_backend_that_is_gone_is_forgotten() {
    let mut intake = intake(Protection::Plain);
    let packet = parts(&[used("db", 0)]);
    intake.take(&packet, ONE, at(0)).unwrap();
    intake.set_projects(&BTreeMap::new());
    assert_eq!(intake.take(&packet, ONE, at(0)), Err(HostRefusal::Stranger));
}

#[test]
fn two_hosts_at_one_address_are_not_taken_for_one() {
    let mut intake = intake(Protection::Plain);
    let both = parts(&[used("db", 0), used("web", 0)]);
    assert_eq!(intake.take(&both, ONE, at(0)), Err(HostRefusal::Misnamed));
    intake.take(&parts(&[used("db", 0)]), ONE, at(0)).unwrap();
    let other = |second| parts(&[used("web", second)]);
    assert_eq!(
        intake.take(&other(30), ONE, at(30)),
        Err(HostRefusal::Misnamed)
    );
    let after = intake.take(&other(61), ONE, at(61)).unwrap();
    assert_eq!(told(&after), [(SHOP, ONE, 1)], "the first is gone");
}

proptest! {
    #[test]
    fn no_bytes_of_a_hosts_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        is_signed in any::<bool>(),
    ) {
        let packet = match is_signed {
            true => seal_signed(&bytes, &key("shop")),
            false => bytes,
        };
        let _ = intake(Protection::Plain).take(&packet, ONE, at(0));
    }
}
