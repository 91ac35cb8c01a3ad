//! `GET /metrics`: how everything stands and what was counted, for Prometheus and whoever reads its format.
//!
//! ```text
//!  stores, monitor ─▶ sources ─▶ families (pure) ─▶ text
//! ```
//!
//! Figures of all users' projects are in it, so it is told where `info` of type `system` is: at the door, which is on
//! this machine alone, and elsewhere only where the operator says so ([`crate::ApiConfig::metrics_listen`]).

mod counted;
mod family;
mod installation;
mod instances;
mod sources;
mod text;

#[cfg(test)]
mod tests;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method};
use axum::response::Response;
use axum::routing::any;
use monitor::ask_newest;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::actions::Actions;
use crate::caller::Caller;
use crate::door::{fail, method_not_allowed};
use crate::failure::Failure;
use crate::origin::{check_origin, check_page};
use sources::Sources;

pub(crate) use family::{Family, Kind, Labels, Sample, Value};

/// Whoever asks again so soon gets the same answer: VMs tell their figures once a second, and however many ask, it
/// costs no more.
const FRESH: Duration = Duration::from_secs(1);
/// How long the monitor may take before it is told that it does not answer. It counts in memory.
const MONITOR_PATIENCE: Duration = Duration::from_secs(3);

/// Tells figures, one answer at a time.
pub(crate) struct Metrics {
    actions: Arc<Actions>,
    last: Mutex<Option<(Instant, Arc<str>)>>,
}

/// Who may be asked from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// The door, which a page in a browser of this machine must not use.
    Door,
    /// An address that the operator chose, under any name.
    Own,
}

impl Metrics {
    pub fn new(actions: Arc<Actions>) -> Self {
        Self {
            actions,
            last: Mutex::new(None),
        }
    }

    async fn text(&self) -> Result<Arc<str>, Failure> {
        let mut last = self.last.lock().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(text));
        }
        let families = families(&self.actions).await?;
        let encode = tokio::task::spawn_blocking(move || text::encode(&families));
        let text: Arc<str> = encode.await?.into();
        *last = Some((Instant::now(), Arc::clone(&text)));
        Ok(text)
    }
}

/// All figures as they are now.
pub(crate) async fn families(actions: &Actions) -> Result<Vec<Family>, Failure> {
    let newest = match timeout(MONITOR_PATIENCE, ask_newest(&actions.monitor)).await {
        Ok(Ok(newest)) => Some(newest),
        Ok(Err(error)) => {
            tracing::debug!(%error, "no figures of the monitor's");
            None
        }
        Err(_late) => None,
    };
    let (intent, status) = (actions.intent.clone(), actions.status.clone());
    let gather = tokio::task::spawn_blocking(move || {
        let sources = Sources::read(&intent, &status, newest)?;
        let mut families = installation::families(&sources);
        families.extend(instances::families(&sources));
        Ok::<_, store::StoreError>(families)
    });
    Ok(gather.await??)
}

/// The path by itself, for one of the two entrances.
pub(crate) fn router(metrics: Arc<Metrics>, entrance: Entrance) -> Router {
    Router::new()
        .route("/metrics", any(tell))
        .with_state((metrics, entrance))
}

async fn tell(
    State((metrics, entrance)): State<(Arc<Metrics>, Entrance)>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Response {
    let checked = match entrance {
        Entrance::Door => check_origin(&request, caller.peer),
        Entrance::Own => check_page(&request),
    };
    if let Err(failure) = checked {
        return fail(None, None, &failure);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return fail(None, None, &method_not_allowed("send GET"));
    }
    match metrics.text().await {
        Ok(text) => {
            let mut response = Response::new(Body::from(text.to_string()));
            let kind = HeaderValue::from_static(text::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(failure) => fail(None, None, &failure),
    }
}
