//! Why the door cannot be opened, or closed early.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The door does not stand open.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The address is not on loopback, where alone callers can be told apart.
    #[error(
        "{address} is no loopback address: listen on 127.0.0.1 or [::1], and forward from elsewhere with ssh -L"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// Another program listens there.
    #[error("{address} is in use by another program: stop it, or listen on another port")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// Another process answers on the unix socket.
    #[error("the socket {path} is in use: another Evenkeel runs; stop it, or name another socket", path = path.display())]
    SocketInUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// There is a file that is no socket where the unix socket is to be.
    #[error("{path} exists and is no socket: move it away, or name another path", path = path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused for another reason.
    #[error("cannot listen on {what}: {source}; see that it exists and may be used by this user")]
    Bind {
        /// The address or path.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A task of the server ended early: a mistake of this program.
    #[error("a task of the server ended early: {0}")]
    Task(#[source] tokio::task::JoinError),
}
