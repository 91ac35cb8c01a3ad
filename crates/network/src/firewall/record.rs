//! What the first rule of a port's chain remembers in its comment.

use std::fmt;
use std::net::Ipv4Addr;

use model::{Mac, ProjectId, SubnetId};

use crate::VmNics;

/// One NIC, as its port's chain remembers it. The chain's rules follow from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Record {
    /// The project in whose namespace the VM's tenant link is.
    pub(crate) project: ProjectId,
    /// The subnet that the tenant link is on.
    pub(crate) subnet: SubnetId,
    /// The NIC's address. For one on the front the host has a neighbour entry.
    pub(crate) address: Ipv4Addr,
    /// The NIC's MAC.
    pub(crate) mac: Mac,
    /// What the VM's links are.
    pub(crate) kind: LinkKind,
}

/// What a VM's links are, which says whether one that is gone can be made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// A tap lives as long as the process that opened it, and is nobody else's to make.
    Tap,
    /// A veth pair is made by us, into the VM's namespace.
    Veth,
}

impl Record {
    /// The records of both NICs, the front one first.
    pub(crate) fn both(nics: &VmNics, kind: LinkKind) -> (Self, Self) {
        let record = |nic: &model::BootNic| Self {
            project: nics.project,
            subnet: nics.subnet,
            address: nic.address,
            mac: nic.mac,
            kind,
        };
        (record(&nics.front), record(&nics.tenant))
    }

    /// Reads a comment as it is written.
    pub(super) fn parse(comment: &str) -> Option<Self> {
        let mut words = comment.split(' ');
        let mut field = |name| (words.next() == Some(name)).then(|| words.next())?;
        let record = Self {
            project: field("project")?.parse().ok()?,
            subnet: field("subnet")?.parse().ok()?,
            address: field("address")?.parse().ok()?,
            mac: field("mac")?.parse().ok()?,
            kind: match field("link")? {
                "tap" => LinkKind::Tap,
                "veth" => LinkKind::Veth,
                _ => return None,
            },
        };
        words.next().is_none().then_some(record)
    }
}

impl fmt::Display for Record {
    /// At most 115 characters of the 128 that a comment may have.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            project,
            subnet,
            address,
            mac,
            kind,
        } = self;
        let kind = match kind {
            LinkKind::Tap => "tap",
            LinkKind::Veth => "veth",
        };
        write!(
            f,
            "project {project} subnet {subnet} address {address} mac {mac} link {kind}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: LinkKind) -> Record {
        Record {
            project: ProjectId(3),
            subnet: SubnetId(5),
            address: Ipv4Addr::new(10, 200, 0, 5),
            mac: Mac([2, 0, 10, 200, 0, 5]),
            kind,
        }
    }

    #[test]
    fn a_record_is_read_as_it_is_written() {
        let text = "project 3 subnet 5 address 10.200.0.5 mac 02:00:0a:c8:00:05 link tap";
        assert_eq!(record(LinkKind::Tap).to_string(), text);
        for kind in [LinkKind::Tap, LinkKind::Veth] {
            let record = record(kind);
            assert_eq!(Record::parse(&record.to_string()), Some(record));
        }
    }

    #[test]
    fn the_longest_record_fits_into_a_comment() {
        let longest = Record {
            project: ProjectId(u64::MAX),
            subnet: SubnetId(u64::MAX),
            address: Ipv4Addr::BROADCAST,
            ..record(LinkKind::Veth)
        };
        assert!(longest.to_string().len() <= 128, "{longest}");
    }

    #[test]
    fn a_comment_of_another_form_is_no_record() {
        for comment in [
            "",
            "project",
            "project x subnet 5 address 1.1.1.1 mac 02:00:00:00:00:01 link tap",
            "project 3 subnet 5 address 1.1.1.1 mac 02:00:00:00:00:01 link bond",
            "project 3 subnet 5 address 1.1.1.1 mac 02:00:00:00:00:01 link tap more",
            "subnet 5 project 3 address 1.1.1.1 mac 02:00:00:00:00:01 link tap",
            "project 3 address 1.1.1.1",
        ] {
            assert_eq!(Record::parse(comment), None, "{comment}");
        }
    }
}
