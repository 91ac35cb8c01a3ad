//! The DNS server, and what clients still hold of its answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::{DnsLayout, InstanceId};

/// For how long a client keeps an answer.
pub(crate) const TTL_MS: u64 = 1_000;

/// A server of one zone, and its clients at their worst: at any moment somebody holds each answer that was
/// given within the last [`TTL_MS`], and sends requests by it.
#[derive(Clone, Debug, Default)]
pub(crate) struct DnsServer {
    pub(crate) zone: DnsLayout,
    /// Whether it publishes nothing new at present.
    pub(crate) stands_still: bool,
    /// Addresses that are named no more, with the time of the last answer that named them.
    dropped_ms: BTreeMap<Ipv4Addr, u64>,
    named: BTreeSet<Ipv4Addr>,
    /// Instances that were named with an address of their own.
    pub(crate) known: BTreeSet<InstanceId>,
}

impl DnsServer {
    /// Answers from this zone from now on.
    pub(crate) fn publish(&mut self, zone: DnsLayout, now_ms: u64) {
        let named: BTreeSet<Ipv4Addr> = zone.records.values().flatten().copied().collect();
        for address in self.named.difference(&named) {
            self.dropped_ms.insert(*address, now_ms);
        }
        self.named = named;
        self.zone = zone;
    }

    pub(crate) fn names(&self, address: Ipv4Addr) -> bool {
        self.named.contains(&address)
    }

    /// When the last answer with that address was given: now, while it is named.
    pub(crate) fn last_named_ms(&self, address: Ipv4Addr, now_ms: u64) -> Option<u64> {
        match self.names(address) {
            true => Some(now_ms),
            false => self.dropped_ms.get(&address).copied(),
        }
    }

    /// Whether clients may send requests to that address now.
    pub(crate) fn leads_to(&self, address: Ipv4Addr, now_ms: u64) -> bool {
        let last_ms = self.last_named_ms(address, now_ms);
        last_ms.is_some_and(|ms| now_ms.saturating_sub(ms) < TTL_MS)
    }
}
