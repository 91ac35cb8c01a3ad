//! `evenkeel logs`

use clap::Args;

use super::{Existing, Place};
use crate::cli::examples;

/// Show what became of an instance's requests: who asked for what, and how it ended.
#[derive(Args, Clone, Debug)]
#[command(visible_alias = "log", after_help = examples::LOGS)]
pub struct Logs {
    #[command(flatten)]
    pub which: Existing,
    #[command(flatten)]
    pub place: Place,
    /// Go on with what comes, until interrupted.
    #[arg(short, long)]
    pub follow: bool,
    /// Only what failed: it did not come to its own end, or the status is 500 or more.
    #[arg(long)]
    pub failed: bool,
    /// Only what is not older than this, such as 10m or 2h.
    #[arg(long, value_name = "AGE")]
    pub since: Option<humantime::Duration>,
    /// Only this status, or a range such as 500-599.
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
    /// Only this backend, with or without its port.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub backend: Option<String>,
    /// Only paths that begin so.
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// Only the request with this id, or those of this trace.
    #[arg(long, value_name = "ID")]
    pub request: Option<String>,
    /// So many lines at the most, the newest.
    #[arg(short = 'n', long, value_name = "LINES", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub limit: Option<u64>,
}
