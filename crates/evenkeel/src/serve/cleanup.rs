//! Taking everything of an installation off the machine.

use std::path::Path;

use anyhow::Context;
use compute::Compute;
use network::Network;
use tokio::sync::watch;
use tracing::info;

use super::{Config, open, open_world};

/// Removes the installation's VMs, namespaces and bridges. What users asked for stays in the store: a
/// server that is started again makes all of it anew, at once and with the same addresses.
///
/// # Errors
/// When a controller of the installation is running, or something resists.
pub async fn cleanup(config: Option<&Path>) -> anyhow::Result<()> {
    let (_ask, shutdown) = watch::channel(false);
    let shared = open(Config::load(config)?, shutdown)?;
    let _lock = crate::controller::lock(&shared)?;
    let (network, compute) = open_world(&shared).await?;
    network.claim_front(&shared.installation.0).await?;
    store::layout::forget_start(&shared.store)?;
    remove_vms(&network, &compute).await?;
    remove_networks(&network).await
}

async fn remove_vms(network: &Network, compute: &Compute) -> anyhow::Result<()> {
    let mut vms: Vec<_> = compute.observe().await.into_keys().collect();
    vms.extend(network.inventory().await?.vm_nics.into_keys());
    vms.sort_unstable();
    vms.dedup();
    for vm in vms {
        compute
            .remove_vm(vm)
            .await
            .with_context(|| format!("cannot remove VM {vm}"))?;
        info!(%vm, "removed");
    }
    Ok(())
}

async fn remove_networks(network: &Network) -> anyhow::Result<()> {
    for (project, sight) in network.inventory().await?.projects {
        for subnet in sight.subnets.keys() {
            network.remove_subnet(project, *subnet).await?;
        }
        network.remove_project(project).await?;
        info!(%project, "removed");
    }
    network.remove_front().await?;
    Ok(())
}
