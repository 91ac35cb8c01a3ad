//! Links, addresses, routes and neighbours of one namespace, over rtnetlink.
//!
//! A netlink socket speaks for the namespace in which it was opened. So it is opened on a short-lived
//! thread inside, and then used from the runtime. Every wait is bounded by [`ANSWER_WAIT`].

mod ip;
mod link;

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::TryStreamExt;
use model::Mac;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth};
use rustix::io::Errno;

pub(crate) use link::Link;

use crate::NetworkError;
use crate::error::kernel;
use crate::names::MAX_LINK_NAME;
use crate::namespace::Namespace;

/// How long the kernel may take to answer one request, or one whole dump.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Between two looks at a port that does not forward yet.
const FORWARDING_POLL: Duration = Duration::from_millis(1);

/// A connection to one namespace's rtnetlink.
pub(crate) struct Netlink {
    handle: rtnetlink::Handle,
    namespace: Namespace,
}

/// How a VM's port on the front bridge differs from an ordinary bridge port: it exchanges frames with
/// the host alone, and gets only frames for the one MAC that is known to be behind it.
pub(crate) enum PortKind {
    /// Isolated, without learning and flooding.
    Isolated,
    /// A bridge port with the kernel's defaults.
    Ordinary,
}

impl Netlink {
    /// Opens a socket inside `namespace`.
    pub(crate) async fn open(namespace: &Namespace) -> Result<Self, NetworkError> {
        let (connection, handle, _) = namespace
            .enter("open a netlink socket", rtnetlink::new_connection)
            .await?;
        // Ends by itself when the last handle is dropped.
        tokio::spawn(connection);
        Ok(Self {
            handle,
            namespace: namespace.clone(),
        })
    }

