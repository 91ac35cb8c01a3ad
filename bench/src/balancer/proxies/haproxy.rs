//! HAProxy at its best: as many threads as cores, connections to the origin shared by all clients, splicing, no log.

use std::fmt::Write;
use std::process::Command;

use anyhow::Result;

use super::{Mode, Plan};
use crate::load::HEALTH_PATH;

/// What HAProxy splices through pipes that it made larger than the kernel does: 512 KiB.
pub const LARGE_PIPES: &str = "  tune.pipesize 524288\n";

/// Writes its configuration, with more lines for its global section, and returns how it is started.
pub fn command(plan: &Plan, more: &str) -> Result<Command> {
    let path = plan.directory.join("haproxy.cfg");
    std::fs::write(&path, config(plan, more)?)?;
    let mut command = Command::new("haproxy");
    command.args(["-db", "-q", "-f"]).arg(path);
    Ok(command)
}

fn config(plan: &Plan, more: &str) -> Result<String> {
    let Plan {
        front, connections, ..
    } = plan;
    let threads = plan.shape.threads;
    let (mode, check) = match plan.shape.mode {
        Mode::Http => (
            "http\n  http-reuse always",
            format!("option httpchk GET {HEALTH_PATH}"),
        ),
        Mode::Tcp => ("tcp", String::new()),
    };
    // Without `no strict-limits` it refuses to start where it may not open two files for each connection,
    // of which idle clients need one.
    let mut config = format!(
        "global\n  nbthread {threads}\n  maxconn {connections}\n  no strict-limits\n{more}\
         defaults\n  mode {mode}\n  option splice-request\n  option splice-response\n\
         \x20 timeout connect 3s\n  timeout client 300s\n  timeout server 300s\n\
         \x20 timeout http-request 10s\n  timeout http-keep-alive 300s\n\
         frontend front\n  bind {front} backlog 4096 shards by-thread\n  maxconn {connections}\n  default_backend origin\n\
         backend origin\n  balance roundrobin\n  {check}\n"
    );
    for (number, backend) in plan.backends.iter().enumerate() {
        writeln!(config, "  server s{number} {backend} check inter 5s")?;
    }
    Ok(config)
}
