//! Connections: accepted within bounds, served as HTTP/1.1, ended in good order.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::caller::{Caller, Peer};
use crate::stopping::Stopping;

/// The most connections at once; a further one waits to be accepted.
pub(crate) const MAX_CONNECTIONS: usize = 512;
/// How long a client may take to send a request's head, and to send the next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// The most bytes of a request's head, and of what is read at once.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long accepting rests when the system refuses, for want of file descriptors most often.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests that are under way may take when the server is to end.
const GRACE: Duration = Duration::from_secs(5);

/// What connections arrive on.
pub(crate) trait Listener: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Listener for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&mut self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, client) = Self::accept(self).await?;
        let server = stream.local_addr()?;
        stream.set_nodelay(true)?;
        Ok((stream, Peer::Tcp { client, server }))
    }
}

impl Listener for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&mut self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, _) = Self::accept(self).await?;
        let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
        Ok((stream, Peer::Unix(uid)))
    }
}

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Service {
    pub router: Router,
    pub slots: Arc<Semaphore>,
    pub stopping: Stopping,
}

impl Service {
    pub fn new(router: Router, stopping: Stopping) -> Self {
        Self {
            router,
            slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            stopping,
        }
    }

    /// The same service with connections of its own, which no flood at another door can take.
    pub fn with_own_slots(&self) -> Self {
        Self::new(self.router.clone(), self.stopping.clone())
    }

    /// Accepts and serves connections until the server is to end, and then gives those that are under
    /// way a little time.
    pub async fn accept_from(mut self, mut listener: impl Listener) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = async {
                // The semaphore is never closed, so acquiring cannot fail.
                let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
                (slot, listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                accepted = accepted => accepted,
                () = self.stopping.heard() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection =
                        serve(self.router.clone(), stream, peer, self.stopping.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        let all = async { while connections.join_next().await.is_some() {} };
        // What has not ended by then is aborted when the set is dropped.
        let _ = tokio::time::timeout(GRACE, all).await;
    }
}

async fn serve(
    router: Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    mut stopping: Stopping,
) {
    let caller = Arc::new(Caller::new(peer));
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&caller));
        request.map(Body::new)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopping.heard() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, ?peer, "a connection ended in disorder");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::stopping::Stop;

    fn router() -> Router {
        Router::new().route("/", get(|| async { "well" }))
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_to_ask_is_let_go() {
        let (_stop, stopping) = Stop::new();
        let (mut client, stream) = tokio::io::duplex(1024);
        client.write_all(b"GET / HT").await.expect("it is taken");
        let begin = tokio::time::Instant::now();
        serve(router(), stream, Peer::Unix(None), stopping).await;
        assert_eq!(begin.elapsed().as_secs(), HEAD_TIMEOUT.as_secs());
    }

    #[tokio::test]
    async fn a_connection_beyond_the_bound_waits_until_another_ends() {
        let (stop, stopping) = Stop::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let mut service = Service::new(router(), stopping);
        service.slots = Arc::new(Semaphore::new(1));
        let slots = Arc::clone(&service.slots);
        let server = tokio::spawn(service.accept_from(listener));
        let mut first = TcpStream::connect(address).await.expect("a connection");
        first
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .expect("it is taken");
        first.read_u8().await.expect("an answer");
        let mut second = TcpStream::connect(address)
            .await
            .expect("the backlog takes it");
        second
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .expect("it is taken");
        let early = tokio::time::timeout(Duration::from_millis(50), second.read_u8()).await;
        assert!(early.is_err(), "it is not served beside the first");
        assert_eq!(slots.available_permits(), 0);
        drop(first);
        let patience = Duration::from_secs(10);
        let answer = tokio::time::timeout(patience, second.read_u8()).await;
        answer.expect("in time").expect("an answer");
        stop.say();
        server.await.expect("no panic");
    }
}
