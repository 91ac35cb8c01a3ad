//! The server: its roles, all in one process or each in one of its own.
//!
//! Roles share the two stores, and the api asks the monitor over its socket. Intent and layout are in one file and survive
//! everything; what is seen and reported is in another and is made again.

mod access_log;
mod checker;
mod cleanup;
mod config;
mod dns;
mod forward;
mod hosts;
mod identity;
mod keeping;
mod monitor;
mod place;
mod receiver;
mod refusals;
mod role;
mod supervisor;
mod syslog;
mod trouble;
mod watchdog;

use std::convert::Infallible;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::monitor::VmKeys;
use anyhow::Context;
use compute::{Compute, ComputeConfig};
use model::InstallationId;
use network::{Network, NetworkConfig};
use store::{Durability, Store};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::controller::Controller;

pub use cleanup::cleanup;
pub use config::Config;
pub use role::Role;
pub(crate) use trouble::Trouble;
pub(crate) use watchdog::Watchdog;

/// How often a role that only answers shows that it is run.
const FEEDING: Duration = Duration::from_secs(1);
/// How long a role may take to end once the process is asked to: longer than the effects of a controller.
const FAREWELL: Duration = Duration::from_secs(8);

/// What `evenkeel serve` was asked to do.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// The configuration file; the defaults hold without one.
    pub config: Option<PathBuf>,
    /// The roles to play; all when empty.
    pub roles: Vec<Role>,
    /// The checker's name, where it is not to be the configuration's.
    pub checker_name: Option<String>,
}

/// Everything that roles share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// Intent and layout.
    pub(crate) store: Store,
    /// What is seen and reported.
    pub(crate) status: Store,
    pub(crate) installation: InstallationId,
    /// By which VMs show who they are when they send figures.
    pub(crate) keys: VmKeys,
    shutdown: watch::Receiver<bool>,
}

impl Shared {
    /// Resolves when the process is asked to end.
    pub(crate) fn shutdown(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut shutdown = self.shutdown.clone();
        async move {
            // An error means that nobody can ask any more, which is as good as being asked.
            let _ = shutdown.wait_for(|asked| *asked).await;
        }
    }

    /// The status store as it is on the disk now, which may be another than the one that is open.
    fn reopen_status(&self) -> anyhow::Result<Store> {
        make_directory(&self.config.run_directory, 0o755)?;
        let path = self.config.status_path();
        Ok(Store::open(&path, Durability::Volatile)?)
    }
}

/// Plays the roles until SIGINT or SIGTERM. VMs and what they serve go on without this process.
///
/// # Errors
/// What kept a role from its work, with what to do about it.
pub async fn serve(options: ServeOptions) -> anyhow::Result<()> {
    let mut config = Config::load(options.config.as_deref())?;
    if let Some(name) = options.checker_name {
        config.name_checker(name)?;
    }
    if let Err(error) = compute::raise_open_files() {
        warn!(%error, "cannot raise the limit on open files");
    }
    let (ask, shutdown) = watch::channel(false);
    let shared = open(config, shutdown)?;
    let chosen = Role::chosen(&options.roles);
    // First, because a second controller is refused: its other roles would disturb those of the one that
    // runs.
    let mut controller = match chosen.contains(&Role::Controller) {
        true => Some(Controller::open(&shared).await?),
        false => None,
    };
    let mut roles = JoinSet::new();
    for role in chosen {
        let controller = controller.take_if(|_| role == Role::Controller);
        roles.spawn(keep_playing(role, shared.clone(), controller));
    }
    info!(installation = %shared.installation, socket = %shared.config.socket().display(), "serving");
    let outcome = tokio::select! {
        _ = end_asked() => Ok(()),
        Some(ended) = roles.join_next() => ended.context("a supervisor panicked")?,
    };
    ask.send_replace(true);
    while roles.join_next().await.is_some() {}
    outcome
}

/// Plays one role to the end of the process, again whenever it fails. The first controller is given.
async fn keep_playing(
    role: Role,
    shared: Shared,
    mut controller: Option<Controller>,
) -> anyhow::Result<()> {
    let trouble = format!("{role}/supervision");
    let tell = {
        let shared = shared.clone();
        move |words: Option<&str>| {
            // The status store may be what is missing; the log has it too.
            let told = shared
                .reopen_status()
                .and_then(|status| Ok(store::status::put_trouble(&status, &trouble, words)?));
            if let Err(error) = told {
                debug!(%role, error = format!("{error:#}"), "the role's trouble cannot be told");
            }
        }
    };
    let mut lives = 0_u64;
    let live = |watchdog| {
        lives += 1;
        play(role, shared.clone(), controller.take(), lives, watchdog)
    };
    let name = role.to_string();
    let farewell = async {
        shared.shutdown().await;
        sleep(FAREWELL).await;
    };
    tokio::select! {
        ended = supervisor::supervise(&name, live, tell) => {
            ended.with_context(|| format!("the {role} role ended"))
        }
        // One that hangs, or waits to be started again, keeps nobody waiting.
        () = farewell => Ok(()),
    }
}

