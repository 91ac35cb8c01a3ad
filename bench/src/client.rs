//! A client that asks for a URL as any program does: it resolves the name, connects, and reads the answer.

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The addresses that the host's resolver gives for a URL.
///
/// # Errors
/// Where it gives none.
pub fn resolve(url: &str) -> Result<Vec<SocketAddr>> {
    Ok((host_of(url), 80).to_socket_addrs()?.collect())
}

/// Asks for the URL once at one address, over a connection of its own.
///
/// # Errors
/// Where there is no 200 within `patience` for the connection and again for each part of the answer.
pub fn get(url: &str, address: SocketAddr, patience: Duration) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let name = host_of(url);
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
    )?;
    let mut reader = BufReader::new(stream);
    let mut status = String::new();
    reader.read_line(&mut status)?;
    reader.read_to_end(&mut Vec::new())?;
    match status.starts_with("HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(Error::other(format!("{url} answered {status}"))),
    }
}

fn host_of(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches('/')
}
