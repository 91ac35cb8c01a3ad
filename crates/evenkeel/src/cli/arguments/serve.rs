//! `evenkeel serve` and `evenkeel cleanup`: what runs here rather than asks a server.

use std::path::PathBuf;

use clap::Args;

use crate::cli::examples;
use crate::serve::Role;

/// Run the server. Needs root; ends with SIGINT or SIGTERM, and leaves load balancers at work.
#[derive(Args, Debug)]
#[command(after_help = examples::SERVE)]
pub struct Serve {
    #[command(flatten)]
    pub configuration: Configuration,
    /// Run this part alone; may be given several times [default: all].
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<Role>,
    /// The checker's name among the installation's checkers [default: the host's name].
    #[arg(long = "name", value_name = "NAME")]
    pub checker_name: Option<String>,
}

/// Remove all that a stopped server left on this machine: VMs, namespaces, bridges.
#[derive(Args, Debug)]
#[command(after_help = examples::CLEANUP)]
pub struct Cleanup {
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Which installation.
#[derive(Args, Clone, Debug)]
pub struct Configuration {
    /// The configuration, in TOML; the defaults hold without one.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub file: Option<PathBuf>,
}
