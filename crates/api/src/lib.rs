//! The JSON door: users ask here, in the mission's forms, for projects and instances; and the figures for those who
//! collect metrics.
//!
//! A request is read ([`model::forms`]), applied to the intent in one transaction, waited for where it
//! takes time, and answered from what the controller reports. The door never has an effect on the world:
//! it writes what users asked for, and reads how it stands.
//!
//! ```text
//! socket → serve (bounds) → door (HTTP) → actions (transaction, waiting) → orders (pure decisions)
//! ```

mod actions;
mod caller;
mod door;
mod error;
mod explain;
mod failure;
mod listen;
mod metrics;
mod orders;
mod origin;
mod otlp;
#[cfg(test)]
mod samples;
mod serve;
mod stopping;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use caller::UNKNOWN_USER;
pub use error::ApiError;
pub use otlp::{BadTarget, OtlpConfig, OtlpTarget};

use actions::Actions;
use listen::{Socket, bind_loopback, bind_tcp, bind_unix};
use metrics::Metrics;
use otlp::Exporter;
use serve::Service;
use stopping::{Stop, Stopping};

/// How long an answer waits for its outcome where neither the operator nor the request says.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(60);

/// What the door needs to know.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Loopback addresses to listen on; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// Addresses, also of networks, at which `/metrics` is told as well and nothing else.
    pub metrics_listen: Vec<SocketAddr>,
    /// To whom the same figures are sent by OTLP, if to anybody.
    pub otlp: Option<OtlpConfig>,
    /// The unix socket's path. Its directory exists.
    pub socket: PathBuf,
    /// Where the monitor is asked.
    pub monitor: PathBuf,
    /// The DNS zone that URLs are in.
    pub zone: String,
    /// The network where clients reach VMs; no subnet may overlap it.
    pub front: Ipv4Net,
    /// Where the monitor keeps access logs, which are read there.
    pub access_logs: PathBuf,
    /// The journal's file: what users ask is noted there, and what happened is read.
    pub journal: PathBuf,
    /// How long an answer waits for its outcome where the request does not say.
    pub wait: Duration,
}

/// The door with its sockets bound.
pub struct Api {
    tcp: Vec<TcpListener>,
    metrics: Vec<TcpListener>,
    otlp: Option<OtlpConfig>,
    unix: Socket,
    actions: Arc<Actions>,
    stop: Stop,
    stopping: Stopping,
}

impl Api {
    /// Binds all sockets. From then on clients can connect; they are answered once it [runs](Self::run).
    ///
    /// # Errors
    /// [`ApiError`], with nothing bound.
    pub async fn bind(
        config: ApiConfig,
        intent_store: Store,
        status_store: Store,
    ) -> Result<Self, ApiError> {
        let mut tcp = Vec::with_capacity(config.listen.len());
        for address in &config.listen {
            tcp.push(bind_loopback(*address).await?);
        }
        let mut metrics = Vec::with_capacity(config.metrics_listen.len());
        for address in &config.metrics_listen {
            metrics.push(bind_tcp(*address).await?);
        }
        let unix = bind_unix(&config.socket).await?;
        let otlp = config.otlp.clone();
        let (stop, stopping) = Stop::new();
        let actions = Actions::new(config, intent_store, status_store, stopping.clone());
        match store::intent::read_intent(&actions.intent) {
            Ok((_, intent)) => actions.scribe.note_names(&intent),
            Err(error) => tracing::warn!(%error, "the journal does not get the instances' names"),
        }
        Ok(Self {
            tcp,
            metrics,
            otlp,
            unix,
            actions: Arc::new(actions),
            stop,
            stopping,
        })
    }

    /// The TCP addresses that it listens on, in the order of [`ApiConfig::listen`].
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.tcp
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// The addresses that are there for `/metrics` alone, in the order of [`ApiConfig::metrics_listen`].
    #[must_use]
    pub fn metrics_addresses(&self) -> Vec<SocketAddr> {
        self.metrics
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Answers requests until `shutdown` resolves. Requests that wait are then answered with what there
    /// is, and all others get a few seconds to end.
    ///
    /// # Errors
    /// [`ApiError::Task`] when a listener's task ended early, which is a mistake of this program.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ApiError> {
        let mut listeners = JoinSet::new();
        match self.otlp {
            Some(config) => {
                let exporter = Exporter::new(config, Arc::clone(&self.actions));
                let mut stopping = self.stopping.clone();
                listeners.spawn(async move {
                    tokio::select! {
                        () = stopping.heard() => {}
                        never = exporter.run() => match never {},
                    }
                });
            }
            None => otlp::forget_trouble(&self.actions),
        }
        let metrics = Arc::new(Metrics::new(Arc::clone(&self.actions)));
        let router = door::router(self.actions, Arc::clone(&metrics));
        let service = Service::new(router, self.stopping.clone());
        for listener in self.tcp {
            listeners.spawn(service.with_own_slots().accept_from(listener));
        }
        for listener in self.metrics {
            let service = Service::new(
                door::metrics_router(Arc::clone(&metrics)),
                self.stopping.clone(),
            );
            listeners.spawn(service.accept_from(listener));
        }
        let Socket { listener, file } = self.unix;
        listeners.spawn(service.accept_from(listener));
        let mut outcome = tokio::select! {
            () = shutdown => Ok(()),
            Some(Err(error)) = listeners.join_next() => Err(ApiError::Task(error)),
        };
        drop(file);
        self.stop.say();
        while let Some(ended) = listeners.join_next().await {
            if let Err(error) = ended {
                outcome = Err(ApiError::Task(error));
            }
        }
        outcome
    }
}

/// Binds and runs the door.
///
/// # Errors
/// Those of [`Api::bind`] and [`Api::run`].
pub async fn serve(
    config: ApiConfig,
    intent_store: Store,
    status_store: Store,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ApiError> {
    Api::bind(config, intent_store, status_store)
        .await?
        .run(shutdown)
        .await
}
