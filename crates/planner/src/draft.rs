//! What a plan is worked out on.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    DnsLayout, HostLayout, InstanceId, InstanceLayout, Layout, Ledger, NetworkLayout,
    PersistentMap, ProjectId,
};

/// A layout that is being decided: the parts of it that a plan is about, free to be changed. What comes out as
/// it was is shared with the layout that it was taken from.
pub(crate) struct Draft {
    pub(crate) instances: BTreeMap<InstanceId, InstanceLayout>,
    pub(crate) networks: BTreeMap<ProjectId, NetworkLayout>,
    pub(crate) dns: DnsLayout,
    pub(crate) ledger: Ledger,
    pub(crate) host: HostLayout,
}

impl Draft {
    pub(crate) fn of(layout: &Layout) -> Self {
        Self {
            instances: copies(&layout.instances),
            networks: copies(&layout.networks),
            dns: layout.dns.clone(),
            ledger: layout.ledger.clone(),
            host: layout.host.clone(),
        }
    }

    /// The layout that was decided, where `before` is the one that the draft was taken from.
    pub(crate) fn into_layout(self, before: &Layout) -> Layout {
        let mut layout = before.clone();
        put_back(&mut layout.instances, self.instances);
        put_back(&mut layout.networks, self.networks);
        layout.dns = self.dns;
        layout.ledger = self.ledger;
        layout.host = self.host;
        layout
    }
}

fn copies<K: Ord + Copy, V: Clone>(map: &PersistentMap<K, Arc<V>>) -> BTreeMap<K, V> {
    map.iter()
        .map(|(id, value)| (*id, V::clone(value)))
        .collect()
}

/// Puts what changed into the map, and takes out what is gone.
fn put_back<K: Ord + Copy, V: PartialEq>(
    map: &mut PersistentMap<K, Arc<V>>,
    decided: BTreeMap<K, V>,
) {
    map.retain(|id, _| decided.contains_key(id));
    for (id, value) in decided {
        if map.get(&id).is_none_or(|known| **known != value) {
            map.insert(id, Arc::new(value));
        }
    }
}
