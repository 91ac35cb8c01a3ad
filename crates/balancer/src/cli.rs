//! The command line.

use std::ffi::OsString;
use std::net::SocketAddrV4;
use std::path::PathBuf;

use balancer::control::{ChannelSource, RunOptions};

/// What `--help` prints.
pub const HELP: &str = "\
evenkeel-balancer: moves HTTP and TCP traffic to backends

evenkeel-balancer run (--channel-fd N | --listen-channel-fd N)
                      [--config-file PATH] [--threads N] [--collectd PATH] [--clock own]
                      [--log-fd N] [--owner TAG]
    Balances as the host says over the control channel.
    --channel-fd N         an open stream both ways: a virtio-serial port or a socket
    --listen-channel-fd N  a listening unix socket; the newest connection is the host
    --config-file PATH     where the running configuration is kept and found again
    --threads N            forwarding threads; by default one for each core
    --collectd PATH        the socket of a collectd that takes the balancer's figures and sends
                           them on; without it the balancer sends them by itself
    --clock own            the machine's clock is the balancer's to set, as in a VM of its own
    --log-fd N             an open port or pipe that the access log is written to; none without it
    --owner TAG            without effect: names the owner in lists of processes

evenkeel-balancer standalone --listen ADDRESS:PORT --config FILE [--threads N] [--log-fd N]
    Balances as a file says. SIGHUP reads it again; SIGUSR1 prints an account.

evenkeel-balancer supervise [--owner TAG] run|standalone …
    Keeps one of these running, holding its listening sockets. SIGUSR2 replaces it by a new
    process from the program on disk, without a lost request; other signals are passed on.
    --owner TAG            without effect: names the owner in lists of processes

evenkeel-balancer init
    Process 1 of a VM: sets the machine up, then runs and supervises `run`.

evenkeel-balancer --version | --help

SIGTERM ends `run` and `standalone`: no new connections, and 10 s for what is under way.
";

/// What the program was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// `run`.
    Run(RunOptions),
    /// `standalone`.
    Standalone {
        /// Where to listen.
        listen: SocketAddrV4,
        /// The configuration's file.
        config: PathBuf,
        /// Forwarding threads.
        threads: Option<usize>,
        /// The way to the supervisor, if there is one.
        supervisor: Option<i32>,
        /// Where the access log is written to.
        log: Option<i32>,
    },
    /// `supervise`, with the balancer's own arguments.
    Supervise(Vec<OsString>),
    /// `init`.
    Init,
    /// `--version`.
    Version,
    /// `--help`.
    Help,
}

/// Reads the arguments after the program's name.
///
/// # Errors
/// What is wrong, in words.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut arguments = arguments;
    let command = arguments.next().unwrap_or_default();
    match command.as_str() {
        "run" => parse_run(Options::read(arguments)?),
        "standalone" => parse_standalone(Options::read(arguments)?),
        "supervise" => parse_supervise(arguments.collect()),
        "init" => Ok(Command::Init),
        "--version" | "-V" => Ok(Command::Version),
        "--help" | "-h" | "help" => Ok(Command::Help),
        "" => Err("no command was given".to_owned()),
        other => Err(format!("there is no command `{other}`")),
    }
}

fn parse_run(mut options: Options) -> Result<Command, String> {
    let stream = options.number("--channel-fd")?;
    let listener = options.number("--listen-channel-fd")?;
    let channel = match (stream, listener) {
        (Some(number), None) => ChannelSource::Stream(number),
        (None, Some(number)) => ChannelSource::Listener(number),
        _ => return Err("`run` takes one of --channel-fd and --listen-channel-fd".to_owned()),
    };
    let owns_clock = match options.take("--clock").as_deref() {
        None => false,
        Some("own") => true,
        Some(other) => return Err(format!("`--clock {other}` cannot be read: write `own`")),
    };
    let run = RunOptions {
        channel,
        config_file: options.take("--config-file").map(PathBuf::from),
        threads: options.number("--threads")?,
        log: options.number("--log-fd")?,
        supervisor: options.number("--supervisor-fd")?,
        collectd: options.take("--collectd").map(PathBuf::from),
        owns_clock,
    };
    options.take("--owner");
    options.finish(Command::Run(run))
}

