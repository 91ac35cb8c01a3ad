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
        let origin = origin_program();
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

/// The `origin` program of this package, which Cargo builds beside the tests.
fn origin_program() -> PathBuf {
    let test = std::env::current_exe().expect("the test is a file");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("tests are in target/<profile>/deps");
    profile.join("origin")
}
