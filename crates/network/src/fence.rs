//! Closing a VM's ports to all but the checker.

use model::VmId;

use crate::firewall::Side;
use crate::namespace::Namespace;
use crate::network::{Object, Shared};
use crate::{Network, NetworkError};

impl Network {
    /// Closes both ports of a VM, or opens them. Closed means that on the front only the checker gets an answer,
    /// also of those who are connected already, and that on the tenant side nothing passes, ARP neither.
    /// Whoever sends to a closed front port over TCP is reset.
    ///
    /// What is closed stays so until it is opened or the VM removed: through restarts of this process, and when
    /// the VM's NICs are ensured again. Rules that somebody else takes away take the fence with them, and the
    /// inventory shows it.
    ///
    /// # Errors
    /// `Missing` where a VM is to be closed that has no NICs here: ensure them first; one that has none is open.
    /// `Kernel`, `Firewall` or `TimedOut`; each may be tried again, and may leave one port closed and the
    /// other open.
    pub async fn set_fence(&self, vm: VmId, fenced: bool) -> Result<(), NetworkError> {
        self.in_turn(Object::Vm(vm), async move |shared| {
            shared.put_fence(vm, fenced).await
        })
        .await
    }
}

impl Shared {
    async fn put_fence(&self, vm: VmId, fenced: bool) -> Result<(), NetworkError> {
        let missing = |what: String| NetworkError::Missing {
            what,
            remedy: "ensure the VM's NICs first".into(),
        };
        let (front, tenant) = self.link_names(vm);
        let standing = self.firewall.standing(&self.host, Side::Front).await?;
        let Some(record) = self.firewall.record(&standing, &front) else {
            return match fenced {
                true => Err(missing(format!("a record of VM {vm}'s NICs"))),
                false => Ok(()),
            };
        };
        // Clients are shut out first and let in last, so that none meets a VM without backends.
        if fenced {
            self.firewall
                .set_fence(&self.host, Side::Front, &front, &record, true)
                .await?;
        }
        let name = self.names.project_namespace(record.project);
        match Namespace::open(&name)? {
            Some(project) => {
                self.firewall
                    .set_fence(&project, Side::Tenant, &tenant, &record, fenced)
                    .await?;
            }
            None if fenced => return Err(missing(format!("network namespace {name}"))),
            None => {}
        }
        if !fenced {
            self.firewall
                .set_fence(&self.host, Side::Front, &front, &record, false)
                .await?;
        }
        Ok(())
    }
}
