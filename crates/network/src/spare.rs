//! Taps that are made before it is known whose they will be.
//!
//! ```text
//!  host's namespace                            host's namespace      project's namespace
//!  ekpf4, ekpt4: down, on no bridge   ──▶      ekf7 ── ek-front      ekt7 ── br5
//! ```
//!
//! A tap may be renamed and moved while a process holds it, as long as it is down. So a machine can be made
//! with two taps under a number, and become a VM later. Until then they pass no frame, and they vanish with
//! the process that holds them: nothing has to find or remove them.

use crate::firewall::LinkKind;
use crate::netlink::Netlink;
use crate::network::{Object, Shared};
use crate::nics::{Places, open_tap};
use crate::{Network, NetworkError, TapNics, VmNics};

impl Network {
    /// Makes two taps in the host's namespace that are nobody's yet. `number` tells them from others, and has at
    /// most seven digits.
    ///
    /// # Errors
    /// `Kernel`, also where taps of that number are there; `TimedOut`.
    pub async fn make_spare_taps(&self, number: u32) -> Result<TapNics, NetworkError> {
        let shared = &self.shared;
        let (front, tenant) = shared.names.spare_links(number);
        Ok(TapNics {
            front: open_tap(&shared.host, front).await?,
            tenant: open_tap(&shared.host, tenant).await?,
        })
    }

    /// Makes the spare taps of `number` a VM's own: writes its rules, gives them its names, and moves them to
    /// their places. May be called again after it was broken off, and then also puts right what
    /// [`Network::mend_tap_nics`] does.
    ///
    /// # Errors
    /// `Missing` where the front bridge or the subnet was not ensured; `Kernel`, also where a tap is gone;
    /// `Firewall` or `TimedOut`.
    pub async fn claim_spare_taps(&self, number: u32, nics: &VmNics) -> Result<(), NetworkError> {
        let nics = nics.clone();
        self.in_turn(Object::Vm(nics.vm), async move |shared| {
            let places = shared.places(&nics).await?;
            // As with all NICs, rules come first: a link never says what it may not.
            shared.allow(&nics, LinkKind::Tap, &places).await?;
            shared.name_spare_taps(number, &nics, &places).await?;
            shared.connect(&nics, &places).await
        })
        .await
    }
}

impl Shared {
    async fn name_spare_taps(
        &self,
        number: u32,
        nics: &VmNics,
        places: &Places,
    ) -> Result<(), NetworkError> {
        let (spare_front, spare_tenant) = self.names.spare_links(number);
        let (front, tenant) = self.link_names(nics.vm);
        let host = &places.host;
        if let Some(link) = host.link(&spare_front).await? {
            replace(host, &front).await?;
            host.move_link(&link, &front, &self.host).await?;
        }
        if let Some(link) = host.link(&spare_tenant).await? {
            replace(&places.tenant, &tenant).await?;
            host.move_link(&link, &tenant, &places.project).await?;
        }
        Ok(())
    }
}

/// Whatever still has the name is of a process that has ended.
async fn replace(place: &Netlink, name: &str) -> Result<(), NetworkError> {
    place.delete_by_name(name).await
}
