//! A host for a measurement: Evenkeel, one server behind it, and a second half of this program that runs there, with
//! the host's clock, names and process numbers.

use std::io::{Error, Result};
use std::path::Path;

use end_to_end::{Door, Driver, Evenkeel, Host, Servers};
use serde_json::{Value, json};

/// The drivers that are measured side by side, by the names that results have for them.
pub const DRIVERS: [(&str, Driver); 3] = [
    ("process", Driver::Process),
    ("tcg, booted", Driver::Machine),
    ("tcg, pooled", Driver::Pooled),
];

/// The first argument of the half that runs on the host.
pub const ON_HOST: &str = "on-host";

/// Makes a host, runs this program's other half on it as `on-host SOCKET ARGUMENTS…`, and returns the JSON that it
/// prints.
///
/// # Errors
/// What that half says where it fails.
pub fn run_on_host(driver: Driver, arguments: &[&str]) -> Result<Value> {
    run_on_host_with(driver, "", arguments)
}

/// The same, with `more` at the head of Evenkeel's configuration.
///
/// # Errors
/// What that half says where it fails.
pub fn run_on_host_with(driver: Driver, more: &str, arguments: &[&str]) -> Result<Value> {
    let host = Host::new();
    host.use_own_dns();
    let servers = Servers::new(&host, "cable", &["1.1.1.10/24"]);
    let _origin = servers.http("one", "1.1.1.10:8080");
    let evenkeel = Evenkeel::start_with(&host, driver, more);
    if matches!(driver, Driver::Restored | Driver::Pooled) {
        evenkeel.await_snapshot();
    }
    evenkeel.door().attach("1.1.1.0/24", &servers.interface);
    let mut command = host.command(std::env::current_exe()?);
    command.arg(ON_HOST).arg(host.path("run/evenkeel.sock"));
    let output = command.args(arguments).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::other(said));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The door at a path, as the half on the host is given it.
#[must_use]
pub fn door_at(socket: &str) -> Door {
    Door::at(Path::new(socket))
}

/// What an instance of a measurement is asked for with.
#[must_use]
pub fn form(round: usize, auto_scaling: &Value) -> Value {
    json!({
        "name": format!("round-{round}"), "traffic_type": "http", "subnet": "1.1.1.0/24",
        "backend": {
            "entities": ["1.1.1.10:8080"], "auto-scaling": auto_scaling,
            "health-check": { "criteria": { "interval": 1, "timeout": 1, "health-threshold": 1 } },
        },
    })
}

/// A number among the arguments.
///
/// # Errors
/// Where it is none.
pub fn parse(number: &str) -> Result<usize> {
    let wrong = |_| Error::other(format!("`{number}` is no number"));
    number.parse().map_err(wrong)
}
