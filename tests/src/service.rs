//! Evenkeel, running on a host.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::{Door, Host, Running, eventually};

/// How VMs are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// QEMU microVMs, accelerated as the machine allows.
    Machine,
    /// The same, from a snapshot, which the server makes first.
    Restored,
    /// The same, from a snapshot and a pool of machines that wait.
    Pooled,
    /// The balancer in a namespace of its own.
    Process,
}

/// The server with all of its roles, in the release build that `make image` made.
pub struct Evenkeel<'h> {
    host: &'h Host,
    running: Option<Running<'h>>,
    /// What it is given beyond this process's environment, as `NAME=value`.
    environment: Vec<String>,
}

impl<'h> Evenkeel<'h> {
    /// Starts it on a host and waits until its door opens.
    #[must_use]
    pub fn start(host: &'h Host, driver: Driver) -> Self {
        Self::start_with(host, driver, "")
    }

    /// The same, with `more` at the head of the configuration file.
    #[must_use]
    pub fn start_with(host: &'h Host, driver: Driver, more: &str) -> Self {
        Self::configure(host, driver, more);
        let mut evenkeel = Self::stopped(host);
        evenkeel.resume();
        evenkeel
    }

    /// As the configuration file on the host says; nothing runs before [`Self::resume`].
    #[must_use]
    pub fn stopped(host: &'h Host) -> Self {
        Self {
            host,
            running: None,
            environment: Vec::new(),
        }
    }

    /// Has it tell its steps in this directory, and obey the orders there, from its next start on.
    pub fn tell_steps(&mut self, directory: &Path) {
        self.set_variable("EVENKEEL_STEPS", &directory.display().to_string());
    }

    /// Has it run with a variable in its environment, from its next start on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.push(format!("{name}={value}"));
    }

    /// Writes the configuration file, with `more` at its head, and returns its path.
    pub fn configure(host: &Host, driver: Driver, more: &str) -> PathBuf {
        let directory = host.directory().display();
        // Most tests have one VM or two, and would wait longer for a snapshot than for these.
        let snapshot = matches!(driver, Driver::Restored | Driver::Pooled);
        let pool = u32::from(driver == Driver::Pooled);
        let driver = match driver {
            // Under `auto` each host would boot a VM only to learn that there is no KVM.
            Driver::Machine | Driver::Restored | Driver::Pooled => "tcg",
            Driver::Process => "process",
        };
        let (balancer, image) = (
            from_environment("EVENKEEL_BALANCER"),
            from_environment("EVENKEEL_IMAGE"),
        );
        // No test waits the five minutes for which a VM that is down is kept.
        let grace = match more.contains("[failover]") {
            true => "",
            false => "[failover]\ngrace_ms = 3000\n",
        };
        let text = format!(
            "state_directory = '{directory}/state'\nrun_directory = '{directory}/run'\n{more}\n\
             {grace}[compute]\ndriver = '{driver}'\nbalancer = '{balancer}'\nimage = '{image}'\n\
             snapshot = {snapshot}\npool = {pool}\n"
        );
        let path = host.path("evenkeel.toml");
        std::fs::write(&path, text).expect("the host's directory can be written");
        path
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`].
    pub fn resume(&mut self) {
        self.launch();
        eventually("the door opens", || {
            self.door().ask("info", "system", serde_json::json!({}))
        });
    }

    /// The same, without waiting for its door.
    pub fn launch(&mut self) {
        let config = self.host.path("evenkeel.toml");
        let config = config.to_str().expect("the path is text");
        let program = from_environment("EVENKEEL_PROGRAM");
        let mut line: Vec<&str> = self.environment.iter().map(String::as_str).collect();
        line.extend([program.as_str(), "serve", "--config", config]);
        self.running = Some(self.host.start("evenkeel", "env", &line));
    }

    /// Waits until its VMs come from a snapshot, which it makes while it has none to run.
    ///
    /// # Panics
    /// When it makes none.
    pub fn await_snapshot(&self) {
        let log = self.host.path("evenkeel.log");
        eventually("there is a snapshot", || {
            let log = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
            match log.contains("VMs are restored from a snapshot from now on") {
                true => Ok(()),
                false => Err("none is told of".to_owned()),
            }
        });
    }

    /// Whether it has ended by itself.
    ///
    /// # Panics
    /// When it was not started, or ended by the test.
    pub fn has_ended(&mut self) -> bool {
        self.running.as_mut().expect("it was started").has_ended()
    }

    /// Kills the server with SIGKILL. VMs go on.
    pub fn kill(&mut self) {
        self.running.take().expect("it runs").kill();
    }

    /// Asks the server to end. VMs go on. Returns whether it ended well.
    pub fn stop(&mut self) -> bool {
        self.running.take().expect("it runs").terminate()
    }

    /// Its door.
    #[must_use]
    pub fn door(&self) -> Door {
        Door::at(&self.host.path("run/evenkeel.sock"))
    }

    /// Runs the command line program against it and returns what it printed.
    pub fn cli(&self, arguments: &str) -> String {
        self.host.shell(&self.command_line(arguments))
    }

    /// Runs the command line program against it, whatever comes of it.
    #[must_use]
    pub fn try_cli(&self, arguments: &str) -> Output {
        self.host.try_shell(&self.command_line(arguments))
    }

    /// Leaves the command line program running against it; what it prints goes to `<name>.log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_cli(&self, name: &str, arguments: &str) -> Running<'h> {
        let line = self.command_line(arguments);
        let words: Vec<&str> = line.split(' ').collect();
        let (program, arguments) = words.split_first().expect("there is a program");
        self.host.start(name, program, arguments)
    }

    fn command_line(&self, arguments: &str) -> String {
        let program = from_environment("EVENKEEL_PROGRAM");
        let socket = self.host.path("run/evenkeel.sock");
        format!("{program} --socket {} {arguments}", socket.display())
    }

    /// The addresses that its DNS server gives for a name, in order.
    pub fn addresses_of(&self, name: &str) -> Vec<String> {
        let asked = format!("dig +short +tries=1 +time=5 @10.200.0.1 {name} A");
        let mut found: Vec<String> = self.host.shell(&asked).lines().map(str::to_owned).collect();
        found.sort();
        found
    }
}

/// A path that `scripts/test` hands over.
pub(crate) fn from_environment(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run the end-to-end tests by `make test`"))
}
