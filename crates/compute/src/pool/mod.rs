//! The pool: machines that were restored from the snapshot and wait, stopped, for somebody to be.
//!
//! ```text
//!  restored ─▶ spoke ─▶ rehearsed ─▶ stopped ─────────── claimed: the directory is renamed ─▶ NICs moved, told
//!                                       │                                                     who it is
//!                                       └─ server ends, image changed, memory is short: killed
//! ```
//!
//! A machine of the pool belongs to nobody: it stands in no layout, its taps have neutral names, and its tag
//! and directory say `pool`. One step makes it a VM, the renaming of its directory, which has the VM's record by
//! then. A server that is killed before leaves nothing that anybody wants, and the next one ends it; one that
//! is killed after leaves a VM, which the next one adopts.

mod claim;
mod keep;
mod member;
mod rehearsal;

pub(crate) use keep::keep;
pub(crate) use member::{Member, blank_plan, draw_number};

use std::sync::Mutex;
use std::time::{Duration, Instant};

use model::VmShape;

use crate::config::VmSpec;
use crate::memory::Share;
use crate::vm::lock;

/// How long nobody must have wanted a VM before machines are made beside.
const QUIET: Duration = Duration::from_secs(1);

/// The machines that wait.
#[derive(Default)]
pub(crate) struct Pool {
    members: Mutex<Vec<Member>>,
    wanted_last: Mutex<Option<Instant>>,
}

impl Pool {
    /// Takes a machine out that can become the VM of `spec`.
    fn take(&self, spec: &VmSpec) -> Option<Member> {
        let mut members = lock(&self.members);
        members.retain(Member::is_alive);
        let fits = |member: &Member| can_be(member.shape(), spec);
        let place = members.iter().position(fits)?;
        Some(members.remove(place))
    }

    fn add(&self, member: Member) {
        lock(&self.members).push(member);
    }

    /// What the machines that wait were promised and have taken, but for one that is to become the VM of `spec`.
    pub(crate) fn shares(&self, spec: Option<&VmSpec>) -> Vec<Share> {
        let members = lock(&self.members);
        let claimed = spec.and_then(|spec| {
            let fits = |member: &Member| can_be(member.shape(), spec);
            members.iter().position(fits)
        });
        let others = members
            .iter()
            .enumerate()
            .filter(|(place, _)| Some(*place) != claimed);
        others.map(|(_, member)| member.share()).collect()
    }

    /// Ends one machine, where there is one, and returns once its memory can be had.
    pub(crate) async fn give_way(&self) -> bool {
        let member = lock(&self.members).pop();
        match member {
            Some(member) => {
                member.end().await;
                true
            }
            None => false,
        }
    }

    /// Gives all machines up.
    pub(crate) fn clear(&self) {
        lock(&self.members).clear();
    }

    /// How many machines wait.
    pub(crate) fn len(&self) -> usize {
        let mut members = lock(&self.members);
        members.retain(Member::is_alive);
        members.len()
    }

    /// Takes note that a VM is wanted now.
    pub(crate) fn want(&self) {
        *lock(&self.wanted_last) = Some(Instant::now());
    }

    fn is_quiet(&self) -> bool {
        lock(&self.wanted_last).is_none_or(|at| at.elapsed() >= QUIET)
    }
}

/// Whether a machine of `shape` can become this VM. One with a disk is made anew, since its disk is its own.
pub(crate) fn can_be(shape: VmShape, spec: &VmSpec) -> bool {
    shape == spec.shape && shape.disk_size == 0
}
