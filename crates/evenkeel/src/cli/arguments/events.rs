//! `evenkeel events` and `evenkeel explain`

use clap::Args;

use super::{Existing, Place};
use crate::cli::examples;

/// Show what happened and why: what users asked, and what the controller decided and found out.
#[derive(Args, Clone, Debug)]
#[command(visible_alias = "event", after_help = examples::EVENTS)]
pub struct Events {
    /// Only those of this instance, which may be deleted by now.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// The instance's id, in place of its name.
    #[arg(long, value_name = "ID", conflicts_with = "name", value_parser = clap::value_parser!(u64).range(1..))]
    pub id: Option<u64>,
    #[command(flatten)]
    pub place: Place,
    /// Go on with what comes, until interrupted.
    #[arg(short, long)]
    pub follow: bool,
    /// Only of these kinds, such as asked, verdict, scaling, dns.
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    pub kind: Vec<String>,
    /// Only about this VM.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    pub vm: Option<u64>,
    /// Only what is not older than this, such as 10m or 2h.
    #[arg(long, value_name = "AGE")]
    pub since: Option<humantime::Duration>,
    /// So many at the most, the newest.
    #[arg(short = 'n', long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub limit: Option<u64>,
}

/// Say in plain words why an instance stands as it does, or why a request failed.
#[derive(Args, Clone, Debug)]
#[command(after_help = examples::EXPLAIN)]
pub struct Explain {
    #[command(flatten)]
    pub which: Existing,
    #[command(flatten)]
    pub place: Place,
    /// What became of this request, by its id or its trace's.
    #[arg(long, value_name = "ID")]
    pub request: Option<String>,
}
