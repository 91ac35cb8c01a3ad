//! The user's own servers, in a network namespace that is plugged into a subnet.

use std::path::PathBuf;

use crate::{Host, Running, eventually};

/// Servers with addresses on one cable, whose other end is an interface of the host.
pub struct Servers<'h> {
    host: &'h Host,
    namespace: String,
    /// The host's end of the cable, to be attached to a subnet.
    pub interface: String,
}

impl<'h> Servers<'h> {
    /// A cable named `name` (up to ten characters), with these addresses (`1.1.1.10/24`) at its far end.
    #[must_use]
    pub fn new(host: &'h Host, name: &str, addresses: &[&str]) -> Self {
        let (namespace, interface) = (format!("{name}-net"), name.to_owned());
        host.shell(&format!(
            "ip netns add {namespace} && ip -n {namespace} link set lo up && \
             ip link add {interface} type veth peer name eth0 netns {namespace} && \
             ip -n {namespace} link set eth0 up && ip link set {interface} up"
        ));
        for address in addresses {
            host.shell(&format!("ip -n {namespace} address add {address} dev eth0"));
        }
        Self {
            host,
            namespace,
            interface,
        }
    }

    /// Starts an HTTP server that answers with its own name.
    pub fn http(&self, name: &str, address: &str) -> Running<'h> {
        self.start(name, address, "http")
    }

    /// Starts a TCP server that greets with its own name and then echoes.
    pub fn tcp(&self, name: &str, address: &str) -> Running<'h> {
        self.start(name, address, "tcp")
    }

    /// Runs a line of shell among the servers.
    pub fn shell(&self, line: &str) -> String {
        self.host
            .shell(&format!("ip netns exec {} {line}", self.namespace))
    }

    fn start(&self, name: &str, address: &str, kind: &str) -> Running<'h> {
        let origin = program_of_this_package("origin");
        let origin = origin.to_str().expect("the build's path is text");
        let running = self.host.start(
            name,
            "ip",
            &[
                "netns",
                "exec",
                &self.namespace,
                origin,
                kind,
                name,
                address,
            ],
        );
        eventually("the server listens", || {
            let listening = self.shell("ss -Hltn");
            if listening.contains(address) {
                Ok(())
            } else {
                Err(listening)
            }
        });
        running
    }
}

/// A program of this package. Cargo builds it into the directory of programs, which is above that of
/// tests.
#[must_use]
pub fn program_of_this_package(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program is a file");
    let directories = own.ancestors().skip(1);
    let mut found = directories
        .map(|directory| directory.join(name))
        .filter(|program| program.is_file());
    found
        .next()
        .expect("`cargo build --package end-to-end` makes this package's programs")
}