/// The supervisor's own options end where the balancer's command begins, which must be sound as well.
fn parse_supervise(mut own: Vec<String>) -> Result<Command, String> {
    let begins = |argument: &String| matches!(argument.as_str(), "run" | "standalone");
    let begin = own.iter().position(begins);
    let begin = begin.ok_or("`supervise` takes the command `run` or `standalone`")?;
    let balancer = own.split_off(begin);
    parse(balancer.iter().cloned())?;
    let mut options = Options::read(own.into_iter())?;
    options.take("--owner");
    let balancer = balancer.into_iter().map(OsString::from).collect();
    options.finish(Command::Supervise(balancer))
}

fn parse_standalone(mut options: Options) -> Result<Command, String> {
    let command = Command::Standalone {
        listen: options
            .number("--listen")?
            .ok_or("`standalone` takes --listen ADDRESS:PORT")?,
        config: options
            .take("--config")
            .map(PathBuf::from)
            .ok_or("`standalone` takes --config FILE")?,
        threads: options.number("--threads")?,
        supervisor: options.number("--supervisor-fd")?,
        log: options.number("--log-fd")?,
    };
    options.finish(command)
}

/// Options with their values, in the order in which they were given.
struct Options(Vec<(String, String)>);

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut pairs = Vec::new();
        while let Some(argument) = arguments.next() {
            let pair = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => {
                    let value = arguments.next();
                    let value = value.ok_or_else(|| format!("`{argument}` takes a value"))?;
                    (argument, value)
                }
            };
            pairs.push(pair);
        }
        Ok(Self(pairs))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let position = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.remove(position).1)
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        self.take(name)
            .map(|text| {
                text.parse()
                    .map_err(|_| format!("`{name} {text}` cannot be read"))
            })
            .transpose()
    }

    fn finish(self, command: Command) -> Result<Command, String> {
        match self.0.first() {
            Some((name, _)) => Err(format!(
                "there is no option `{name}`, or it was given twice"
            )),
            None => Ok(command),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_whole_command_line_is_understood() {
        let line = "run --channel-fd 5 --config-file=/c --owner evenkeel-x --threads 2 --supervisor-fd 7 --collectd /s --clock own --log-fd 9";
        assert_eq!(
            parsed(line),
            Ok(Command::Run(RunOptions {
                channel: ChannelSource::Stream(5),
                config_file: Some("/c".into()),
                threads: Some(2),
                log: Some(9),
                supervisor: Some(7),
                collectd: Some("/s".into()),
                owns_clock: true,
            }))
        );
    }

    #[test]
    fn a_balancers_own_arguments_are_passed_on_as_they_are() {
        let own = ["run", "--channel-fd", "5", "--threads=2"];
        let line = format!("supervise --owner evenkeel-x {}", own.join(" "));
        let own = own.map(OsString::from).to_vec();
        assert_eq!(parsed(&line), Ok(Command::Supervise(own)));
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        for (line, named) in [
            ("", "no command"),
            ("walk", "walk"),
            ("run", "--channel-fd"),
            ("run --channel-fd 5 --listen-channel-fd 6", "one of"),
            ("run --channel-fd x", "--channel-fd x"),
            ("run --channel-fd 5 --clock mine", "--clock mine"),
            ("run --channel-fd 5 --speed 9", "--speed"),
            ("run --channel-fd", "takes a value"),
            ("standalone --config f", "--listen"),
            ("supervise", "`run` or `standalone`"),
            ("supervise run", "--channel-fd"),
            ("supervise --speed 9 run --channel-fd 5", "--speed"),
            ("standalone --listen 1.2.3.4:80", "--config"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(named), "`{line}` gives `{error}`");
        }
    }
}
