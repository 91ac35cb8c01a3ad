//! What the server has to say while it runs: lines on standard error.

use std::io;

use tracing_subscriber::EnvFilter;

use super::output::Paint;

/// Logs to standard error what `RUST_LOG` asks for, `info` and worse where it says nothing.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(Paint::for_output(&io::stderr()) == Paint::Coloured)
        .init();
}
