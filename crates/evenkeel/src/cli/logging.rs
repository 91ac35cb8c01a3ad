//! What the server has to say while it runs: lines on standard error.

use std::io;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::output::Paint;
use super::steps;

/// Logs to standard error what `RUST_LOG` asks for, `info` and worse where it says nothing.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let is_coloured = Paint::for_output(&io::stderr()) == Paint::Coloured;
    match steps::listener() {
        // A filter for all, so that what nobody wants costs one comparison.
        None => tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(is_coloured)
            .init(),
        Some(steps) => tracing_subscriber::registry()
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(io::stderr)
                    .with_ansi(is_coloured)
                    .with_filter(filter),
            )
            .with(steps)
            .init(),
    }
}
