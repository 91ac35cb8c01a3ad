//! Long bodies and streams, which pass through pipes: the same bytes, ends and bounds as when they are copied.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::LazyLock;

use model::Counters;
use rustix::net::sockopt;

use crate::support::{
    Client, Host, Options, Origin, Request, eventually, get, http_config, in_namespace, plain,
    tcp_config,
};

/// From here on a body is a long one.
const LONG: usize = 128 << 10;
/// No body is longer.
const LONGEST: usize = 16 << 20;

/// Bytes of which no two neighbourhoods are alike, so that none can be lost, doubled or moved unseen. Made
/// once: an origin sends them to each health check as well.
fn pattern(length: usize) -> &'static [u8] {
    static LONGEST_PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (0..LONGEST as u64)
            .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8)
            .collect()
    });
    &LONGEST_PATTERN[..length]
}

fn assert_pattern(got: &[u8], length: usize) {
    assert_eq!(got.len(), length);
    let expected = pattern(length);
    if got == expected {
        return;
    }
    let wrong = got.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(wrong, None, "of {length} bytes the first wrong one");
}

/// Answers `/N` with N bytes: with a length, as one chunk under `/chunked/N`, until the end under `/close/N`,
/// and a tenth short of what was said under `/cut/N`.
fn bodies() -> Origin {
    let longest = pattern(LONGEST);
    Origin::http(move |request: &Request| {
        let mut parts = request.target().rsplit('/');
        let length = parts.next().unwrap().parse().unwrap();
        let mut answer = match parts.next() {
            Some("chunked") => {
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n")
            }
            Some("close") => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned(),
            Some("cut") => {
                let said = length + length / 10;
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {said}\r\n\r\n")
            }
            _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"),
        }
        .into_bytes();
        answer.extend_from_slice(&longest[..length]);
        if request.target().starts_with("/chunked") {
            answer.extend_from_slice(b"\r\n0\r\n\r\n");
        }
        answer
    })
}

fn balancing(origin: &Origin) -> Host {
    let host = Host::start_with(Options {
        threads: Some(1),
        ..Options::default()
    });
    let mut config = http_config(1, &[origin.address]);
    config.health_check.criteria.interval_ms = 60_000;
    host.serve(&config);
    host
}

/// The totals once nothing is under way any more.
fn totals_at_rest(host: &Host) -> Counters {
    host.next_heartbeat();
    let at_rest = |h: &model::Heartbeat| h.backends[0].active == 0;
    host.await_heartbeat("all is at rest", at_rest).counters
}

#[test]
fn bodies_around_every_threshold_arrive_as_they_were_sent_over_kept_connections() {
    in_namespace(|| {
        let origin = bodies();
        let host = balancing(&origin);
        let before = origin.connections();
        let mut client = Client::connect(host.front());
        let around = |size: usize| [size - 1, size, size + 1];
        let mut sizes: Vec<_> = [LONG, 2 * LONG, 1 << 20, 3 << 20].map(around).concat();
        sizes.extend([1, 64 << 10, (2 << 20) + LONG]);
        for &size in &sizes {
            assert_pattern(&client.get(&format!("/{size}")).body, size);
            assert_eq!(client.get("/9").body, pattern(9), "in step after {size}");
        }
        assert_eq!(origin.connections() - before, 1, "one kept connection");
        let counters = totals_at_rest(&host);
        assert!(counters.bytes_spliced > 8 << 20, "{counters:?}");
        let sum: usize = sizes.iter().sum();
        assert!(counters.bytes_out as usize > sum, "{counters:?}");
    });
}

#[test]
fn short_and_chunked_bodies_are_copied() {
    in_namespace(|| {
        let origin = bodies();
        let host = balancing(&origin);
        let mut client = Client::connect(host.front());
        for path in ["/1000", "/131071", "/chunked/3000000"] {
            let length = path.rsplit('/').next().unwrap().parse().unwrap();
            assert_pattern(&client.get(path).body, length);
        }
        assert_eq!(totals_at_rest(&host).bytes_spliced, 0);
    });
}

#[test]
fn a_long_body_without_a_length_ends_with_its_connection() {
    in_namespace(|| {
        let origin = bodies();
        let host = balancing(&origin);
        let size = 12 << 20;
        let mut client = Client::connect(host.front());
        assert_pattern(&client.get(&format!("/close/{size}")).body, size);
        assert!(totals_at_rest(&host).bytes_spliced > 1 << 20);
    });
}

