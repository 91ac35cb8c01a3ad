//! The health check's options, which `instance create` and `instance update` share.

use clap::{Args, ValueEnum};

use super::Seconds;

/// How backends are checked.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Health check")]
pub struct HealthCheckArguments {
    /// How to ask: by an HTTP request or a TCP connection.
    #[arg(long, value_name = "PROTOCOL", ignore_case = true)]
    pub health_check_protocol: Option<CheckProtocol>,
    /// The port to ask.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub health_check_port: Option<u16>,
    /// What to ask for, under HTTP.
    #[arg(long, value_name = "PATH")]
    pub health_check_path: Option<String>,
    /// Seconds from one check to the next.
    #[arg(long, value_name = "SECONDS")]
    pub interval: Option<Seconds>,
    /// Seconds after which a check without an answer has failed.
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<Seconds>,
    /// Good checks in a row that bring a backend up.
    #[arg(long, value_name = "CHECKS")]
    pub health_threshold: Option<u32>,
    /// Failed checks in a row that take a backend down.
    #[arg(long, value_name = "CHECKS")]
    pub unhealth_threshold: Option<u32>,
}

/// What a health check speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckProtocol {
    Http,
    Tcp,
}

impl CheckProtocol {
    /// The word that the JSON door knows it by.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Tcp => "TCP",
        }
    }
}
