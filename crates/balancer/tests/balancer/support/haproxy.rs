//! Debian's `HAProxy`, to speak the PROXY protocol with.

use std::net::{SocketAddrV4, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::eventually;

/// A running `HAProxy`. Ends with the test.
pub struct Haproxy {
    process: Child,
    _directory: tempfile::TempDir,
}

impl Haproxy {
    /// Starts it with these sections, and waits until it listens at all these addresses.
    pub fn start(sections: &str, addresses: &[SocketAddrV4]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("haproxy.cfg");
        let defaults = "global\n nbthread 1\ndefaults\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n";
        std::fs::write(&path, format!("{defaults}{sections}")).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&path);
        command.stdin(Stdio::null());
        // SAFETY: prctl is async-signal-safe and touches no memory of the parent.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut process = command
            .spawn()
            .unwrap_or_else(|error| panic!("haproxy ({error}): run `scripts/setup checks`"));
        for address in addresses {
            eventually("haproxy listens", || {
                assert_eq!(process.try_wait().unwrap(), None, "haproxy ended");
                TcpStream::connect(address).ok()
            });
        }
        Self {
            process,
            _directory: directory,
        }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
