//! `evenkeel instance …`

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value};

use super::{
    Document, Entity, Existing, HealthCheckArguments, Place, Replacement, Seconds, Setting,
    VmCount, Waiting,
};
use crate::cli::examples;

/// Make, show, change and delete instances: the load balancers.
#[derive(Debug, Subcommand)]
pub enum InstanceCommand {
    Create(Box<InstanceCreate>),
    List(InstanceList),
    Info(InstanceInfo),
    Update(Box<InstanceUpdate>),
    Delete(InstanceDelete),
}

/// Make a load balancer, and print its URL when it serves.
#[derive(Args, Debug)]
#[command(after_help = examples::INSTANCE_CREATE)]
pub struct InstanceCreate {
    /// Its name; made up when left out.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub traffic: Traffic,
    /// The port that clients use [default: 80 for http; tcp needs one].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// The network in which the backends are, such as 10.1.0.0/24.
    #[arg(long, value_name = "CIDR")]
    pub subnet: Option<String>,
    /// A server that receives traffic: ADDRESS[:PORT][@WEIGHT] or a URL; may be given several times.
    #[arg(short = 'b', long = "backend", value_name = "ENTITY")]
    pub backends: Vec<Entity>,
    #[command(flatten)]
    pub scaling: Scaling,
    /// Any setting of the JSON form, such as timeouts.connect=1; may be given several times.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub settings: Vec<Setting>,
    /// Take what is not given here from a JSON file; `-` reads standard input.
    #[arg(short, long, value_name = "FILE|-")]
    pub file: Option<Document>,
    #[command(flatten)]
    pub waiting: Waiting,
    #[command(flatten)]
    pub health_check: HealthCheckArguments,
}

/// What is balanced.
#[derive(Args, Clone, Debug)]
#[group(multiple = false)]
pub struct Traffic {
    /// Balance HTTP requests.
    #[arg(long)]
    pub http: bool,
    /// Balance TCP connections.
    #[arg(long)]
    pub tcp: bool,
    /// The same as one word, for scripts.
    #[arg(long, value_name = "TYPE", ignore_case = true)]
    pub traffic_type: Option<TrafficType>,
}

impl Traffic {
    /// What was chosen, where anything was.
    #[must_use]
    pub fn chosen(&self) -> Option<TrafficType> {
        let flags = [(self.http, TrafficType::Http), (self.tcp, TrafficType::Tcp)];
        let flagged = flags
            .into_iter()
            .find_map(|(is_set, traffic)| is_set.then_some(traffic));
        flagged.or(self.traffic_type)
    }
}

/// What an instance balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TrafficType {
    Http,
    Tcp,
}

impl TrafficType {
    /// The word that the JSON door knows it by.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}

/// How many VMs.
#[derive(Args, Clone, Debug, Default)]
pub struct Scaling {
    /// As many VMs as the load asks for, within bounds; one number means exactly so many.
    #[arg(long, value_name = "MIN..MAX|N|on|off", num_args = 0..=1, default_missing_value = "on")]
    pub auto_scaling: Option<VmCount>,
    /// Percent of its processors that each VM is to use.
    #[arg(long, value_name = "PERCENT")]
    pub target_cpu: Option<u64>,
    /// Client connections that each VM is to have open.
    #[arg(long, value_name = "COUNT")]
    pub target_connections: Option<u64>,
    /// HTTP requests, or TCP sessions, that each VM is to take in a second.
    #[arg(long, value_name = "COUNT")]
    pub target_requests: Option<u64>,
    /// Time for which fewer VMs must have been enough before fewer run.
    #[arg(long, value_name = "SECONDS")]
    pub scale_in_window: Option<Seconds>,
}

impl Scaling {
    /// The value of `auto-scaling` as the JSON door takes it, where anything was given. `on` with targets
    /// means all defaults but for these.
    ///
    /// # Errors
    /// In words, when it is turned off and given targets.
    pub fn to_json(&self) -> Result<Option<Value>, &'static str> {
        let targets = [
            ("target-cpu", self.target_cpu.map(Value::from)),
            (
                "target-connections",
                self.target_connections.map(Value::from),
            ),
            ("target-requests", self.target_requests.map(Value::from)),
            (
                "scale-in-window",
                self.scale_in_window.as_ref().map(Seconds::to_json),
            ),
        ];
        let count = self.auto_scaling.as_ref();
        if targets.iter().all(|(_, target)| target.is_none()) {
            return Ok(count.map(VmCount::to_json));
        }
        let mut fields = match count.map(VmCount::to_json) {
            None => Map::new(),
            Some(Value::Object(bounds)) => bounds,
            Some(Value::Bool(true)) => DEFAULTS
                .into_iter()
                .map(|name| (name.to_owned(), Value::Null))
                .collect(),
            Some(_) => {
                return Err("--auto-scaling off goes with no targets: leave one of them out");
            }
        };
        for (name, target) in targets {
            fields.extend(target.map(|target| (name.to_owned(), target)));
        }
        Ok(Some(Value::Object(fields)))
    }
}

