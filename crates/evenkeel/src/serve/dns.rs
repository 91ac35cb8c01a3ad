//! The DNS role: publishes each generation of the zone that the controller decides.

use std::time::{Duration, Instant};

use ::dns::{DnsServer, ZoneContents};
use model::DnsLayout;
use store::layout::{DNS_LAYOUT_KEY, read_dns_layout};
use store::status::{DNS_SERIAL_KEY, put_trouble};
use store::{Store, Transaction};
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Config, Shared, Watchdog, feed_regularly};

/// Between two attempts to get hold of the addresses: the front address appears with the front bridge.
const BIND_PAUSE: Duration = Duration::from_millis(200);
/// How long that may take before it is a trouble.
const BIND_GRACE: Duration = Duration::from_secs(1);
/// After a failure to read the zone or to tell its serial.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(shared: Shared, watchdog: Watchdog) -> anyhow::Result<()> {
    let shutdown = shared.shutdown();
    tokio::select! {
        () = shutdown => Ok(()),
        never = serve_zone(&shared) => match never {},
        never = feed_regularly(&watchdog) => match never {},
    }
}

async fn serve_zone(shared: &Shared) -> std::convert::Infallible {
    let mut changes = shared.store.watch(DNS_LAYOUT_KEY);
    let server = bind(shared).await;
    loop {
        let published = read_dns_layout(&shared.store)
            .map_err(anyhow::Error::from)
            .and_then(|layout| Ok(server.publish(zone(&shared.config, layout))?))
            .and_then(|()| tell_serial(&shared.status, server.serial()));
        match published {
            Ok(()) => changes.changed().await,
            Err(error) => {
                warn!(
                    error = format!("{error:#}"),
                    "cannot publish the zone; the one before stays"
                );
                sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Binds with patience: an address that is missing or taken is a trouble that may pass.
async fn bind(shared: &Shared) -> DnsServer {
    let listen = shared.config.dns_listen();
    let began = Instant::now();
    let mut told = None;
    loop {
        let layout = read_dns_layout(&shared.store).unwrap_or_default();
        match DnsServer::bind(&listen, zone(&shared.config, layout)).await {
            Ok(server) => {
                info!(addresses = ?server.local_addresses(), zone = shared.config.zone, "DNS answers");
                let _ = put_trouble(&shared.status, "dns", None);
                return server;
            }
            Err(error) => {
                let words = format!("DNS does not answer: {error}");
                if began.elapsed() > BIND_GRACE && told.as_ref() != Some(&words) {
                    warn!("{words}");
                    let _ = put_trouble(&shared.status, "dns", Some(&words));
                    told = Some(words);
                }
                sleep(BIND_PAUSE).await;
            }
        }
    }
}

fn zone(config: &Config, layout: DnsLayout) -> ZoneContents {
    ZoneContents {
        origin: config.zone.clone(),
        serial: layout.serial,
        ttl_s: config.dns.ttl,
        negative_ttl_s: config.dns.ttl,
        name_server: vec![config.front.cidr.addr()],
        records: layout.records,
    }
}

fn tell_serial(status: &Store, serial: u32) -> anyhow::Result<()> {
    status.commit(Transaction::new().put_json(DNS_SERIAL_KEY, &serial)?)?;
    Ok(())
}
