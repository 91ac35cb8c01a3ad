//! Where a VM's access log comes out: a port of its own beside the control channel, so that a log can never hold a
//! heartbeat up.
//!
//! QEMU gives it over a socket, to one reader at a time. A balancer under the `process` driver writes into a pipe
//! with a name, which keeps what it holds while nobody reads and can be written to by a balancer and its successor
//! alike. Either way the writer never waits: what there is no room for is dropped and counted in the VM.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use model::VmId;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::directory::Directory;

/// Makes the pipe, and opens it for the balancer: both ways, so that writing does not fail while nobody reads.
pub(crate) fn make_pipe(path: &Path) -> io::Result<OwnedFd> {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// The reader's end of a VM's access log.
#[derive(Debug)]
pub enum LogPort {
    /// Of a machine.
    Socket(UnixStream),
    /// Of a balancer under the `process` driver.
    Pipe(pipe::Receiver),
}

impl LogPort {
    /// Opens it. `vms` is the directory of all VMs. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the VM is not there, or is none that logs.
    pub async fn open(vms: &Path, vm: VmId) -> io::Result<Self> {
        let directory = Directory::of_vm(vms, vm);
        match pipe::OpenOptions::new().open_receiver(directory.log_pipe()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return Ok(Self::Pipe(opened?)),
        }
        let socket = UnixStream::connect(directory.log_socket()).await?;
        Ok(Self::Socket(socket))
    }

    /// Reads what has come, and waits until something has; nothing at the VM's end. May be broken off.
    ///
    /// # Errors
    /// Those of the socket or the pipe.
    pub async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => socket.read(into).await,
            Self::Pipe(pipe) => pipe.read(into).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_written_while_nobody_read_is_read_and_a_full_pipe_takes_no_more() {
        let vms = tempfile::tempdir().unwrap();
        let directory = Directory::of_vm(vms.path(), VmId(7));
        assert!(LogPort::open(vms.path(), VmId(7)).await.is_err());
        directory.ensure().unwrap();
        let writer = make_pipe(&directory.log_pipe()).unwrap();
        let mut written = 0;
        while let Ok(count) = rustix::io::write(&writer, &[b'x'; 4096]) {
            assert_eq!(count, 4096, "whole or not at all");
            written += count;
        }
        assert!(written >= 4096);
        for _monitor in 0..2 {
            let mut port = LogPort::open(vms.path(), VmId(7)).await.unwrap();
            let mut buffer = vec![0; written / 2];
            assert_eq!(port.read(&mut buffer).await.unwrap(), written / 2);
        }
    }
}
