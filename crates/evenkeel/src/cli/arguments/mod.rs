//! The arguments as they are typed. What they mean is told by [`super::request`].

mod events;
mod figures;
mod health_check;
mod image;
mod instance;
mod logs;
mod project;
mod serve;
mod subnet;
mod value;

use std::fmt;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use events::{Events, Explain};
pub use figures::{By, Figures};
pub use health_check::HealthCheckArguments;
pub use image::{ImageBuild, ImageCommand};
pub use instance::{BackendEdits, InstanceCommand, InstanceCreate, InstanceUpdate, Scaling};
pub use logs::Logs;
pub use project::{ProjectCommand, ProjectCreate};
pub use serve::{Cleanup, Serve};
pub use subnet::{SubnetChange, SubnetCommand};
pub use value::{Entity, Replacement, Seconds, Setting, VmCount};

use super::examples;

/// Where the server listens when nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/evenkeel/evenkeel.sock";

const ASKING: &str = "Asking the server";

/// Load balancers as a service on your own Linux machines.
#[derive(Debug, Parser)]
#[command(
    name = "evenkeel",
    version,
    long_about = examples::ABOUT,
    after_help = examples::SEE_MORE,
    after_long_help = examples::FIRST_STEPS,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// The program's own arguments. Ends the program where they are wrong or ask for help.
    #[must_use]
    pub fn read() -> Self {
        let matches = Self::command().get_matches();
        Self::check(&matches).unwrap_or_else(|error| error.exit())
    }

    /// The arguments, refused where an option would be silently without effect.
    fn check(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let arguments = Self::from_arg_matches(matches)?;
        let is_typed = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        match (
            &arguments.command,
            ["socket", "format"].iter().find(|id| is_typed(id)),
        ) {
            (Command::Ask(_), _) | (_, None) => Ok(arguments),
            (_, Some(id)) => Err(Self::command().error(
                ErrorKind::ArgumentConflict,
                format!("--{id} is for commands that ask the server, and this one does not"),
            )),
        }
    }
}

/// What holds for every command that asks the server.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// The server's unix socket.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "EVENKEEL_SOCKET",
        hide_env_values = true,
        default_value = DEFAULT_SOCKET,
        help_heading = ASKING
    )]
    pub socket: PathBuf,
    /// How to print the answer.
    #[arg(
        short = 'o',
        long = "format",
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = ASKING
    )]
    pub format: Format,
}

/// How an answer is printed: aligned for people, or as the server gave it.
///
/// The values have no help of their own here and elsewhere: it would spread every option of the long
/// help over several lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// Everything that can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(Serve),
    Cleanup(Cleanup),
    /// Build the image that VMs are started from.
    #[command(subcommand, after_help = examples::IMAGE)]
    Image(ImageCommand),
    #[command(flatten)]
    Ask(Question),
}

/// What is asked of a running server.
#[derive(Debug, Subcommand)]
pub enum Question {
    /// Make, show, change and delete projects.
    #[command(subcommand, visible_alias = "projects", after_help = examples::PROJECT)]
    Project(ProjectCommand),
    /// Make, show, change and delete instances: the load balancers.
    #[command(subcommand, visible_alias = "instances", after_help = examples::INSTANCE)]
    Instance(InstanceCommand),
    /// Connect a project's subnet to interfaces of this machine, where the backends are.
    #[command(subcommand, visible_alias = "subnets", after_help = examples::SUBNET)]
    Subnet(SubnetCommand),
    Logs(Logs),
    Events(Events),
    Explain(Explain),
    Status(Status),
    Figures(Figures),
    Request(RawRequest),
}

/// Show how everything stands: roles, projects, instances, troubles.
#[derive(Args, Debug)]
#[command(after_help = examples::STATUS)]
pub struct Status {}

/// Send one JSON request as it is, and print the answer.
#[derive(Args, Debug)]
#[command(after_help = examples::REQUEST)]
pub struct RawRequest {
    /// The request; `-` reads it from standard input.
    #[arg(value_name = "JSON|-", allow_hyphen_values = true)]
    pub json: String,
}

/// A file, or standard input where it is written as `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    File(PathBuf),
    StandardInput,
}

impl From<&str> for Document {
    fn from(text: &str) -> Self {
        match text {
            "-" => Self::StandardInput,
            path => Self::File(path.into()),
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::StandardInput => f.write_str("standard input"),
        }
    }
}

/// Whose project something is in.
#[derive(Args, Clone, Debug, Default)]
pub struct Place {
    /// The project's name or id; your only one when left out.
    #[arg(short, long, value_name = "NAME|ID")]
    pub project: Option<String>,
    #[command(flatten)]
    pub owner: Owner,
}

/// Whose something is.
#[derive(Args, Clone, Debug, Default)]
pub struct Owner {
    /// The user who owns the project; yourself when left out.
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
}

/// One object that exists, by name or by id.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Existing {
    /// Its name.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Its id, in place of the name.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    pub id: Option<u64>,
}

/// How long to wait for the outcome.
#[derive(Args, Clone, Debug, Default)]
pub struct Waiting {
    /// Answer at once; `info` shows the progress.
    #[arg(long, conflicts_with = "wait")]
    pub no_wait: bool,
    /// Answer when it is done, or after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<Seconds>,
}

#[cfg(test)]
pub(crate) mod tests;