    /// The link of this name.
    pub(crate) async fn link(&self, name: &str) -> Result<Option<Link>, NetworkError> {
        if name.is_empty() || name.len() > MAX_LINK_NAME {
            return Ok(None);
        }
        let mut answer = self.handle.link().get().match_name(name).execute();
        let found = self
            .bounded(format!("look up link {name}"), answer.try_next())
            .await;
        match found {
            Ok(message) => Ok(message.map(|m| Link::read(&m))),
            Err(e) if is(&e, Errno::NODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Every link, in the order of the kernel.
    pub(crate) async fn links(&self) -> Result<Vec<Link>, NetworkError> {
        let answer = self.handle.link().get().execute();
        let messages: Vec<LinkMessage> = self
            .bounded("list links".into(), answer.try_collect())
            .await?;
        Ok(messages.iter().map(Link::read).collect())
    }

    /// A bridge of this name that is up and has exactly this MAC. Without a pinned one a bridge takes
    /// the lowest of its ports', and changes it under its neighbours as ports come and go.
    pub(crate) async fn ensure_bridge(&self, name: &str, mac: Mac) -> Result<Link, NetworkError> {
        let link = match self.link(name).await? {
            Some(link) => link,
            None => {
                let message = LinkBridge::new(name)
                    .address(mac.0.to_vec())
                    .mcast_snooping(false)
                    .build();
                self.done(
                    format!("make bridge {name}"),
                    self.handle.link().add(message).execute(),
                )
                .await?;
                self.existing_link(name).await?
            }
        };
        if !link.is_bridge {
            return Err(kernel(format!("make bridge {name} in {}", self.namespace))(
                io::Error::other("a link that is no bridge has this name: remove or rename it"),
            ));
        }
        self.bring_up(&link, Some(mac)).await?;
        Ok(link)
    }

    /// The link of this name, whose absence is an error.
    pub(crate) async fn existing_link(&self, name: &str) -> Result<Link, NetworkError> {
        self.link(name).await?.ok_or_else(|| {
            kernel(format!("find link {name} in {}", self.namespace))(Errno::NODEV.into())
        })
    }

    /// Makes a veth pair at once with one end here and the other, named and addressed, in `peer_namespace`.
    /// One message makes both, so no crash can leave an end behind in the wrong namespace.
    pub(crate) async fn add_veth(
        &self,
        name: &str,
        peer: &str,
        peer_mac: Mac,
        peer_namespace: &Namespace,
    ) -> Result<(), NetworkError> {
        let peer_message = LinkMessageBuilder::<LinkUnspec>::new()
            .name(peer)
            .address(peer_mac.0.to_vec())
            .setns_by_fd(peer_namespace.raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer_message)))
            .build();
        self.done(
            format!("make veth {name} with its peer {peer} in {peer_namespace}"),
            self.handle.link().add(message).execute(),
        )
        .await
    }

    /// Makes `link` a port of `bridge`, and up. A port of another bridge changes over.
    pub(crate) async fn enslave(
        &self,
        link: &Link,
        bridge: &Link,
        kind: PortKind,
    ) -> Result<(), NetworkError> {
        let action = format!("make {} a port of {}", link.name, bridge.name);
        if link.master != Some(bridge.index) {
            let message = LinkMessageBuilder::<LinkUnspec>::new()
                .index(link.index)
                .controller(bridge.index)
                .build();
            self.change(action.clone(), message).await?;
        }
        // The port's flags are set before it is brought up: it is never a port without them.
        let port = LinkBridgePort::new(link.index).up();
        let message = match kind {
            PortKind::Isolated => port.isolated(true).learning(false).flood(false),
            PortKind::Ordinary => port.isolated(false).learning(true).flood(true),
        };
        self.change(action, message.build()).await
    }

    /// Waits until a bridge passes the frames of its port `name`. It begins to a moment after the far end is
    /// up, when the kernel's work queue gets to it; an ARP request that is sent before is lost, and the
    /// next one follows after a second.
    pub(crate) async fn wait_until_forwarding(&self, name: &str) -> Result<(), NetworkError> {
        let wait = async {
            while !self.existing_link(name).await?.is_forwarding {
                tokio::time::sleep(FORWARDING_POLL).await;
            }
            Ok(())
        };
        match tokio::time::timeout(ANSWER_WAIT, wait).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NetworkError::TimedOut {
                action: format!("see port {name} forward in {}", self.namespace),
                after: ANSWER_WAIT,
            }),
        }
    }

    /// Takes a link out of its bridge and puts it into another namespace, down. `name` may contain `%d`,
    /// for which the kernel puts in the lowest number that makes it unique.
    pub(crate) async fn move_link(
        &self,
        link: &Link,
        name: &str,
        namespace: &Namespace,
    ) -> Result<(), NetworkError> {
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(link.index)
            .name(name)
            .setns_by_fd(namespace.raw_fd())
            .build();
        self.change(format!("move {} to {namespace}", link.name), message)
            .await
    }

    /// Deletes a link. Fine when absent.
    pub(crate) async fn delete(&self, link: &Link) -> Result<(), NetworkError> {
        let deletion = self.handle.link().del(link.index).execute();
        absent_is_fine(
            self.done(format!("delete link {}", link.name), deletion)
                .await,
        )
    }

    /// Deletes the link of this name. Fine when absent.
    pub(crate) async fn delete_by_name(&self, name: &str) -> Result<(), NetworkError> {
        match self.link(name).await? {
            Some(link) => self.delete(&link).await,
            None => Ok(()),
        }
    }

    /// Brings a link up, with this MAC where one is given. One that it has already is not set again: that
    /// would make the kernel forget all neighbours on the link, permanent ones too.
    pub(crate) async fn bring_up(&self, link: &Link, mac: Option<Mac>) -> Result<(), NetworkError> {
        let builder = LinkMessageBuilder::<LinkUnspec>::new().index(link.index);
        let builder = match mac {
            Some(mac) if link.mac != Some(mac) => builder.address(mac.0.to_vec()),
            _ => builder,
        };
        self.change(format!("bring {} up", link.name), builder.up().build())
            .await
    }

    /// Writes `alias` on a link, for people and programs to read.
    pub(crate) async fn label(&self, link: &Link, alias: &str) -> Result<(), NetworkError> {
        let mut message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(link.index)
            .build();
        let alias = LinkAttribute::IfAlias(alias.to_owned());
        message.attributes.push(alias);
        self.change(format!("label {}", link.name), message).await
    }

    async fn change(&self, action: String, message: LinkMessage) -> Result<(), NetworkError> {
        self.done(action, self.handle.link().change(message).execute())
            .await
    }

    /// A request that changes something.
    async fn done(
        &self,
        action: String,
        answer: impl Future<Output = Result<(), rtnetlink::Error>>,
    ) -> Result<(), NetworkError> {
        let outcome = self.bounded(action.clone(), answer).await;
        tracing::trace!(target: model::STEP, "network: {action}");
        outcome
    }

    async fn bounded<T>(
        &self,
        action: String,
        answer: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, NetworkError> {
        let result = tokio::time::timeout(ANSWER_WAIT, answer).await;
        let action = format!("{action} in {}", self.namespace);
        match result {
            Ok(answer) => answer.map_err(|e| kernel(action)(into_io(&e))),
            Err(_) => Err(NetworkError::TimedOut {
                action,
                after: ANSWER_WAIT,
            }),
        }
    }
}

/// Whether the kernel refused with this error.
pub(crate) fn is(error: &NetworkError, errno: Errno) -> bool {
    matches!(error, NetworkError::Kernel { source, .. }
        if source.raw_os_error() == Some(errno.raw_os_error()))
}

fn absent_is_fine(result: Result<(), NetworkError>) -> Result<(), NetworkError> {
    match result {
        Err(e) if is(&e, Errno::NODEV) || is(&e, Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn into_io(error: &rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
