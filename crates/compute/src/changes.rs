//! Tells whoever watches that something worth another look has happened, and of whom.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use model::VmId;
use tokio::sync::watch;

use crate::vm::lock;

/// Of whom something is new. Never of more VMs than there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// VMs of which something is.
    pub vms: BTreeSet<VmId>,
    /// Whether something is that concerns every VM.
    pub of_all: bool,
}

/// A counter that rises with each piece of news, and what was not asked for yet.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    count: Arc<watch::Sender<u64>>,
    news: Arc<Mutex<News>>,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self {
            count: Arc::new(watch::Sender::new(0)),
            news: Arc::default(),
        }
    }

    /// There is news that concerns every VM.
    pub(crate) fn bump(&self) {
        lock(&self.news).of_all = true;
        self.rise();
    }

    /// There is news of one VM.
    pub(crate) fn bump_for(&self, vm: VmId) {
        lock(&self.news).vms.insert(vm);
        self.rise();
    }

    /// What there is since this was last asked.
    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut lock(&self.news))
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    fn rise(&self) {
        self.count
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_told_once_and_says_of_whom_it_is() {
        let changes = Changes::new();
        let watched = changes.watch();
        changes.bump_for(VmId(7));
        changes.bump_for(VmId(3));
        assert!(watched.has_changed().expect("the sender is there"));
        let vms = BTreeSet::from([VmId(3), VmId(7)]);
        let of_all = false;
        assert_eq!(changes.take(), News { vms, of_all });
        changes.bump();
        assert!(changes.take().of_all);
        assert_eq!(changes.take(), News::default());
    }
}
