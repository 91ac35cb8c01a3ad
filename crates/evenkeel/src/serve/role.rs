//! The roles of the server, and how each shows that it is alive.

use std::convert::Infallible;
use std::fmt;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde_json::json;
use store::{Store, StoreError, Transaction};
use tokio::time::sleep;
use tracing::warn;

use super::Shared;

/// A role that is not heard of for this long is not there.
const PRESENCE_TTL: Duration = Duration::from_secs(3);
/// How often a role says that it is there.
const PRESENCE_INTERVAL: Duration = Duration::from_secs(1);
/// How long the status store may fail before a new one is tried.
const STORE_PATIENCE: Duration = Duration::from_secs(3);

/// One part of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Makes the world match what was asked.
    Controller,
    /// Watches the VMs from where clients are.
    Checker,
    /// Answers for the zone.
    Dns,
    /// Takes requests.
    Api,
    /// Takes the figures that VMs send.
    Monitor,
}

impl Role {
    const ALL: [Self; 5] = [
        Self::Controller,
        Self::Checker,
        Self::Dns,
        Self::Api,
        Self::Monitor,
    ];

    /// The roles to play: those that were named, each once, or all.
    pub(super) fn chosen(named: &[Self]) -> Vec<Self> {
        let wanted = |role: &Self| named.is_empty() || named.contains(role);
        Self::ALL.into_iter().filter(wanted).collect()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Controller => "controller",
            Self::Checker => "checker",
            Self::Dns => "dns",
            Self::Api => "api",
            Self::Monitor => "monitor",
        })
    }
}

/// Says that a role is there, for as long as this is awaited. It ends, with why, when the status store could not
/// be used for a while and a new one can be: whoever has the old one open would speak to nobody.
pub(super) async fn stay_known(shared: &Shared, role: Role) -> anyhow::Error {
    let mut failing_since = None;
    loop {
        let Err(error) = stay_present(&shared.status, role, &mut failing_since).await;
        warn!(%role, %error, "cannot say that the role is there; trying again");
        let since = *failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= STORE_PATIENCE && shared.reopen_status().is_ok() {
            return anyhow::Error::from(error).context("the status store was lost");
        }
        sleep(PRESENCE_INTERVAL).await;
    }
}

/// Says so until that fails. `failing_since` is cleared by what succeeds.
async fn stay_present(
    status: &Store,
    role: Role,
    failing_since: &mut Option<Instant>,
) -> Result<Infallible, StoreError> {
    loop {
        let lease = status.grant_lease(PRESENCE_TTL)?;
        let words = json!({ "pid": std::process::id() });
        let key = store::status::role_key(&role.to_string());
        let presence = Transaction::new().put_json_leased(key.as_str(), &words, lease)?;
        status.commit(presence)?;
        // Another process may say the same for a moment, and what it said goes with it.
        while status.get(&key)?.is_some() {
            *failing_since = None;
            sleep(PRESENCE_INTERVAL).await;
            status.keep_alive(lease)?;
        }
    }
}
