//! Over real sockets of this machine: what arrives at a server, and what it is told of the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use model::access::{AccessHead, AccessLengths, AccessRecord};
use model::{Termination, Timestamp, VmId};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::{FACILITY, INFORMATIONAL, MOST_UDP_BYTES, WARNING};
use super::*;

/// After which a test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn line(termination: Termination, status: u16, [host, path]: [&str; 2]) -> Line {
    let head = AccessHead {
        status,
        termination,
        vm: VmId(7),
        ended_us: 1_795_369_892_123_000,
        lengths: AccessLengths {
            method: 3,
            host: host.len() as u8,
            path: path.len() as u16,
            ..AccessLengths::default()
        },
        ..AccessHead::default()
    };
    let mut bytes = Vec::new();
    let text = format!("GET{host}{path}");
    AccessRecord::write(&head, text.as_bytes(), &mut bytes);
    let mut records = AccessRecord::read_all(&bytes);
    Line::new(1, records.next().expect("one record"))
}

fn numbered(number: u64) -> Line {
    line(Termination::Complete, 200, ["web", &format!("/{number}")])
}

fn names() -> Names {
    Names {
        instance: "web".into(),
        id: 3,
        project: "john's project".into(),
        user: "john".into(),
    }
}

fn form(transport: Transport) -> Form {
    Form {
        host: "lab".into(),
        ..Form::of(transport)
    }
}

fn json(message: &str) -> serde_json::Value {
    let (_, said) = message.split_once(" - @cee: ").expect(message);
    serde_json::from_str(said).expect(message)
}

/// What a server took.
#[derive(Debug, Default)]
struct Took {
    numbers: Vec<u64>,
    lost: u64,
    notices: u64,
}

impl Took {
    fn take(&mut self, message: &str) {
        let said = json(message);
        match said["dropped"].as_u64() {
            Some(lost) => {
                self.lost += lost;
                self.notices += 1;
            }
            None => {
                let path = said["path"].as_str().expect("a line has a path");
                let number = path.trim_start_matches('/').parse();
                self.numbers.push(number.expect("its number"));
            }
        }
    }

    /// How many of the lines that were sent it knows of.
    fn accounted(&self) -> u64 {
        self.numbers.len() as u64 + self.lost
    }

    fn has_none_twice(&self) -> bool {
        self.numbers.len() == self.numbers.iter().collect::<BTreeSet<_>>().len()
    }
}

/// Takes whole messages from a connection until it ends, or until so many lines are accounted for.
async fn take_from(mut stream: TcpStream, until: u64, took: &mut Took) {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while took.accounted() < until {
        match timeout(PATIENCE, stream.read(&mut buffer))
            .await
            .expect("in time")
        {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
        let mut rest = &bytes[..];
        while let Some((message, behind)) = counted(rest) {
            took.take(std::str::from_utf8(message).expect("UTF-8"));
            rest = behind;
        }
        bytes = rest.to_vec();
    }
}

/// The first message of RFC 6587, if it is whole, and what follows.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length = std::str::from_utf8(&bytes[..space]).expect("a length");
    let length: usize = length.parse().expect("a length");
    bytes[space + 1..].split_at_checked(length)
}

/// Listens with little room, so that a server that reads nothing is soon full.
fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("its room");
    let address = "127.0.0.1:0".parse().expect("an address");
    socket.bind(address).expect("an address");
    socket.listen(8).expect("a listener")
}

fn start(target: &str) -> (Syslog, Tally) {
    let target = target.parse().expect("a target");
    let tally = Tally::beginning(Timestamp(0));
    let syslog = Syslog::start(target, Store::in_memory(), tally.clone());
    (syslog, tally)
}

fn lost_in(tally: &Tally) -> u64 {
    let newest = tally.newest(std::time::Instant::now());
    newest.intake.dropped_syslog_lines
}

