//! What a link shows of itself.

use model::Mac;
use rtnetlink::packet_route::link::{
    BridgePortState, InfoBridgePort, InfoKind, InfoPortData, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};

/// One link as the kernel shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// The bridge (or bond) that it is a port of.
    pub(crate) master: Option<u32>,
    /// For a veth, its peer's index in the peer's namespace.
    pub(crate) peer: Option<u32>,
    pub(crate) mac: Option<Mac>,
    /// What somebody wrote on it.
    pub(crate) alias: Option<String>,
    pub(crate) is_bridge: bool,
    pub(crate) is_loopback: bool,
    /// Somebody wants it to be up.
    pub(crate) is_up: bool,
    /// Its far side is there: a veth's peer is up, a tap is held.
    pub(crate) has_carrier: bool,
    /// A bridge's port that exchanges frames with no other isolated one.
    pub(crate) is_isolated: bool,
    /// A bridge's port that passes frames.
    pub(crate) is_forwarding: bool,
}

impl Link {
    pub(super) fn read(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            master: None,
            peer: None,
            mac: None,
            alias: None,
            is_bridge: false,
            is_loopback: message.header.flags.contains(LinkFlags::Loopback),
            is_up: message.header.flags.contains(LinkFlags::Up),
            has_carrier: message.header.flags.contains(LinkFlags::LowerUp),
            is_isolated: false,
            is_forwarding: false,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
                LinkAttribute::Controller(index) => link.master = Some(*index),
                LinkAttribute::Link(index) => link.peer = Some(*index),
                LinkAttribute::Address(bytes) => {
                    link.mac = bytes.as_slice().try_into().ok().map(Mac)
                }
                LinkAttribute::LinkInfo(infos) => {
                    link.is_bridge = infos.contains(&LinkInfo::Kind(InfoKind::Bridge));
                    let forwarding = InfoBridgePort::State(BridgePortState::Forwarding);
                    link.is_forwarding = is_port_with(infos, &forwarding);
                    link.is_isolated = is_port_with(infos, &InfoBridgePort::Isolated(true));
                }
                _ => {}
            }
        }
        link
    }
}

fn is_port_with(infos: &[LinkInfo], property: &InfoBridgePort) -> bool {
    infos.iter().any(|info| {
        matches!(info, LinkInfo::PortData(InfoPortData::BridgePort(data)) if data.contains(property))
    })
}
