//! Our own balancer, as it comes: health checks, statistics and all timeouts on.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::json;

use super::{Mode, Plan};
use crate::load::HEALTH_PATH;

/// Writes its configuration and returns how it is started.
pub fn command(program: &Path, plan: &Plan) -> Result<Command> {
    let (traffic, protocol) = match plan.shape.mode {
        Mode::Http => ("http", "HTTP"),
        Mode::Tcp => ("tcp", "TCP"),
    };
    let backends: Vec<_> = plan
        .backends
        .iter()
        .map(|backend| json!({ "address": backend.ip(), "port": backend.port(), "weight": 1 }))
        .collect();
    let config = json!({
        "generation": 1, "instance": "bench", "traffic": traffic, "port": plan.front.port(),
        "backends": backends,
        "health_check": { "protocol": protocol, "request_path": HEALTH_PATH, "criteria": {
            "interval_ms": 5_000, "timeout_ms": 5_000, "health_threshold": 2, "unhealth_threshold": 2,
        } },
    });
    let path = plan.directory.join("balancer.json");
    std::fs::write(&path, config.to_string())?;
    let mut command = Command::new(program);
    command
        .arg("standalone")
        .args(["--listen", &plan.front.to_string()])
        .args(["--threads", &plan.shape.threads.to_string()])
        .arg("--config")
        .arg(path);
    Ok(command)
}
