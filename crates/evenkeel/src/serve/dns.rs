//! The DNS role: publishes each generation of the zone that the controller decides.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use ::dns::{DnsServer, ZoneContents};
use model::DnsLayout;
use store::layout::{DNS_LAYOUT_KEY, read_dns_layout};
use store::status::{DNS_SERIAL_KEY, put_trouble};
use store::{Store, Transaction};
use tokio::time::sleep;
use tracing::{info, warn};

use super::role::stay_known;
use super::{Config, Role, Shared, Watchdog, feed_regularly};

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
        never = answer(shared) => match never {},
        never = feed_regularly(&watchdog) => match never {},
    }
}

/// Answers for the zone, and tells so through the status store. One that was lost costs no answer: the role goes
/// on with a new one.
async fn answer(mut shared: Shared) -> Infallible {
    let mut server = None;
    loop {
        let serve = async {
            let server = match &mut server {
                Some(bound) => bound,
                none => none.insert(bind(&shared).await),
            };
            publish(&shared, server).await
        };
        let lost = tokio::select! {
            never = serve => match never {},
            lost = stay_known(&shared, Role::Dns) => lost,
        };
        warn!(role = %Role::Dns, error = format!("{lost:#}"), "going on with a new status store");
        if let Ok(status) = shared.reopen_status() {
            shared.status = status;
        }
    }
}

/// Publishes each generation of the zone.
async fn publish(shared: &Shared, server: &DnsServer) -> Infallible {
    let mut changes = shared.store.watch(DNS_LAYOUT_KEY);
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
        records: layout
            .records
            .iter()
            .map(|(name, addresses)| (name.clone(), addresses.clone()))
            .collect(),
    }
}

fn tell_serial(status: &Store, serial: u32) -> anyhow::Result<()> {
    status.commit(Transaction::new().put_json(DNS_SERIAL_KEY, &serial)?)?;
    Ok(())
}