#[tokio::test]
async fn a_server_that_took_nothing_gets_each_line_once_or_is_told_once_that_it_is_lost() {
    const LINES: u64 = 40_000;
    let listener = listen();
    let address = listener.local_addr().expect("an address");
    let (syslog, tally) = start(&format!("tcp://{address}"));
    let (stuck, _) = listener.accept().await.expect("a connection");
    for number in 0..LINES {
        syslog.send(&names(), numbered(number));
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert!(lost_in(&tally) > 0, "more came than there is room for");
    // Only when nothing was taken for a while does it come anew.
    let accepted = timeout(PATIENCE, listener.accept()).await.expect("in time");
    let (next, _) = accepted.expect("another connection");
    let mut took = Took::default();
    take_from(stuck, LINES, &mut took).await;
    assert!(took.accounted() < LINES, "it was given up: {took:?}");
    take_from(next, LINES, &mut took).await;
    assert!(took.has_none_twice(), "some came twice");
    assert_eq!(
        took.accounted(),
        LINES,
        "{} lost in {} notices",
        took.lost,
        took.notices
    );
    assert_eq!((took.notices, took.lost), (1, lost_in(&tally)));
}

#[tokio::test]
async fn a_server_of_datagrams_that_comes_back_is_told_how_many_found_nobody() {
    let server = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = server.local_addr().expect("an address");
    drop(server);
    let (syslog, tally) = start(&format!("udp://{address}"));
    let (mut sent, began) = (0, std::time::Instant::now());
    while lost_in(&tally) < 2 {
        assert!(began.elapsed() < PATIENCE, "nothing is lost");
        syslog.send(&names(), numbered(sent));
        sent += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let server = UdpSocket::bind(address).await.expect("the same address");
    let (mut took, mut buffer) = (Took::default(), vec![0; 4_096]);
    while took.notices == 0 || took.accounted() < sent {
        let received = timeout(PATIENCE, server.recv(&mut buffer)).await;
        let length = received.unwrap_or_else(|_| panic!("{sent} sent, {took:?}"));
        let message = &buffer[..length.expect("a datagram")];
        took.take(std::str::from_utf8(message).expect("UTF-8"));
    }
    assert!(took.has_none_twice());
    assert_eq!(took.accounted(), sent);
    assert_eq!((took.notices, took.lost), (1, lost_in(&tally)));
}

#[test]
fn a_message_has_a_header_of_rfc_5424_and_says_its_line_in_json_without_a_line_break() {
    for (termination, status, severity) in [
        (Termination::Complete, 200, INFORMATIONAL),
        (Termination::ResponseTimeout, 504, WARNING),
    ] {
        let line = line(termination, status, ["web", "/a\"\n "]);
        let message = form(Transport::Tcp).line(&names(), line);
        let message = message.expect("it has a form").text;
        let header = format!(
            "<{}>1 2026-11-22T17:51:32.123Z lab evenkeel vm-7 access - @cee: ",
            FACILITY * 8 + severity
        );
        let said = message.strip_prefix(&header).expect(&message);
        assert!(!said.contains('\n'), "{said}");
        let said = json(&message);
        assert_eq!(said["path"], "/a\"\n ");
        assert_eq!(said["truncated"], serde_json::Value::Null);
        assert_eq!(
            (&said["instance"], &said["id"], &said["vm"]),
            (&"web".into(), &3.into(), &7.into())
        );
    }
}

#[test]
fn what_is_too_long_for_a_datagram_is_cut_within_its_json_and_says_so() {
    let long_names = Names {
        instance: "\u{1f6a2}".repeat(128),
        project: "\u{1f6a2}".repeat(128),
        user: "\u{1f6a2}".repeat(128),
        ..names()
    };
    let (control, host) = ("\u{1}".repeat(256), "h".repeat(128));
    for (names, path) in [
        (names(), &*control),
        (long_names.clone(), "/short"),
        (long_names, &*control),
    ] {
        let made = |transport| {
            let line = line(Termination::Complete, 200, [&host, path]);
            let message = form(transport).line(&names, line);
            message.expect("it has a form").text
        };
        let (whole, cut) = (made(Transport::Tcp), made(Transport::Udp));
        assert!(whole.len() > MOST_UDP_BYTES, "{}", whole.len());
        assert!(cut.len() <= MOST_UDP_BYTES, "{}", cut.len());
        assert!(cut.len() > MOST_UDP_BYTES / 2, "too much: {}", cut.len());
        let (whole, cut) = (json(&whole), json(&cut));
        assert_eq!(cut["truncated"], true);
        for text in ["instance", "project", "user", "host", "path"] {
            let (whole, cut) = (whole[text].as_str(), cut[text].as_str());
            let (whole, cut) = (whole.expect(text), cut.expect(text));
            assert!(whole.starts_with(cut), "{text}: {cut}");
        }
        assert_eq!(cut["status"], whole["status"]);
    }
}

#[test]
fn a_server_is_named_by_transport_host_and_port() {
    for good in [
        "tcp://127.0.0.1:514",
        "udp://log.example:5514",
        "tcp://[::1]:601",
    ] {
        assert!(good.parse::<SyslogTarget>().is_ok(), "{good}");
    }
    for bad in [
        "127.0.0.1:514",
        "tls://a:1",
        "tcp://a",
        "udp://:514",
        "tcp://a:0",
        "tcp://a:99999",
    ] {
        assert!(bad.parse::<SyslogTarget>().is_err(), "{bad}");
    }
}
