//! The server: its roles, all in one process or each in one of its own.
//!
//! Roles share the two stores and nothing else. Intent and layout are in one file and survive
//! everything; what is seen and reported is in another and is made again.

mod checker;
mod cleanup;
mod config;
mod dns;
mod role;

use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use compute::{Compute, ComputeConfig};
use model::InstallationId;
use network::{Network, NetworkConfig};
use store::{Durability, Outcome, Store, Transaction};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use crate::controller::Controller;

pub use cleanup::cleanup;
pub use config::Config;
pub use role::Role;

/// Where the installation's identity is kept.
const INSTALLATION_KEY: &str = "installation";

/// What `evenkeel serve` was asked to do.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// The configuration file; the defaults hold without one.
    pub config: Option<PathBuf>,
    /// The roles to play; all when empty.
    pub roles: Vec<Role>,
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
}

/// Plays the roles until SIGINT or SIGTERM. VMs and what they serve go on without this process.
///
/// # Errors
/// What kept a role from its work, with what to do about it.
pub async fn serve(options: ServeOptions) -> anyhow::Result<()> {
    let config = Config::load(options.config.as_deref())?;
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
        let (shared, presence) = (shared.clone(), role::announce(&shared, role));
        let controller = controller.take_if(|_| role == Role::Controller);
        roles.spawn(async move {
            let _presence = presence;
            play(role, shared, controller)
                .await
                .with_context(|| format!("the {role} role ended"))
        });
    }
    info!(installation = %shared.installation, socket = %shared.config.socket().display(), "serving");
    let outcome = tokio::select! {
        _ = end_asked() => Ok(()),
        Some(ended) = roles.join_next() => ended.context("a role panicked")?,
    };
    ask.send_replace(true);
    while roles.join_next().await.is_some() {}
    outcome
}

/// Plays one role. `controller` is given with the role of that name.
async fn play(role: Role, shared: Shared, controller: Option<Controller>) -> anyhow::Result<()> {
    match role {
        Role::Controller => match controller {
            Some(controller) => controller.run(shared.shutdown()).await,
            None => Ok(()),
        },
        Role::Checker => checker::run(shared).await,
        Role::Dns => dns::run(shared).await,
        Role::Api => run_api(shared).await,
    }
}

async fn run_api(shared: Shared) -> anyhow::Result<()> {
    let config = api::ApiConfig {
        listen: shared.config.api.listen.clone(),
        socket: shared.config.socket(),
        zone: shared.config.zone.clone(),
        front: shared.config.front.cidr,
        wait: Duration::from_secs(shared.config.api.wait),
    };
    let shutdown = shared.shutdown();
    let api = api::Api::bind(config, shared.store, shared.status).await?;
    info!(addresses = ?api.local_addresses(), "the JSON door is open");
    api.run(shutdown).await?;
    Ok(())
}

/// Opens the stores, making the directories and the installation's identity where they are missing.
fn open(config: Config, shutdown: watch::Receiver<bool>) -> anyhow::Result<Shared> {
    make_directory(&config.state_directory, 0o700)?;
    make_directory(&config.run_directory, 0o755)?;
    let store = Store::open(&config.store_path(), Durability::Full)?;
    let status = Store::open(&config.status_path(), Durability::Volatile)?;
    let installation = installation(&store)?;
    Ok(Shared {
        config,
        store,
        status,
        installation,
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

/// The installation's identity, drawn when the store is new.
fn installation(store: &Store) -> anyhow::Result<InstallationId> {
    let drawn = random_hex()?;
    let draw = Transaction::new()
        .when_absent(INSTALLATION_KEY)
        .put(INSTALLATION_KEY, drawn.as_str());
    if let Outcome::Applied(_) = store.commit(draw)? {
        return Ok(InstallationId(drawn));
    }
    let entry = store
        .get(INSTALLATION_KEY)?
        .context("the store lost the installation's identity")?;
    let text = String::from_utf8(entry.value).context("the installation's identity is not text")?;
    Ok(InstallationId(text))
}

fn random_hex() -> anyhow::Result<String> {
    use std::io::Read;
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The installation's network and VMs, as the controller and `cleanup` see them.
pub(crate) async fn open_world(shared: &Shared) -> anyhow::Result<(Network, Compute)> {
    let config = &shared.config;
    let network = Network::open(NetworkConfig {
        prefix: config.prefix.clone(),
        front: config.front.cidr,
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
