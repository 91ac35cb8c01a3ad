//! Lines that could not be written: how many, until it can be written that they are missing.

use std::collections::BTreeMap;

use model::VmId;
use model::access::{AccessHead, AccessKind, AccessRecord};

/// VMs of an instance of which this is told apart. What is missing of others is told with that of one of them.
const MOST_VMS: usize = 64;

/// What is missing of one instance, by VM.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    vms: BTreeMap<VmId, Gap>,
}

#[derive(Debug, Default)]
struct Gap {
    lines: u64,
    /// When the last of them ended.
    until_us: u64,
}

impl Missing {
    /// Takes note of records that are lost. Lines that these only said to be missing are missing now by this.
    pub(crate) fn add(&mut self, records: &[u8]) {
        for record in AccessRecord::read_all(records) {
            let head = record.head;
            let lines = match head.kind {
                AccessKind::Gap => head.bytes_in,
                AccessKind::Http | AccessKind::Tcp => 1,
            };
            self.add_gap(head.vm, lines, head.ended_us);
        }
    }

    /// Takes over what is missing by another account.
    pub(crate) fn extend(&mut self, other: Self) {
        for (vm, gap) in other.vms {
            self.add_gap(vm, gap.lines, gap.until_us);
        }
    }

    fn add_gap(&mut self, vm: VmId, lines: u64, until_us: u64) {
        let is_full = self.vms.len() >= MOST_VMS && !self.vms.contains_key(&vm);
        let other = self.vms.keys().next().copied().filter(|_| is_full);
        let gap = self.vms.entry(other.unwrap_or(vm)).or_default();
        gap.lines = gap.lines.saturating_add(lines);
        gap.until_us = gap.until_us.max(until_us);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.vms.is_empty()
    }

    /// Records that tell of it, and how many.
    pub(crate) fn records(&self) -> (Vec<u8>, u64) {
        let mut records = Vec::new();
        for (vm, gap) in &self.vms {
            let head = AccessHead {
                kind: AccessKind::Gap,
                vm: *vm,
                ended_us: gap.until_us,
                bytes_in: gap.lines,
                ..AccessHead::default()
            };
            AccessRecord::write(&head, b"", &mut records);
        }
        (records, self.vms.len() as u64)
    }
}
