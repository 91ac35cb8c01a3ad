//! One question to one VM.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::Duration;

use model::{CHECKER_MARK, TrafficType};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Bytes of an answer that are looked at: a status line fits.
const ANSWER_BYTES: usize = 512;

/// Where and how to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    /// The VM's front address.
    pub address: Ipv4Addr,
    /// The port that clients use.
    pub port: u16,
    /// HTTP is asked a question, TCP for a connection.
    pub traffic: TrafficType,
    /// The address that the VM knows its checker by; a checker that has it not asks as a client does.
    pub from: Option<Ipv4Addr>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// Whether the VM answered.
    pub answered: bool,
    /// The result in words. It names no duration, so that two equal results are equal.
    pub evidence: String,
}

/// The VM was not asked: the checker lacked what it takes, such as a descriptor, memory or a port of its own. That
/// says nothing of the VM.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotAsked(io::Error);

/// The errors of a process or host that has no means to ask.
const OWN_WANTS: [i32; 5] = [
    libc::EMFILE,
    libc::ENFILE,
    libc::ENOMEM,
    libc::ENOBUFS,
    libc::EADDRNOTAVAIL,
];

/// Asks once.
///
/// Over HTTP the question is `OPTIONS *` with `Max-Forwards: 0`, which a proxy answers itself and hands
/// to no backend (RFC 9110, section 7.6.2), so any well-formed status line proves that the hot path
/// runs. Over TCP the accepted connection is the proof; it is reset at once.
///
/// # Errors
/// [`NotAsked`], which is no result.
pub async fn probe(target: ProbeTarget, deadline: Duration) -> Result<ProbeResult, NotAsked> {
    Ok(match timeout(deadline, ask(target)).await {
        Err(_) => failed(format!("no answer within {} ms", deadline.as_millis())),
        Ok(Err(error)) if is_own_want(&error) => return Err(NotAsked(error)),
        Ok(Err(error)) => failed(describe(&error)),
        Ok(Ok(evidence)) => ProbeResult {
            answered: true,
            evidence,
        },
    })
}

fn is_own_want(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|number| OWN_WANTS.contains(&number))
}

async fn ask(target: ProbeTarget) -> io::Result<String> {
    let address = SocketAddrV4::new(target.address, target.port);
    let mut stream = marked_socket(target.from)?.connect(address.into()).await?;
    // A reset spares both sides the wait for a goodbye.
    stream.set_zero_linger()?;
    match target.traffic {
        TrafficType::Tcp => Ok("accepted a connection".into()),
        TrafficType::Http => ask_http(&mut stream, address).await,
    }
}

/// A socket whose packets get through to a VM that is fenced, and whose answers get back.
///
/// Who may not set the mark asks without it: a VM that is open answers all the same, and one that is fenced is
/// silent to this checker. One that is not on the VMs' machine has not got the address either; to the VM it is a client.
fn marked_socket(from: Option<Ipv4Addr>) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    match (SockRef::from(&socket).set_mark(CHECKER_MARK), from) {
        (Ok(()), Some(from)) => bind(&socket, from)?,
        (Err(e), _) if e.kind() != io::ErrorKind::PermissionDenied => return Err(e),
        _ => {}
    }
    Ok(socket)
}

/// Asks from this address, where this machine has it. The port is chosen with the connection, so that as many can be
/// had to each VM as there are ports.
fn bind(socket: &TcpSocket, from: Ipv4Addr) -> io::Result<()> {
    let late: libc::c_int = 1;
    // SAFETY: the value is a number of the size that is given. A refusal costs ports and nothing else.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const late).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
    match socket.bind(SocketAddrV4::new(from, 0).into()) {
        Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => Ok(()),
        bound => bound,
    }
}

async fn ask_http(stream: &mut TcpStream, address: SocketAddrV4) -> io::Result<String> {
    let question = format!(
        "OPTIONS * HTTP/1.1\r\nHost: {address}\r\nMax-Forwards: 0\r\n\
         User-Agent: evenkeel-checker\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(question.as_bytes()).await?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    while answer.len() < ANSWER_BYTES && !answer.contains(&b'\n') {
        let read = stream
            .take(ANSWER_BYTES as u64)
            .read_buf(&mut answer)
            .await?;
        if read == 0 {
            break;
        }
    }
    match read_status(&answer) {
        Some(status) => Ok(format!("answered with status {status}")),
        None if answer.is_empty() => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it does not speak HTTP",
        )),
    }
}