#[test]
fn uploads_of_any_length_arrive_as_they_were_sent_with_the_next_request_right_behind() {
    in_namespace(|| {
        let origin = Origin::http(|request| {
            let same = request.body == pattern(request.body.len());
            plain(&format!("{} {same}", request.body.len()))
        });
        let host = balancing(&origin);
        let before = origin.connections();
        let mut client = Client::connect(host.front());
        let sizes = [1000, LONG - 1, LONG, LONG + 1, (1 << 20) + 1, 5 << 20];
        for size in sizes {
            let mut message =
                format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
                    .into_bytes();
            message.extend(pattern(size));
            message.extend(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
            client.send(message);
            let texts = [0, 1].map(|_| client.reply(false).unwrap().text());
            assert_eq!(texts, [format!("{size} true"), "0 true".to_owned()]);
        }
        assert_eq!(origin.connections() - before, 1, "one kept connection");
        let counters = totals_at_rest(&host);
        assert!(counters.bytes_spliced > 4 << 20, "{counters:?}");
        assert!(counters.bytes_in as usize > sizes.iter().sum());
    });
}

#[test]
fn a_long_upload_that_rests_when_its_backend_goes_is_not_begun_again_in_the_middle() {
    in_namespace(|| {
        // It goes away with a request's beginning, and answers whatever else it takes for a request.
        let origin = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 1 << 14];
            let mut count = log.read(&mut stream, &mut buffer);
            if buffer.starts_with(b"POST ") {
                while count > 0 && count < buffer.len() {
                    count += log.read(&mut stream, &mut buffer[count..]);
                }
            } else if count > 0 {
                let _ = stream.write_all(&plain("taken for a request"));
            }
        });
        let host = balancing(&origin);
        let mut client = Client::connect(host.front());
        // As much as one read takes of a head, so that more is looked for and nothing is there.
        let mut begin = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n".to_vec();
        begin.resize(1 << 14, b'x');
        client.send(begin);
        eventually("the backend has it all", || {
            (origin.bytes().len() >= 1 << 14).then_some(())
        });
        client.send_if_open("GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n");
        let reply = client.reply(false).unwrap();
        assert_eq!(
            (reply.status, reply.reason()),
            (502, Some("backend-closed"))
        );
        assert_eq!(origin.bytes().len(), 1 << 14, "nothing of it is sent again");
    });
}

