//! Sends the figures of `/metrics` to a receiver of OpenTelemetry's, again and again.
//!
//! ```text
//!  each interval: families ─▶ encode ─▶ backlog, bounded ─▶ POST ─▶ receiver
//!                                          ▲                  │ away, or asks for patience
//!                                          └── ever more slowly
//! ```
//!
//! It is a task of its own that nobody waits for. A receiver that is away costs the memory of the backlog, and is told as
//! a trouble.

mod answer;
mod backlog;
mod encode;
mod protobuf;
mod target;

use std::convert::Infallible;
use std::error::Error;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use store::status::put_trouble;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use crate::actions::{Actions, now};
use crate::metrics;
use backlog::{Backlog, Outcome};

pub use target::{BadTarget, OtlpTarget};

/// How long a receiver may take for one request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const MOST_ANSWER: usize = 64 << 10;
/// Failures in a row before they are told: a receiver may be restarting.
const TOLD_AFTER: u32 = 3;
/// Under which a receiver that does not take figures is a trouble.
const TROUBLE: &str = "api/otlp";

/// To whom figures are sent, and how often.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    /// The receiver.
    pub target: OtlpTarget,
    /// Between two requests.
    pub interval: Duration,
    /// By which a receiver tells installations from each other.
    pub installation: String,
}

/// Sends figures for as long as it is awaited.
pub(crate) struct Exporter {
    config: OtlpConfig,
    actions: Arc<Actions>,
    backlog: Backlog,
    failures: u32,
    /// What was told; nothing yet.
    told: Option<Option<String>>,
}

impl Exporter {
    pub fn new(config: OtlpConfig, actions: Arc<Actions>) -> Self {
        Self {
            config,
            actions,
            backlog: Backlog::default(),
            failures: 0,
            told: None,
        }
    }

    pub async fn run(mut self) -> Infallible {
        let mut turn = interval(self.config.interval);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = self.backlog.next(Instant::now());
            let rest = async {
                match next {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = turn.tick() => self.gather().await,
                () = rest => self.deliver().await,
            }
        }
    }

    async fn gather(&mut self) {
        match metrics::families(&self.actions).await {
            Ok(families) => {
                let installation = self.config.installation.clone();
                let encode = move || encode::encode(&families, &installation, now());
                if let Ok(request) = tokio::task::spawn_blocking(encode).await {
                    self.backlog.push(request);
                }
            }
            Err(error) => tracing::warn!(%error, "there are no figures to send"),
        }
    }

    async fn deliver(&mut self) {
        let Some(request) = self.backlog.due(Instant::now()) else {
            return;
        };
        let sent = timeout(PATIENCE, send(&self.config.target, request)).await;
        let outcome = match sent {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Failed(error.to_string(), None),
            Err(_late) => Outcome::Failed("it takes too long".into(), None),
        };
        self.backlog.note(&outcome, Instant::now(), chance());
        self.tell(outcome);
    }

    /// Says what is wrong, if that has changed. What cannot be told is told another time.
    fn tell(&mut self, outcome: Outcome) {
        let why = match outcome {
            Outcome::Delivered => {
                self.failures = 0;
                None
            }
            Outcome::Failed(why, _) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures < TOLD_AFTER {
                    return;
                }
                Some(why)
            }
            Outcome::Refused(why) => Some(why),
        };
        let receiver = &self.config.target.authority;
        let words = why.map(|why| format!("figures are not sent to {receiver} by OTLP: {why}"));
        if self.told.as_ref() == Some(&words) {
            return;
        }
        if let Some(words) = &words {
            tracing::warn!(lost = self.backlog.lost, "{words}");
        }
        if put_trouble(&self.actions.status, TROUBLE, words.as_deref()).is_ok() {
            self.told = Some(words);
        }
    }
}

/// Takes back what an earlier process told, where figures are not sent any more.
pub(crate) fn forget_trouble(actions: &Actions) {
    if let Err(error) = put_trouble(&actions.status, TROUBLE, None) {
        tracing::debug!(%error, "an earlier trouble cannot be taken back");
    }
}

/// One request in a connection of its own, as seldom as they come.
async fn send(target: &OtlpTarget, body: Bytes) -> Result<Outcome, Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect(&target.authority).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(&target.path)
        .header(HOST, &target.authority)
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(Full::new(body))?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MOST_ANSWER).collect().await;
        // Of an answer that is longer or breaks off the status counts.
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok(outcome_of(head.status, &head.headers, &body))
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        outcome = &mut exchange => outcome,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}

fn outcome_of(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Outcome {
    let retry_after = headers.get(RETRY_AFTER).map(HeaderValue::to_str);
    answer::outcome(status, retry_after.and_then(Result::ok), body)
}

/// From 0 to 1, another one each time.
fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    random as f64 / u64::MAX as f64
}
