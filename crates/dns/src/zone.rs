//! One generation of the zone: what is to be published, checked and laid out for look-ups.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use hickory_proto::rr::rdata::{A, NS, SOA};
use hickory_proto::rr::{LowerName, Name, RData, Record};
use thiserror::Error;

/// Bytes in one label (RFC 1035, section 2.3.4).
const MAX_LABEL_LENGTH: usize = 63;
/// The label of the zone's name server, below the origin. No other record can have it.
const NAME_SERVER_LABEL: &str = "ns";
/// The mailbox in the SOA, below the origin.
const MAILBOX_LABEL: &str = "hostmaster";
/// What the SOA tells secondary servers. There are none (transfers are refused), so these are only
/// values at which no checker of zones complains.
const SOA_REFRESH_S: i32 = 3_600;
const SOA_RETRY_S: i32 = 600;
const SOA_EXPIRE_S: i32 = 604_800;

/// What a zone is to hold, as the planner decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneContents {
    /// The zone's name without a final dot, such as `lb.evenkeel.test`.
    pub origin: String,
    /// The generation, compared by RFC 1982.
    pub serial: u32,
    /// For how long resolvers may keep a record, in seconds.
    pub ttl_s: u32,
    /// For how long resolvers may keep the answer that there is no such name or record, in seconds
    /// (RFC 2308).
    pub negative_ttl_s: u32,
    /// The addresses of `ns.<origin>`, at least one.
    pub name_server: Vec<Ipv4Addr>,
    /// The addresses of each name, the name relative to the origin, such as `web.johns-project`. A
    /// name without addresses exists, and has no record.
    pub records: BTreeMap<String, BTreeSet<Ipv4Addr>>,
}

/// Why contents cannot be published. Each is a mistake of the caller: trying again does not help.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ZoneError {
    /// The origin or a record's name is not a DNS name.
    #[error(
        "{name:?} cannot stand in the zone {origin:?}: a name has labels of 1 to 63 lower-case \
         letters, digits, hyphens and underscores, and at most 255 octets in all"
    )]
    InvalidName {
        /// The zone.
        origin: String,
        /// The name, relative to the zone; the origin itself when that is at fault.
        name: String,
    },
    /// A record has the name server's name.
    #[error("ns.{origin} is the zone's own name server: give the record another name")]
    ReservedName {
        /// The zone.
        origin: String,
    },
    /// No address was given for the name server.
    #[error("the zone {origin} has no address for ns.{origin}: give at least one")]
    NoNameServer {
        /// The zone.
        origin: String,
    },
}

/// One immutable generation. Only the turns of its nodes move.
#[derive(Debug)]
pub(crate) struct Zone {
    contents: ZoneContents,
    origin: LowerName,
    soa: Record,
    ns: Record,
    name_server: Name,
    /// Every name that exists but the origin, those that exist only because a longer one does
    /// (RFC 4592, section 2.2.2) among them.
    nodes: HashMap<LowerName, Node>,
}

/// What a name has.
#[derive(Debug, Default)]
pub(crate) struct Node {
    addresses: Vec<Ipv4Addr>,
    turn: AtomicU32,
}

impl Node {
    pub(crate) fn has_addresses(&self) -> bool {
        !self.addresses.is_empty()
    }
}

/// What the zone knows of a name.
pub(crate) enum Found<'z> {
    /// The name is the origin.
    Apex,
    /// The name exists, perhaps without any record.
    Name(&'z Node),
    /// The name is in the zone and does not exist.
    Absent,
    /// The name is not in the zone.
    OtherZone,
}

impl Zone {
    /// Checks the contents and lays them out.
    pub(crate) fn new(contents: ZoneContents) -> Result<Self, ZoneError> {
        let origin = name_of(&contents.origin, &Name::root(), &contents.origin)?;
        let name_server = name_of(NAME_SERVER_LABEL, &origin, &contents.origin)?;
        let mailbox = name_of(MAILBOX_LABEL, &origin, &contents.origin)?;
        if contents.name_server.is_empty() {
            return Err(ZoneError::NoNameServer {
                origin: contents.origin,
            });
        }
        let soa = SOA::new(
            name_server.clone(),
            mailbox,
            contents.serial,
            SOA_REFRESH_S,
            SOA_RETRY_S,
            SOA_EXPIRE_S,
            contents.negative_ttl_s,
        );
        // A negative answer lives for the lesser of the SOA's own TTL and its last field (RFC 2308,
        // section 5), so both are the negative TTL.
        let soa = Record::from_rdata(origin.clone(), contents.negative_ttl_s, RData::SOA(soa));
        let ns = RData::NS(NS(name_server.clone()));
        let ns = Record::from_rdata(origin.clone(), contents.ttl_s, ns);
        let nodes = lay_out(&contents, &origin, &name_server)?;
        let origin = LowerName::new(&origin);
        Ok(Self {
            contents,
            origin,
            soa,
            ns,
            name_server,
            nodes,
        })
    }

    pub(crate) fn contents(&self) -> &ZoneContents {
        &self.contents
    }

    pub(crate) fn serial(&self) -> u32 {
        self.contents.serial
    }

    /// The SOA, with the TTL that a negative answer needs.
    pub(crate) fn soa(&self) -> &Record {
        &self.soa
    }

    pub(crate) fn ns(&self) -> &Record {
        &self.ns
    }

    /// The addresses of the name server.
    pub(crate) fn glue(&self) -> Vec<Record> {
        self.records(&self.name_server, &self.contents.name_server)
    }

