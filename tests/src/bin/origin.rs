//! A server behind a balancer: says who it is, and what it was sent.
//!
//! `origin http NAME ADDRESS` answers each request of HTTP/1.1 with a line of its name. The path may
//! ask for more: `/bytes/N` for a body of N bytes, `/slow/MS` for an answer after MS milliseconds,
//! `/headers` for the request head back, `/status/CODE` for a status, `/echo/N` for the number back,
//! `/pattern/N` for N bytes that differ by their place; `/tunnel` becomes one, and echoes.
//! `origin tcp NAME ADDRESS` greets with a line of its name and echoes what it gets.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, name, address] = arguments.as_slice() else {
        return Err(io::Error::other("usage: origin http|tcp NAME ADDRESS"));
    };
    let listener = TcpListener::bind(address)?;
    let serve = if kind == "tcp" { serve_tcp } else { serve_http };
    for stream in listener.incoming() {
        let (stream, name) = (stream?, name.clone());
        std::thread::spawn(move || serve(stream, &name));
    }
    Ok(())
}

fn serve_tcp(mut stream: TcpStream, name: &str) -> io::Result<()> {
    writeln!(stream, "{name}")?;
    let mut echo = stream.try_clone()?;
    io::copy(&mut stream, &mut echo)?;
    echo.shutdown(std::net::Shutdown::Write)
}

fn serve_http(stream: TcpStream, name: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let length = body_length(&head);
        io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
        if head.starts_with("GET /tunnel ") {
            let switch = b"HTTP/1.1 101 Origin\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
            writer.write_all(switch)?;
            return io::copy(&mut reader, &mut writer).map(drop);
        }
        let (status, body) = answer(&head, name);
        // In one piece: a server that is killed within an answer has answered, if badly.
        let length = body.len();
        let mut out = format!(
            "HTTP/1.1 {status} Origin\r\nX-Origin: {name}\r\nContent-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        if !head.starts_with("HEAD ") {
            out.extend(body);
        }
        writer.write_all(&out)?;
    }
}

fn body_length(head: &str) -> u64 {
    let lengths = head.lines().filter_map(|line| line.split_once(':'));
    lengths
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

fn answer(head: &str, name: &str) -> (u16, Vec<u8>) {
    let path = head.split(' ').nth(1).unwrap_or("/");
    let mut parts = path.trim_start_matches('/').split('/');
    let (verb, number) = (
        parts.next(),
        parts.next().and_then(|n| n.parse::<usize>().ok()),
    );
    match (verb, number) {
        (Some("bytes"), Some(count)) => (200, vec![b'x'; count]),
        (Some("status"), Some(code)) => (u16::try_from(code).unwrap_or(500), Vec::new()),
        (Some("echo"), Some(number)) => (200, format!("{number}\n").into_bytes()),
        (Some("pattern"), Some(count)) => (200, (0..count).map(|at| (at % 251) as u8).collect()),
        (Some("headers"), None) => (200, head.as_bytes().to_vec()),
        (Some("slow"), Some(ms)) => {
            std::thread::sleep(Duration::from_millis(ms as u64));
            (200, format!("{name}\n").into_bytes())
        }
        _ => (200, format!("{name}\n").into_bytes()),
    }
}
