//! Generations that follow each other under load.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::support::{self, Client, contents};
use dns::{DnsError, DnsServer};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

const NAME: &str = "moving.p";
const RECORDS: usize = 8;
const PUBLISHERS: usize = 3;
const CLIENTS: usize = 4;
const QUERIES_EACH: usize = 2_500;
const PATIENCE: Duration = Duration::from_secs(20);

/// Generation `serial`, whose every record says which it is.
fn generation(serial: u32) -> dns::ZoneContents {
    let [_, high, middle, low] = serial.to_be_bytes();
    let addresses: BTreeSet<_> = (0..RECORDS)
        .map(|n| Ipv4Addr::new(u8::try_from(n).unwrap(), high, middle, low))
        .collect();
    let mut zone = contents(serial);
    zone.records.insert(NAME.to_owned(), addresses);
    zone
}

async fn publish_on(server: Arc<DnsServer>, next: Arc<AtomicU32>, stop: Arc<AtomicBool>) -> u32 {
    let mut refused = 0;
    while !stop.load(Ordering::SeqCst) {
        let serial = next.fetch_add(1, Ordering::SeqCst);
        // Another publisher may come in between, so that this one's generation is already old.
        tokio::task::yield_now().await;
        match server.publish(generation(serial)) {
            Ok(()) => assert!(server.serial() >= serial),
            Err(DnsError::OlderSerial {
                published, offered, ..
            }) => {
                assert!(offered == serial && published > serial);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    refused
}

/// Asks again and again; returns how many generations it has seen.
async fn ask(server: SocketAddr) -> usize {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    let name = Name::from_ascii(format!("{NAME}.lb.evenkeel.test.")).unwrap();
    let mut query = Message::new(1, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(name, RecordType::A));
    let query = query.to_vec().unwrap();
    let mut seen = 0;
    let mut last = 0;
    let mut buffer = [0; 1_500];
    for _ in 0..QUERIES_EACH {
        socket.send(&query).await.unwrap();
        let received = timeout(PATIENCE, socket.recv(&mut buffer)).await;
        let length = received.expect("no answer").unwrap();
        let response = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(response.metadata.response_code, ResponseCode::NoError);
        assert_eq!(response.answers.len(), RECORDS);
        let serials: BTreeSet<u32> = response
            .answers
            .iter()
            .map(|r| serial_in(&r.data))
            .collect();
        assert_eq!(
            serials.len(),
            1,
            "one answer of two generations: {serials:?}"
        );
        let serial = *serials.first().unwrap();
        assert!(serial >= last, "generation {serial} after {last}");
        seen += usize::from(serial > last);
        last = serial;
    }
    seen
}

fn serial_in(data: &RData) -> u32 {
    let RData::A(address) = data else {
        panic!("not an address: {data:?}");
    };
    let [_, high, middle, low] = address.0.octets();
    u32::from_be_bytes([0, high, middle, low])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_query_sees_an_empty_a_mixed_or_an_older_generation() {
    let server = Arc::new(support::server(generation(1)).await);
    let address = server.local_addresses()[0];
    let (next, stop) = (
        Arc::new(AtomicU32::new(2)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut publishers = JoinSet::new();
    for _ in 0..PUBLISHERS {
        publishers.spawn(publish_on(server.clone(), next.clone(), stop.clone()));
    }
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(ask(address));
    }
    let seen = clients.join_all().await;
    stop.store(true, Ordering::SeqCst);
    publishers.join_all().await;
    // The test would prove nothing if the zone had stood still.
    assert!(seen.iter().all(|seen| *seen > 100), "{seen:?}");
    let newest = next.load(Ordering::SeqCst) - 1;
    assert_eq!(server.serial(), newest);
}

#[tokio::test]
async fn a_generation_follows_only_an_older_one() {
    let server = support::server(generation(7)).await;
    server.publish(generation(7)).unwrap();
    let mut other = generation(7);
    other.ttl_s += 1;
    assert!(matches!(
        server.publish(other),
        Err(DnsError::SameSerial { serial: 7, .. })
    ));
    let older = server.publish(generation(6));
    assert!(matches!(
        older,
        Err(DnsError::OlderSerial {
            published: 7,
            offered: 6,
            ..
        })
    ));
    let mut foreign = generation(8);
    foreign.origin = "example.com".to_owned();
    assert!(matches!(
        server.publish(foreign),
        Err(DnsError::OtherZone { .. })
    ));
    let mut invalid = generation(8);
    invalid.name_server.clear();
    assert!(matches!(server.publish(invalid), Err(DnsError::Zone(_))));
    assert_eq!(server.serial(), 7);
    // Serials wrap round (RFC 1982).
    for serial in [(1 << 31) + 6, u32::MAX, 3] {
        server.publish(generation(serial)).unwrap();
        assert_eq!(server.serial(), serial);
    }
    assert!(server.publish(generation(u32::MAX)).is_err());
    server.shutdown().await;
}

#[tokio::test]
async fn a_published_change_is_in_the_next_answer() {
    let server = support::server(contents(7)).await;
    let client = Client::of(&server);
    let before = client.dig("new.p.lb.evenkeel.test A").await;
    assert_eq!(before.status, "NXDOMAIN");
    let mut next = contents(8);
    let address = Ipv4Addr::new(10, 200, 0, 99);
    next.records
        .insert("new.p".to_owned(), BTreeSet::from([address]));
    next.records.remove("api.johns-project");
    server.publish(next).unwrap();
    let after = client.dig("new.p.lb.evenkeel.test A").await;
    assert_eq!(after.answer, ["new.p.lb.evenkeel.test. 1 IN A 10.200.0.99"]);
    let removed = client.dig("api.johns-project.lb.evenkeel.test A").await;
    assert_eq!(removed.status, "NXDOMAIN");
    let soa = client.kdig("lb.evenkeel.test SOA").await;
    assert!(soa.answer[0].contains(" 8 3600 "), "{}", soa.text);
    server.shutdown().await;
}