    /// Finds a name, in whatever case it is written.
    pub(crate) fn find(&self, name: &Name) -> Found<'_> {
        let name = LowerName::new(name);
        if name == self.origin {
            return Found::Apex;
        }
        if !self.origin.zone_of(&name) {
            return Found::OtherZone;
        }
        self.nodes.get(&name).map_or(Found::Absent, Found::Name)
    }

    /// All A records of a node, beginning with another one each time, so that clients that take the
    /// first spread over all. `owner` is the name as the client wrote it.
    pub(crate) fn addresses(&self, owner: &Name, node: &Node) -> Vec<Record> {
        let mut addresses = node.addresses.clone();
        if addresses.len() > 1 {
            let turn = node.turn.fetch_add(1, Ordering::Relaxed) as usize;
            let shift = turn % addresses.len();
            addresses.rotate_left(shift);
        }
        self.records(owner, &addresses)
    }

    fn records(&self, owner: &Name, addresses: &[Ipv4Addr]) -> Vec<Record> {
        addresses
            .iter()
            .map(|address| {
                Record::from_rdata(owner.clone(), self.contents.ttl_s, RData::A(A(*address)))
            })
            .collect()
    }
}

/// Makes the node of every name that exists below the origin.
fn lay_out(
    contents: &ZoneContents,
    origin: &Name,
    name_server: &Name,
) -> Result<HashMap<LowerName, Node>, ZoneError> {
    let apex = LowerName::new(origin);
    let name_server = LowerName::new(name_server);
    let mut nodes = HashMap::new();
    nodes.insert(name_server.clone(), node(contents, &contents.name_server));
    for (relative, addresses) in &contents.records {
        let name = LowerName::new(&name_of(relative, origin, &contents.origin)?);
        if name == name_server {
            return Err(ZoneError::ReservedName {
                origin: contents.origin.clone(),
            });
        }
        let mut ancestor = name.base_name();
        while ancestor != apex {
            let above = ancestor.base_name();
            nodes.entry(ancestor).or_default();
            ancestor = above;
        }
        nodes.insert(name, node(contents, addresses));
    }
    Ok(nodes)
}

/// A node whose first turn differs from generation to generation: were it always 0, frequent
/// publishing would send every client to the same address.
fn node<'a>(contents: &ZoneContents, addresses: impl IntoIterator<Item = &'a Ipv4Addr>) -> Node {
    Node {
        addresses: addresses.into_iter().copied().collect(),
        turn: AtomicU32::new(contents.serial),
    }
}

/// The name `relative` below `parent`.
fn name_of(relative: &str, parent: &Name, origin: &str) -> Result<Name, ZoneError> {
    let invalid = || ZoneError::InvalidName {
        origin: origin.to_owned(),
        name: relative.to_owned(),
    };
    if !relative.split('.').all(is_label) {
        return Err(invalid());
    }
    let name = Name::from_labels(relative.split('.').map(str::as_bytes)).map_err(|_| invalid())?;
    let mut name = name.append_name(parent).map_err(|_| invalid())?;
    name.set_fqdn(true);
    Ok(name)
}

/// Names are compared without regard to case, so two spellings of one would be one name with two sets
/// of addresses: only lower case is allowed.
fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_LENGTH).contains(&label.len())
        && label
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(records: &[&str]) -> ZoneContents {
        ZoneContents {
            origin: "lb.evenkeel.test".to_owned(),
            serial: 1,
            ttl_s: 1,
            negative_ttl_s: 1,
            name_server: vec![Ipv4Addr::LOCALHOST],
            records: records
                .iter()
                .map(|name| ((*name).to_owned(), BTreeSet::from([Ipv4Addr::LOCALHOST])))
                .collect(),
        }
    }

    #[test]
    fn contents_that_cannot_be_served_are_refused_with_the_name_at_fault() {
        let long = "x".repeat(64);
        let deep = ["y"; 130].join(".");
        for name in [
            "", ".", "a.", ".a", "a..b", "*", "A", "a b", "ä", &long, &deep,
        ] {
            let error = Zone::new(contents(&[name])).unwrap_err();
            let expected = ZoneError::InvalidName {
                origin: "lb.evenkeel.test".to_owned(),
                name: name.to_owned(),
            };
            assert_eq!(error, expected);
        }
        assert!(matches!(
            Zone::new(contents(&["ns"])),
            Err(ZoneError::ReservedName { .. })
        ));
        let mut nameless = contents(&[]);
        nameless.name_server.clear();
        assert!(matches!(
            Zone::new(nameless),
            Err(ZoneError::NoNameServer { .. })
        ));
        let mut rootless = contents(&[]);
        rootless.origin.clear();
        assert!(matches!(
            Zone::new(rootless),
            Err(ZoneError::InvalidName { .. })
        ));
    }

    #[test]
    fn a_name_above_a_record_exists_whichever_of_the_two_comes_first() {
        let zone = Zone::new(contents(&["a.b", "b", "z.y.x"])).unwrap();
        for (relative, addresses) in [("a.b", 1), ("b", 1), ("x", 0), ("y.x", 0), ("z.y.x", 1)] {
            let name = Name::from_ascii(format!("{relative}.LB.evenkeel.test.")).unwrap();
            match zone.find(&name) {
                Found::Name(node) => assert_eq!(node.addresses.len(), addresses, "{relative}"),
                _ => panic!("{relative} does not exist"),
            }
        }
    }
}
