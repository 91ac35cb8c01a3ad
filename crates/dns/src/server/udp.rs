//! Requests over UDP: one task per socket, one datagram at a time. An answer takes microseconds and
//! waits for nothing, so more tasks would only add a queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tracing::debug;

use super::published::Published;
use crate::answer::{Transport, answer};

/// The most bytes of a request that are read; what is longer is cut and so found malformed.
const MAX_REQUEST_BYTES: usize = 4_096;
/// How long to rest when the socket fails, so that a lasting fault does not take a core.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

pub(super) async fn serve(socket: UdpSocket, published: Arc<Published>) {
    let mut request = vec![0; MAX_REQUEST_BYTES];
    loop {
        let (length, client) = match socket.recv_from(&mut request).await {
            Ok(received) => received,
            Err(error) => {
                debug!(%error, "receiving a DNS request failed");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        let received = request.get(..length).unwrap_or_default();
        let Some(response) = answer(&published.current(), received, Transport::Udp) else {
            continue;
        };
        if let Err(error) = socket.send_to(&response, client).await {
            debug!(%client, %error, "sending a DNS response failed");
        }
    }
}