/// Reads some, rests until the balancer has done what it can, and reads on.
fn read_slowly(stream: &mut TcpStream, pieces: usize) -> Vec<u8> {
    let mut got = Vec::new();
    for piece in 0.. {
        let mut buffer = vec![0u8; 300_000];
        let count = stream.read(&mut buffer).unwrap();
        got.extend_from_slice(&buffer[..count]);
        if count == 0 {
            return got;
        }
        if piece < pieces {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    got
}

#[test]
fn a_slow_reader_gets_every_byte_and_little_waits_for_it() {
    in_namespace(|| {
        let origin = bodies();
        let host = balancing(&origin);
        let (size, before) = (16 << 20, host.resident_bytes());
        let mut client = Client::connect(host.front());
        client.send(format!(
            "GET /{size} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ));
        let got = read_slowly(&mut client.stream, 40);
        let body = got.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        assert_pattern(&got[body..], size);
        let grown = host.resident_bytes().saturating_sub(before);
        assert!(grown < 4 << 20, "grown by {grown} bytes");
        assert!(totals_at_rest(&host).bytes_spliced > 8 << 20);
    });
}

#[test]
fn a_reader_that_stops_is_cut_off_when_its_time_is_up() {
    in_namespace(|| {
        let origin = bodies();
        let host = balancing(&origin);
        let mut config = http_config(2, &[origin.address]);
        config.timeouts.idle_ms = 300;
        host.serve(&config);
        let mut client = Client::connect(host.front());
        client.send("GET /16000000 HTTP/1.1\r\nHost: a\r\n\r\n");
        let heartbeat = host.await_heartbeat("the client is given up", |h| {
            h.counters.connections == 1 && h.counters.open_connections == 0
        });
        assert!(heartbeat.counters.bytes_spliced > 0);
        assert!(client.reply(false).is_none());
    });
}

#[test]
fn a_body_that_is_cut_off_is_never_taken_for_the_whole() {
    in_namespace(|| {
        let origin = bodies();
        let host = balancing(&origin);
        let mut client = Client::connect(host.front());
        client.send("GET /cut/5000000 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.reply(false).is_none());
        let counters = totals_at_rest(&host);
        assert!(counters.bytes_spliced > 1 << 20, "{counters:?}");
        assert_eq!(host.next_heartbeat().backends[0].errors, 1);
    });
}

#[test]
fn clients_that_leave_in_the_middle_cost_no_pipe_for_good() {
    in_namespace(|| {
        let origin = bodies();
        let host = balancing(&origin);
        for _ in 0..150 {
            let mut client = Client::connect(host.front());
            client.send("GET /8000000 HTTP/1.1\r\nHost: a\r\n\r\n");
            client.exactly(1000).unwrap();
        }
        eventually("every client is let go", || {
            let heartbeat = host.next_heartbeat();
            let gone = heartbeat.counters.open_connections == 0;
            (gone && heartbeat.backends[0].active == 0).then_some(())
        });
        let before = totals_at_rest(&host).bytes_spliced;
        let mut client = Client::connect(host.front());
        assert_pattern(&client.get("/5000000").body, 5_000_000);
        assert!(totals_at_rest(&host).bytes_spliced > before + (4 << 20));
    });
}

#[test]
fn streams_pass_both_ways_at_once_and_each_half_ends_by_itself() {
    const SIZE: usize = 8 << 20;
    in_namespace(|| {
        // It speaks first, ends its half, and only then hears the client out.
        let origin = Origin::serving(|mut stream, log| {
            let mut out = stream.try_clone().unwrap();
            let _ = out.write_all(pattern(SIZE));
            let _ = out.shutdown(Shutdown::Write);
            let mut buffer = vec![0u8; 1 << 18];
            while log.read(&mut stream, &mut buffer) > 0 {}
        });
        let host = Host::start_with(Options {
            threads: Some(1),
            ..Options::default()
        });
        host.serve(&tcp_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        let got = read_slowly(&mut client.stream, 20);
        assert_pattern(&got, SIZE);
        let down = host.next_heartbeat().counters;
        assert!(down.bytes_spliced > (SIZE / 2) as u64, "{down:?}");
        client.send(pattern(SIZE)).end_sending();
        let up = totals_at_rest(&host);
        assert!(
            up.bytes_spliced > down.bytes_spliced + (SIZE / 2) as u64,
            "{up:?}"
        );
        assert_eq!((up.bytes_in, up.bytes_out), (SIZE as u64, SIZE as u64));
        // The kernel has it all by now; the origin may still be reading.
        let heard = eventually("the origin hears the client out", || {
            Some(origin.bytes()).filter(|heard| heard.len() >= SIZE)
        });
        assert_pattern(&heard, SIZE);
    });
}

/// Breaks a connection off with a reset, whoever else holds it.
fn break_off(stream: &TcpStream) {
    // SAFETY: an address without a family, as large as it says it is, dissolves the connection.
    unsafe {
        let nobody: libc::sockaddr = std::mem::zeroed();
        let size = size_of::<libc::sockaddr>() as u32;
        libc::connect(stream.as_raw_fd(), &raw const nobody, size);
    }
}

#[test]
fn a_client_of_a_stream_that_breaks_off_sees_a_reset() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, _| {
            if stream.write_all(pattern(8 << 20)).is_ok() {
                break_off(&stream);
            }
        });
        let host = Host::start();
        host.serve(&tcp_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        assert!(client.rest().is_none());
    });
}

/// Lets the sockets of this test's namespace take in much and hold back little, so that what is not read soon
/// waits in the balancer.
fn keep_little_in_sockets() {
    for (which, sizes) in [
        ("tcp_wmem", "4096 16384 65536"),
        ("tcp_rmem", "4096 2097152 4194304"),
    ] {
        std::fs::write(format!("/proc/sys/net/ipv4/{which}"), sizes).unwrap();
    }
}

/// Asks for a path so many times and reads nothing, until all that can be sent is sent.
fn readers_at_a_standstill(host: &Host, count: usize, path: &str) -> Vec<Client> {
    let readers = (0..count).map(|_| {
        let mut client = Client::connect(host.front());
        sockopt::set_socket_recv_buffer_size(&client.stream, 8 << 10).unwrap();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client
    });
    let readers: Vec<_> = readers.collect();
    let sent = || host.next_heartbeat().counters.bytes_out;
    eventually("nothing moves any more", || {
        let before = sent();
        (before > 0 && sent() == before && sent() == before).then_some(())
    });
    readers
}

#[test]
fn slow_readers_of_long_bodies_cost_others_no_pipe() {
    in_namespace(|| {
        keep_little_in_sockets();
        let origin = bodies();
        let host = balancing(&origin);
        let _slow = readers_at_a_standstill(&host, 40, &format!("/{}", 4 << 20));
        let before = host.next_heartbeat().counters.bytes_spliced;
        let size = 8 << 20;
        assert_pattern(&get(host.front(), &format!("/{size}")).body, size);
        let spliced = host.next_heartbeat().counters.bytes_spliced - before;
        assert!(spliced > 6 << 20, "{spliced} bytes");
    });
}

#[test]
fn slow_readers_of_chunks_cost_others_no_large_head() {
    in_namespace(|| {
        keep_little_in_sockets();
        let origin = bodies();
        let host = balancing(&origin);
        let _slow = readers_at_a_standstill(&host, 120, &format!("/chunked/{}", 1 << 20));
        let mut client = Client::connect(host.front());
        client.send(format!(
            "GET /10 HTTP/1.1\r\nHost: a\r\nX: {}",
            "x".repeat(6_000)
        ));
        let before = host.next_heartbeat().counters.bytes_in;
        assert!(before > 6_000, "the first part was read");
        client.send("\r\n\r\n");
        assert_pattern(&client.reply(false).unwrap().body, 10);
    });
}