/// The fields of `auto-scaling`; `null` is the default of each.
const DEFAULTS: [&str; 6] = [
    "min",
    "max",
    "target-cpu",
    "target-connections",
    "target-requests",
    "scale-in-window",
];

/// List instances: a project's, or all of yours.
#[derive(Args, Debug)]
#[command(visible_alias = "ls", after_help = examples::INSTANCE_LIST)]
pub struct InstanceList {
    #[command(flatten)]
    pub place: Place,
}

/// Show an instance: its URL, its VMs, its backends, and what it waits for.
#[derive(Args, Debug)]
#[command(visible_alias = "show", after_help = examples::INSTANCE_INFO)]
pub struct InstanceInfo {
    #[command(flatten)]
    pub existing: Existing,
    #[command(flatten)]
    pub place: Place,
}

/// Change an instance while it serves; no request is lost.
#[derive(Args, Debug)]
#[command(after_help = examples::INSTANCE_UPDATE)]
pub struct InstanceUpdate {
    #[command(flatten)]
    pub existing: Existing,
    #[command(flatten)]
    pub place: Place,
    /// The name that it is to have; the old URL goes on working.
    #[arg(long, value_name = "NAME")]
    pub new_name: Option<String>,
    #[command(flatten)]
    pub edits: BackendEdits,
    #[command(flatten)]
    pub scaling: Scaling,
    /// Any setting of the JSON form, such as timeouts.connect=1; null brings its default back.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub settings: Vec<Setting>,
    /// Take changes from a JSON file too; `-` reads standard input.
    #[arg(short, long, value_name = "FILE|-")]
    pub file: Option<Document>,
    #[command(flatten)]
    pub waiting: Waiting,
    #[command(flatten)]
    pub health_check: HealthCheckArguments,
}

/// Changes to the list of backends. Those given together take effect together.
#[derive(Args, Clone, Debug, Default)]
pub struct BackendEdits {
    /// Add a backend; may be given several times.
    #[arg(long = "add-backend", value_name = "ENTITY")]
    pub add: Vec<Entity>,
    /// Remove a backend; may be given several times.
    #[arg(long = "remove-backend", value_name = "ENTITY")]
    pub remove: Vec<Entity>,
    /// Put a backend in another's place; may be given several times.
    #[arg(long = "replace-backend", value_name = "OLD=NEW")]
    pub replace: Vec<Replacement>,
    /// Put these in place of the whole list; may be given several times.
    #[arg(short = 'b', long = "backend", value_name = "ENTITY", conflicts_with_all = ["add", "remove", "replace"])]
    pub whole: Vec<Entity>,
}

/// Delete an instance with its VMs and its URL.
#[derive(Args, Debug)]
#[command(visible_alias = "rm", after_help = examples::INSTANCE_DELETE)]
pub struct InstanceDelete {
    #[command(flatten)]
    pub existing: Existing,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub waiting: Waiting,
}