/// The status of an HTTP/1.x status line.
fn read_status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    line.split(' ').nth(1)?.trim_end().parse().ok()
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::HostUnreachable => "host unreachable".into(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".into(),
        io::ErrorKind::UnexpectedEof => "connection closed without an answer".into(),
        _ => error.to_string(),
    }
}

fn failed(evidence: String) -> ProbeResult {
    ProbeResult {
        answered: false,
        evidence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::time::Instant;
    use tokio::net::TcpListener;

    const DEADLINE: Duration = Duration::from_secs(5);

    async fn listener() -> (TcpListener, ProbeTarget) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let SocketAddr::V4(bound) = listener.local_addr().unwrap() else {
            panic!("not IPv4")
        };
        let target = ProbeTarget {
            address: *bound.ip(),
            port: bound.port(),
            traffic: TrafficType::Http,
            from: None,
        };
        (listener, target)
    }

    /// Answers one connection with `answer` after it has read a whole request head, which it returns.
    async fn answer_once(listener: TcpListener, answer: &'static [u8]) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap() > 0 {}
        stream.write_all(answer).await.unwrap();
        String::from_utf8(head).unwrap()
    }

    #[tokio::test]
    async fn a_probe_is_marked_as_the_checkers() {
        let socket = marked_socket(None).unwrap();
        assert_eq!(SockRef::from(&socket).mark().unwrap(), CHECKER_MARK);
    }

    #[tokio::test]
    async fn a_probe_comes_from_the_checkers_address_where_the_machine_has_it() {
        let absent = Ipv4Addr::new(192, 0, 2, 1);
        for (from, seen) in [
            ([127, 0, 0, 9].into(), [127, 0, 0, 9]),
            (absent, [127, 0, 0, 1]),
        ] {
            let (listener, mut target) = listener().await;
            (target.traffic, target.from) = (TrafficType::Tcp, Some(from));
            let (result, accepted) = tokio::join!(probe(target, DEADLINE), listener.accept());
            assert!(result.unwrap().answered);
            assert_eq!(accepted.unwrap().1.ip(), Ipv4Addr::from(seen));
        }
    }

    #[tokio::test]
    async fn any_status_is_an_answer_and_the_question_goes_no_further_than_the_proxy() {
        for (answer, status) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], 200),
            (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", 503),
        ] {
            let (listener, target) = listener().await;
            let (result, head) =
                tokio::join!(probe(target, DEADLINE), answer_once(listener, answer));
            let result = result.unwrap();
            assert_eq!(result.evidence, format!("answered with status {status}"));
            assert!(result.answered);
            assert!(head.starts_with("OPTIONS * HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("Max-Forwards: 0\r\n"), "{head}");
        }
    }

    #[tokio::test]
    async fn what_is_no_http_is_no_answer() {
        for (answer, evidence) in [
            (&b""[..], "connection closed without an answer"),
            (b"SSH-2.0-nothing\r\n", "it does not speak HTTP"),
            (b"HTTP/1.1 abc\r\n", "it does not speak HTTP"),
        ] {
            let (listener, target) = listener().await;
            let (result, _) = tokio::join!(probe(target, DEADLINE), answer_once(listener, answer));
            assert_eq!(result.unwrap(), failed(evidence.into()));
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_in_words() {
        let (listener, target) = listener().await;
        drop(listener);
        assert_eq!(
            probe(target, DEADLINE).await.unwrap(),
            failed("connection refused".into())
        );
    }

    #[tokio::test]
    async fn silence_ends_at_the_deadline() {
        let (_listener, target) = listener().await;
        let began = Instant::now();
        let result = probe(target, Duration::from_millis(50)).await.unwrap();
        assert_eq!(result, failed("no answer within 50 ms".into()));
        assert!(began.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test]
    async fn over_tcp_an_accepted_connection_is_an_answer() {
        let (_listener, target) = listener().await;
        let target = ProbeTarget {
            traffic: TrafficType::Tcp,
            ..target
        };
        assert!(probe(target, DEADLINE).await.unwrap().answered);
    }
}
