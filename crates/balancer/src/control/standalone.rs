//! A balancer without a host: its configuration is a file, its account goes to standard output.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Instant;

use model::{BalancerConfig, Generation, Refusal};

use super::agent::Agent;
use super::channel::take_descriptor;
use super::journal::Level;
use super::signals::{Signal, Signals};
use super::validate::validate;
use super::written;

/// Balances until SIGTERM. SIGHUP reads the file again, SIGUSR1 prints the account.
///
/// # Errors
/// When the file cannot be read or taken, or something that the whole process needs is not there.
pub fn run_standalone(
    listen: SocketAddrV4,
    path: PathBuf,
    threads: Option<usize>,
    supervisor: Option<i32>,
    log: Option<i32>,
) -> std::io::Result<()> {
    let signals = Signals::take_over()?;
    let log = log.map(take_descriptor).transpose()?;
    let mut agent = Agent::start(signals, threads, supervisor, log)?;
    let now = Instant::now();
    agent
        .deployment
        .set_front(*listen.ip(), now, &agent.journal);
    match read(&path, listen, &agent) {
        Ok(config) => {
            check_first(&path, &config, &agent)?;
            agent.take_config(config, now);
        }
        Err(error) if agent.deployment.running().is_none() => return Err(error),
        // The one before had a configuration that could be read.
        Err(error) => agent.tell_unreadable(&error),
    }
    agent.expects_config = true;
    agent.attend(|agent, signal| match signal {
        Signal::Leave => agent.leave(),
        Signal::Report => agent.report(),
        Signal::Replace | Signal::ChildEnded => {}
        Signal::Reload => match read(&path, listen, agent) {
            Ok(config) => agent.take_config(config, Instant::now()),
            Err(error) => agent.tell_unreadable(&error),
        },
    })?;
    agent.report();
    Ok(())
}

impl Agent {
    fn tell_unreadable(&self, error: &std::io::Error) {
        self.journal.write(Level::Error, error.to_string());
    }
}

/// Whether there is something to begin with: a balancer that runs and takes nobody in would look well to whoever
/// started it. One whose predecessor ran something begins with that.
fn check_first(path: &Path, config: &BalancerConfig, agent: &Agent) -> std::io::Result<()> {
    if agent.deployment.running().is_some() {
        return Ok(());
    }
    validate(config).map_err(|refusal| {
        let Refusal {
            path: field,
            message,
            ..
        } = refusal;
        let fault = format!("{} cannot be taken: {field}: {message}", path.display());
        std::io::Error::new(std::io::ErrorKind::InvalidData, fault)
    })
}

/// Reads the file. It listens where the command line says, and is newer than what runs.
fn read(path: &Path, listen: SocketAddrV4, agent: &Agent) -> std::io::Result<BalancerConfig> {
    let unreadable = |kind, fault: String| {
        std::io::Error::new(kind, format!("{} cannot be read: {fault}", path.display()))
    };
    let text = std::fs::read(path).map_err(|error| unreadable(error.kind(), error.to_string()))?;
    let mut config =
        written::read(&text).map_err(|fault| unreadable(std::io::ErrorKind::InvalidData, fault))?;
    config.port = listen.port();
    let running = agent.deployment.running();
    let next = running.map_or(Generation(0), |running| running.generation.next());
    config.generation = config.generation.max(next);
    Ok(config)
}
