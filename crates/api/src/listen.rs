//! The sockets on which requests arrive: made, checked, and taken away at the end.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::ApiError;

/// The unix socket may be used by its owner and its group.
const SOCKET_MODE: u32 = 0o660;

/// A listener on loopback.
pub(crate) async fn bind_loopback(address: SocketAddr) -> Result<TcpListener, ApiError> {
    if !address.ip().is_loopback() {
        return Err(ApiError::NotLoopback { address });
    }
    bind_tcp(address).await
}

/// A listener on any address.
pub(crate) async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, ApiError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            ErrorKind::AddrInUse => ApiError::AddressInUse { address },
            _ => ApiError::Bind {
                what: address.to_string(),
                source,
            },
        })
}

/// A unix socket whose file goes with it.
#[derive(Debug)]
pub(crate) struct Socket {
    pub listener: UnixListener,
    pub file: SocketFile,
}

/// The file of a socket that this process made. One that somebody put in its place stays.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket's file stays behind");
        }
    }
}

/// A listener on the unix socket. A file that a dead process left there is taken away first; where
/// somebody answers, or the file is no socket, it is left alone.
pub(crate) async fn bind_unix(path: &Path) -> Result<Socket, ApiError> {
    let failed = |source| ApiError::Bind {
        what: path.display().to_string(),
        source,
    };
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_stale(path).await?;
            UnixListener::bind(path).map_err(failed)?
        }
        outcome => outcome.map_err(failed)?,
    };
    let inode = std::fs::symlink_metadata(path).map_err(failed)?.ino();
    let file = SocketFile {
        path: path.to_owned(),
        inode,
    };
    let mode = std::fs::Permissions::from_mode(SOCKET_MODE);
    std::fs::set_permissions(path, mode).map_err(failed)?;
    Ok(Socket { listener, file })
}

async fn remove_stale(path: &Path) -> Result<(), ApiError> {
    let in_use = || ApiError::SocketInUse {
        path: path.to_owned(),
    };
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if !is_socket {
        return Err(ApiError::NotASocket {
            path: path.to_owned(),
        });
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .map_err(|source| ApiError::Bind {
                what: path.display().to_string(),
                source,
            }),
        Ok(_) | Err(_) => Err(in_use()),
    }
}
