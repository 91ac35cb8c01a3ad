//! What real clients, dig and kdig, see of the server.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use crate::support::{self, Client, Seen, contents};
use dns::{DnsError, DnsServer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

/// A question with what the client must see.
struct Case {
    /// dig's arguments after the server's.
    ask: &'static str,
    status: &'static str,
    /// Whether the server calls itself the authority.
    authoritative: bool,
    /// Answer, authority and additional records, as dig prints them with single blanks.
    answer: &'static [&'static str],
    authority: &'static [&'static str],
    additional: &'static [&'static str],
}

const SOA: &str = "lb.evenkeel.test. 2 IN SOA ns.lb.evenkeel.test. hostmaster.lb.evenkeel.test. 7 3600 600 604800 2";
const NOTHING: &[&str] = &[];

const fn found(ask: &'static str, answer: &'static [&'static str]) -> Case {
    Case {
        ask,
        status: "NOERROR",
        authoritative: true,
        answer,
        authority: NOTHING,
        additional: NOTHING,
    }
}

const fn negative(ask: &'static str, status: &'static str) -> Case {
    Case {
        ask,
        status,
        authoritative: true,
        answer: NOTHING,
        authority: &[SOA],
        additional: NOTHING,
    }
}

const fn refused(ask: &'static str, status: &'static str) -> Case {
    Case {
        ask,
        status,
        authoritative: false,
        answer: NOTHING,
        authority: NOTHING,
        additional: NOTHING,
    }
}

const CASES: &[Case] = &[
    // Records.
    found(
        "web.johns-project.lb.evenkeel.test A",
        &[
            "web.johns-project.lb.evenkeel.test. 1 IN A 10.200.0.10",
            "web.johns-project.lb.evenkeel.test. 1 IN A 10.200.0.11",
            "web.johns-project.lb.evenkeel.test. 1 IN A 10.200.0.12",
        ],
    ),
    found(
        "api.johns-project.lb.evenkeel.test A",
        &["api.johns-project.lb.evenkeel.test. 1 IN A 10.200.0.20"],
    ),
    found(
        "ApI.jOhNs-PrOjEcT.LB.evenKeel.TEST A",
        &["ApI.jOhNs-PrOjEcT.LB.evenKeel.TEST. 1 IN A 10.200.0.20"],
    ),
    found(
        "LB.evenkeel.test SOA",
        &[
            "LB.evenkeel.test. 2 IN SOA ns.lb.evenkeel.test. hostmaster.lb.evenkeel.test. 7 3600 600 604800 2",
        ],
    ),
    Case {
        additional: &["ns.lb.evenkeel.test. 1 IN A 10.200.0.1"],
        ..found(
            "lb.evenkeel.test NS",
            &["lb.evenkeel.test. 1 IN NS ns.lb.evenkeel.test."],
        )
    },
    found(
        "ns.lb.evenkeel.test A",
        &["ns.lb.evenkeel.test. 1 IN A 10.200.0.1"],
    ),
    // ANY is answered with one small record.
    found(
        "web.johns-project.lb.evenkeel.test ANY",
        &["web.johns-project.lb.evenkeel.test. 1 IN HINFO \"RFC8482\" \"\""],
    ),
    found(
        "lb.evenkeel.test ANY",
        &["lb.evenkeel.test. 1 IN HINFO \"RFC8482\" \"\""],
    ),
    // The name exists, the record does not.
    negative("web.johns-project.lb.evenkeel.test AAAA", "NOERROR"),
    negative("web.johns-project.lb.evenkeel.test TXT", "NOERROR"),
    negative("web.johns-project.lb.evenkeel.test SOA", "NOERROR"),
    negative("web.johns-project.lb.evenkeel.test TYPE65280", "NOERROR"),
    negative("lb.evenkeel.test A", "NOERROR"),
    negative("ns.lb.evenkeel.test AAAA", "NOERROR"),
    negative("johns-project.lb.evenkeel.test A", "NOERROR"),
    negative("johns-project.lb.evenkeel.test ANY", "NOERROR"),
    negative("idle.johns-project.lb.evenkeel.test A", "NOERROR"),
    // The name does not exist.
    negative("absent.johns-project.lb.evenkeel.test A", "NXDOMAIN"),
    negative("absent.lb.evenkeel.test AAAA", "NXDOMAIN"),
    negative("absent.lb.evenkeel.test ANY", "NXDOMAIN"),
    negative("below.web.johns-project.lb.evenkeel.test A", "NXDOMAIN"),
    negative("\\000.lb.evenkeel.test A", "NXDOMAIN"),
    negative("*.lb.evenkeel.test A", "NXDOMAIN"),
    // Not ours to say.
    refused("evenkeel.test A", "REFUSED"),
    refused("test SOA", "REFUSED"),
    refused(". NS", "REFUSED"),
    refused("notlb.evenkeel.test A", "REFUSED"),
    refused("example.com A", "REFUSED"),
    refused("lb.evenkeel.test CH TXT", "REFUSED"),
    refused("version.bind CH TXT", "REFUSED"),
    // Not done here.
    refused("+opcode=status lb.evenkeel.test SOA", "NOTIMP"),
    refused("+opcode=notify lb.evenkeel.test SOA", "NOTIMP"),
    refused("+opcode=update lb.evenkeel.test SOA", "NOTIMP"),
    refused("+opcode=7 lb.evenkeel.test SOA", "NOTIMP"),
    refused("+opcode=15 lb.evenkeel.test SOA", "NOTIMP"),
    // Malformed.
    refused("+header-only", "FORMERR"),
    // EDNS of a version that there is not, and options that nobody knows.
    refused("+edns=1 +noednsneg lb.evenkeel.test SOA", "BADVERS"),
    found("+ednsopt=65001:deadbeef lb.evenkeel.test SOA", &[SOA]),
    found("+dnssec +cookie lb.evenkeel.test SOA", &[SOA]),
    found("+noedns lb.evenkeel.test SOA", &[SOA]),
];

#[tokio::test]
async fn each_question_gets_its_answer_over_udp_and_tcp() {
    let server = support::server(contents(7)).await;
    let client = Client::of(&server);
    for case in CASES {
        for transport in ["+notcp", "+tcp"] {
            let seen = client.dig(&format!("{transport} {}", case.ask)).await;
            let about = format!("{transport} {}\n{}", case.ask, seen.text);
            assert_eq!(seen.status, case.status, "{about}");
            assert_eq!(seen.has_flag("aa"), case.authoritative, "{about}");
            assert!(seen.has_flag("qr") && !seen.has_flag("tc"), "{about}");
            assert!(!seen.has_flag("ra"), "{about}");
            let answer: BTreeSet<_> = seen.answer.iter().map(String::as_str).collect();
            assert_eq!(answer, case.answer.iter().copied().collect(), "{about}");
            assert_eq!(seen.authority, case.authority, "{about}");
            assert_eq!(seen.additional, case.additional, "{about}");
            let speaks_edns = !case.ask.contains("+noedns ");
            assert_eq!(
                seen.text.contains("EDNS: version: 0"),
                speaks_edns,
                "{about}"
            );
            assert!(!seen.text.contains("WARNING: Message"), "{about}");
        }
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_second_client_sees_the_same() {
    let server = support::server(contents(7)).await;
    let client = Client::of(&server);
    for transport in ["+notcp", "+tcp"] {
        let kdig = async |ask: &str| client.kdig(&format!("{transport} {ask}")).await;
        let web = kdig("web.johns-project.lb.evenkeel.test A").await;
        assert_eq!(
            (web.status.as_str(), web.answer.len()),
            ("NOERROR", 3),
            "{}",
            web.text
        );
        let absent = kdig("absent.lb.evenkeel.test A").await;
        assert_eq!(absent.status, "NXDOMAIN", "{}", absent.text);
        assert_eq!(absent.authority, [SOA], "{}", absent.text);
        let other = kdig("example.com A").await;
        assert_eq!(other.status, "REFUSED", "{}", other.text);
        let transfer = kdig("lb.evenkeel.test NOTIFY").await;
        assert_eq!(transfer.status, "NOTIMPL", "{}", transfer.text);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_transfer_is_refused() {
    let server = support::server(contents(7)).await;
    let client = Client::of(&server);
    for ask in ["AXFR", "IXFR=1"] {
        let output = client
            .run("dig", &format!("+tcp lb.evenkeel.test {ask}"))
            .await;
        assert!(output.contains("Transfer failed"), "{output}");
        assert!(!output.contains("10.200.0"), "{output}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn each_address_comes_first_in_its_turn() {
    let server = support::server(contents(7)).await;
    let client = Client::of(&server);
    let mut firsts = Vec::new();
    for _ in 0..6 {
        let seen = client.dig("web.johns-project.lb.evenkeel.test A").await;
        assert_eq!(seen.answer.len(), 3);
        firsts.push(seen.answer[0].clone());
        // Other questions between do not take a turn.
        client.dig("web.johns-project.lb.evenkeel.test AAAA").await;
        client.dig("api.johns-project.lb.evenkeel.test A").await;
    }
    assert_eq!(firsts[..3], firsts[3..]);
    assert_eq!(firsts.iter().collect::<BTreeSet<_>>().len(), 3);
    server.shutdown().await;
}

#[tokio::test]
async fn a_large_answer_is_truncated_over_udp_and_whole_over_tcp() {
    let mut zone = contents(7);
    let addresses = (0..200).map(|n| Ipv4Addr::new(10, 200, 1, n)).collect();
    zone.records.insert("many.p".to_owned(), addresses);
    let server = support::server(zone).await;
    let client = Client::of(&server);
    // By dig's own way: truncated over UDP, so it asks again over TCP.
    let whole = client.dig("many.p.lb.evenkeel.test A").await;
    assert_eq!(whole.answer.len(), 200, "{}", whole.text);
    assert!(
        whole.text.contains("Truncated, retrying in TCP mode"),
        "{}",
        whole.text
    );
    // Arguments, the most bytes, the records that fit: (bytes - header - question - OPT) / 16.
    for (ask, bytes, records) in [
        ("+noedns", 512, 29),
        ("+bufsize=100", 512, 28),
        ("+bufsize=900", 900, 53),
        ("+bufsize=4096", 1232, 73),
    ] {
        let seen = client
            .dig(&format!(
                "+ignore +nocookie {ask} many.p.lb.evenkeel.test A"
            ))
            .await;
        assert!(seen.has_flag("tc"), "{ask}: {}", seen.text);
        assert!(seen.size <= bytes, "{ask}: {} bytes", seen.size);
        assert_eq!(seen.answer.len(), records, "{ask}: {}", seen.text);
        assert_eq!(seen.text.contains("EDNS: version: 0"), ask != "+noedns");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_named_with_the_reason() {
    let server = support::server(contents(7)).await;
    let taken = server.local_addresses()[0];
    let error = DnsServer::bind(&[taken], contents(7)).await.unwrap_err();
    assert!(matches!(error, DnsError::AddressInUse { address } if address == taken));
    assert!(error.to_string().contains(&taken.to_string()));

    // TEST-NET-1 is on no machine.
    let absent: SocketAddr = "192.0.2.1:53".parse().unwrap();
    let loopback = "127.0.0.1:0".parse().unwrap();
    let error = DnsServer::bind(&[loopback, absent], contents(7))
        .await
        .unwrap_err();
    assert!(matches!(error, DnsError::AddressAbsent { address } if address == absent));

    server.shutdown().await;
    let again = DnsServer::bind(&[taken], contents(7)).await.unwrap();
    assert_eq!(again.local_addresses(), [taken]);
    again.shutdown().await;
}

#[tokio::test]
async fn every_address_of_the_list_is_served() {
    let listen = ["127.0.0.1:0", "127.0.0.2:0"].map(|address| address.parse().unwrap());
    let server = DnsServer::bind(&listen, contents(7)).await.unwrap();
    let addresses = server.local_addresses().to_vec();
    assert_eq!(addresses.len(), 2);
    for address in addresses {
        let client = Client { server: address };
        for transport in ["+notcp", "+tcp"] {
            let seen: Seen = client
                .dig(&format!("{transport} lb.evenkeel.test SOA"))
                .await;
            assert_eq!(seen.answer, [SOA]);
        }
    }
    server.shutdown().await;
}

#[tokio::test]
async fn junk_is_survived_over_udp_and_tcp() {
    let server = support::server(contents(7)).await;
    let address = server.local_addresses()[0];
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in [0, 1, 11, 12, 13, 100, 5_000, 60_000] {
        for byte in [0x00, 0x0c, 0x7f, 0xc0, 0xff] {
            let junk = vec![byte; length];
            udp.send_to(&junk, address).await.unwrap();
            let mut tcp = TcpStream::connect(address).await.unwrap();
            let promised = u16::try_from(length).unwrap().to_be_bytes();
            tcp.write_all(&[&promised, junk.as_slice()].concat())
                .await
                .unwrap();
            // A message that is not whole when the connection ends.
            let mut tcp = TcpStream::connect(address).await.unwrap();
            tcp.write_all(&[0xff, 0xff, byte]).await.unwrap();
        }
    }
    let client = Client::of(&server);
    for transport in ["+notcp", "+tcp"] {
        let seen = client
            .dig(&format!("{transport} lb.evenkeel.test SOA"))
            .await;
        assert_eq!(seen.answer, [SOA]);
    }
    server.shutdown().await;
}
