//! A balancer without a host: its configuration is a file, its account goes to standard output.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Instant;

use model::{BalancerConfig, Generation};

use super::agent::Agent;
use super::config_file;
use super::journal::Level;
use super::signals::{Signal, Signals};

/// Balances until SIGTERM. SIGHUP reads the file again, SIGUSR1 prints the account.
///
/// # Errors
/// When the file cannot be read, or something that the whole process needs is not there.
pub fn run_standalone(
    listen: SocketAddrV4,
    path: PathBuf,
    threads: Option<usize>,
    supervisor: Option<i32>,
) -> std::io::Result<()> {
    let signals = Signals::take_over()?;
    let mut agent = Agent::start(signals, threads, supervisor)?;
    let now = Instant::now();
    agent
        .deployment
        .set_front(*listen.ip(), now, &agent.journal);
    match read(&path, listen, &agent) {
        Ok(config) => agent.take_config(config, now),
        Err(error) if agent.deployment.running().is_none() => return Err(error),
        // The one before had a configuration that could be read.
        Err(error) => agent.tell_unreadable(&path, &error),
    }
    agent.expects_config = true;
    agent.attend(|agent, signal| match signal {
        Signal::Leave => agent.leave(),
        Signal::Report => agent.report(),
        Signal::Replace | Signal::ChildEnded => {}
        Signal::Reload => match read(&path, listen, agent) {
            Ok(config) => agent.take_config(config, Instant::now()),
            Err(error) => agent.tell_unreadable(&path, &error),
        },
    })?;
    agent.report();
    Ok(())
}

impl Agent {
    fn tell_unreadable(&self, path: &Path, error: &std::io::Error) {
        let text = format!("{} cannot be read: {error}", path.display());
        self.journal.write(Level::Error, text);
    }
}

/// Reads the file. It listens where the command line says, and is newer than what runs.
fn read(path: &Path, listen: SocketAddrV4, agent: &Agent) -> std::io::Result<BalancerConfig> {
    let mut config = config_file::load(path)?.ok_or(std::io::ErrorKind::NotFound)?;
    config.port = listen.port();
    let running = agent.deployment.running();
    let next = running.map_or(Generation(0), |running| running.generation.next());
    config.generation = config.generation.max(next);
    Ok(config)
}
