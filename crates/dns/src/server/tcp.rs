//! Requests over TCP (RFC 7766): each message after its length, many on a connection, in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::published::Published;
use crate::answer::{Transport, answer};

/// The most connections at once on one address. Further ones wait in the kernel's queue; a flood on
/// one address leaves the others alone.
const MAX_CONNECTIONS: usize = 128;
/// How long a client may take for its next whole request, and for reading a response.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// How long a connection may last, so that nobody keeps one for ever.
const MAX_LIFETIME: Duration = Duration::from_secs(60);
/// How long to rest when no connection can be accepted (no file descriptor is left, most likely).
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

pub(super) async fn serve(listener: TcpListener, published: Arc<Published>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut open = JoinSet::new();
    // The semaphore is never closed, so the loop ends only with its task.
    while let Ok(permit) = connections.clone().acquire_owned().await {
        while open.try_join_next().is_some() {}
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "accepting a DNS connection failed");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        let published = published.clone();
        open.spawn(async move {
            let _permit = permit;
            match timeout(MAX_LIFETIME, converse(stream, &published)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%client, %error, "a DNS connection failed"),
                Err(_) => debug!(%client, "a DNS connection lasted too long"),
            }
        });
    }
}

/// Answers one request after the other until the client ends or tarries.
async fn converse(mut stream: TcpStream, published: &Published) -> io::Result<()> {
    let mut request = Vec::new();
    while timeout(MAX_WAIT, read(&mut stream, &mut request)).await?? {
        let Some(response) = answer(&published.current(), &request, Transport::Tcp) else {
            return Ok(());
        };
        timeout(MAX_WAIT, write(&mut stream, &response)).await??;
    }
    Ok(())
}

/// Reads the next request in place of the last one. False at the connection's end.
async fn read(stream: &mut TcpStream, request: &mut Vec<u8>) -> io::Result<bool> {
    let length = match stream.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    };
    request.clear();
    request.resize(length.into(), 0);
    stream.read_exact(request).await?;
    Ok(true)
}

/// Writes length and response in one piece, lest they become two segments (RFC 7766, section 8).
async fn write(stream: &mut TcpStream, response: &[u8]) -> io::Result<()> {
    let length = u16::try_from(response.len()).map_err(io::Error::other)?;
    let message = [&length.to_be_bytes(), response].concat();
    stream.write_all(&message).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, SocketAddr};

    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::{Name, RecordType};
    use tokio::time::Instant;

    use crate::{DnsServer, ZoneContents};

    use super::*;

    async fn server() -> DnsServer {
        let zone = ZoneContents {
            origin: "lb.test".to_owned(),
            serial: 1,
            ttl_s: 1,
            negative_ttl_s: 1,
            name_server: vec![Ipv4Addr::LOCALHOST],
            records: BTreeMap::new(),
        };
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        DnsServer::bind(&[loopback], zone).await.unwrap()
    }

    async fn connect(server: &DnsServer) -> TcpStream {
        TcpStream::connect(server.local_addresses()[0])
            .await
            .unwrap()
    }

    /// Asks one question; false if the server has ended the connection.
    async fn ask(stream: &mut TcpStream) -> bool {
        let mut query = Message::new(1, MessageType::Query, OpCode::Query);
        let origin = Name::from_ascii("lb.test.").unwrap();
        query.add_query(Query::query(origin, RecordType::SOA));
        let mut response = Vec::new();
        write(stream, &query.to_vec().unwrap()).await.is_ok()
            && matches!(read(stream, &mut response).await, Ok(true))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_nothing_is_ended_in_time() {
        let server = server().await;
        for sent in [&[][..], &[0], &[0, 30, 1, 2, 3]] {
            let mut stream = connect(&server).await;
            stream.write_all(sent).await.unwrap();
            let start = Instant::now();
            let ended = stream.read(&mut [0]).await;
            assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
            assert!(start.elapsed() <= MAX_WAIT + Duration::from_secs(1));
        }
        server.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_for_ever_is_ended_as_well() {
        let server = server().await;
        let mut stream = connect(&server).await;
        let start = Instant::now();
        while ask(&mut stream).await {
            assert!(start.elapsed() <= MAX_LIFETIME + MAX_WAIT);
            tokio::time::sleep(MAX_WAIT / 2).await;
        }
        assert!(
            start.elapsed() >= MAX_LIFETIME - MAX_WAIT,
            "ended too early"
        );
        server.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_connections_is_bounded_and_passes() {
        let server = server().await;
        let mut idle = Vec::new();
        for _ in 0..MAX_CONNECTIONS + 20 {
            idle.push(connect(&server).await);
        }
        let mut stream = connect(&server).await;
        let start = Instant::now();
        assert!(ask(&mut stream).await);
        let waited = start.elapsed();
        assert!(
            waited >= MAX_WAIT,
            "it was served beside the flood: no bound ({waited:?})"
        );
        assert!(waited <= MAX_WAIT * 3, "{waited:?}");
        server.shutdown().await;
    }
}