/// Plays one role for as long as it can. A controller that follows a failed one opens the world anew, and each
/// later life the status store. DNS has to answer meanwhile, so that role sees to its status store itself.
async fn play(
    role: Role,
    mut shared: Shared,
    controller: Option<Controller>,
    life: u64,
    watchdog: Watchdog,
) -> anyhow::Result<()> {
    if life > 1 {
        shared.status = shared.reopen_status()?;
    }
    let known = shared.clone();
    let played = async {
        match (role, controller) {
            (Role::Controller, Some(controller)) => {
                controller.run(shared.shutdown(), watchdog).await
            }
            (Role::Controller, None) => {
                let controller = Controller::open(&shared).await?;
                controller.run(shared.shutdown(), watchdog).await
            }
            (Role::Checker, _) => checker::run(shared, watchdog).await,
            (Role::Dns, _) => dns::run(shared, watchdog).await,
            (Role::Api, _) => run_api(shared, watchdog).await,
            (Role::Monitor, _) => monitor::run(shared, watchdog).await,
        }
    };
    tokio::select! {
        ended = played => ended,
        lost = role::stay_known(&known, role), if role != Role::Dns => Err(lost),
    }
}

/// Feeds a role's watchdog for as long as the task that plays the role is run.
async fn feed_regularly(watchdog: &Watchdog) -> Infallible {
    loop {
        watchdog.feed();
        sleep(FEEDING).await;
    }
}

async fn run_api(shared: Shared, watchdog: Watchdog) -> anyhow::Result<()> {
    let otlp = shared.config.otlp.target()?.map(|target| api::OtlpConfig {
        target,
        interval: Duration::from_secs(shared.config.otlp.interval),
        installation: shared.installation.0.clone(),
    });
    let config = api::ApiConfig {
        listen: shared.config.api.listen.clone(),
        metrics_listen: shared.config.api.metrics_listen.clone(),
        otlp,
        socket: shared.config.socket(),
        monitor: shared.config.monitor_socket(),
        zone: shared.config.zone.clone(),
        front: shared.config.front.cidr,
        access_logs: shared.config.access_log_directory(),
        journal: shared.config.journal_path(),
        wait: Duration::from_secs(shared.config.api.wait),
    };
    let shutdown = shared.shutdown();
    let api = api::Api::bind(config, shared.store, shared.status).await?;
    info!(addresses = ?api.local_addresses(), "the JSON door is open");
    tokio::select! {
        ended = api.run(shutdown) => Ok(ended?),
        never = feed_regularly(&watchdog) => match never {},
    }
}

/// Opens the stores, making the directories and the installation's identity where they are missing.
fn open(config: Config, shutdown: watch::Receiver<bool>) -> anyhow::Result<Shared> {
    make_directory(&config.state_directory, 0o700)?;
    make_directory(&config.run_directory, 0o755)?;
    let store = Store::open(&config.store_path(), Durability::Full)?;
    let status = Store::open(&config.status_path(), Durability::Volatile)?;
    let installation = identity::installation(&store)?;
    let keys = identity::vm_keys(&store)?;
    Ok(Shared {
        config,
        store,
        status,
        installation,
        keys,
        shutdown,
    })
}

fn make_directory(path: &Path, mode: u32) -> anyhow::Result<()> {
    let make = || -> std::io::Result<()> {
        std::fs::create_dir_all(path)?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode))
    };
    make().with_context(|| format!("cannot make the directory {}", path.display()))
}

/// The installation's network and VMs, as the controller and `cleanup` see them.
pub(crate) async fn open_world(shared: &Shared) -> anyhow::Result<(Network, Compute)> {
    let config = &shared.config;
    let network = Network::open(NetworkConfig {
        prefix: config.prefix.clone(),
        front: config.front.cidr,
        figures_port: Some(config.monitor.port),
    })
    .await?;
    let mut compute_config = ComputeConfig::new(
        shared.installation.clone(),
        config.vm_directory(),
        config.image_directory(),
        config.balancer_program()?,
    );
    compute_config.choice = config.compute.driver;
    compute_config.qemu_program.clone_from(&config.compute.qemu);
    compute_config.shape = config.vm;
    compute_config.memory_reserve_mib = config.compute.memory_reserve_mib;
    compute_config.memory_limit_mib = config.compute.memory_limit_mib;
    if config.compute.snapshot {
        compute_config.snapshot_directory = Some(config.snapshot_directory());
        compute_config.pool = config.compute.pool;
    }
    let compute = Compute::open(compute_config, network.clone()).await?;
    Ok((network, compute))
}

async fn end_asked() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = term.recv() => info!("asked to end by SIGTERM"),
        _ = int.recv() => info!("asked to end by SIGINT"),
    }
    Ok(())
}
