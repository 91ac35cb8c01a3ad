//! The rules that are there whatever VMs there are.

use model::CHECKER_MARK;

use super::chains::Chains;
use super::{Firewall, Side};

impl Firewall {
    /// Ports of one side say only what their chains allow, and the fenced ones nothing.
    ///
    /// A port of the front goes on to hear ARP and the checker, whose mark a frame still has that comes from
    /// the host itself, and to speak to the host, which sees to whom ([`Self::front_guard`]). What is on the
    /// front bridge beside the host, which nothing of ours is, hears nothing of it.
    ///
    /// What comes from the checkers' address is exempt from what VMs do with clients, so it is held to the mark,
    /// whether a program of the host sent it, a machine on the bridge, or somebody whose packets the host passes on.
    pub(super) fn port_guard(&self, side: Side) -> Chains {
        let ports = format!("iifname \"{}*\" goto from_vm", self.port_prefix(side));
        let by_port = ["iifname vmap @ports".to_owned(), "drop".to_owned()];
        let deaf = "oifname @fenced drop".to_owned();
        let mute = "iifname @fenced drop".to_owned();
        let chains = Chains::of(self.bridge_table())
            .set("map", "ports", "ifname : verdict")
            .set("set", "fenced", "ifname")
            .chain("from_vm", None, &by_port);
        match side {
            Side::Front => {
                let all_but_the_checker =
                    format!("oifname @fenced ether type != arp meta mark != {CHECKER_MARK} drop");
                let forged = self.checker.map(|address| {
                    let to = self.port_prefix(side);
                    format!("oifname \"{to}*\" ip saddr {address} meta mark != {CHECKER_MARK} drop")
                });
                let to_vms: Vec<String> = forged.into_iter().chain([all_but_the_checker]).collect();
                chains
                    .chain("prerouting", Some(BEFORE), &[ports])
                    .chain("forward", Some("forward priority 0"), &[mute])
                    .chain("postrouting", Some(AFTER), &to_vms)
            }
            Side::Tenant => chains
                .chain("prerouting", Some(BEFORE), &[mute, ports])
                .chain("postrouting", Some(AFTER), &[deaf]),
        }
    }

    /// What comes from the front bridge, and therefore from a VM, may answer and may not ask: neither the
    /// host nor, through it, anyone else. Nothing goes back to the bridge, so not to another VM. One thing it may
    /// say unasked: its figures, to the monitor's port alone.
    ///
    /// A fenced VM's packets reach no socket of the host but the checker's, which the kernel finds as it will
    /// when it delivers them: that is exact, and takes no connection tracking and no reserved ports. Whoever
    /// else still sends to the VM is reset, so that he turns to another address at once.
    pub(super) fn front_guard(&self, front_bridge: &str) -> Chains {
        let answer = "tcp flags & (syn | ack) != syn";
        let from = format!("iifname \"{front_bridge}\"");
        let to = format!("oifname \"{front_bridge}\"");
        let figures = self.figures.map(|monitor| {
            let (address, port) = (monitor.ip(), monitor.port());
            format!("{from} ip daddr {address} udp dport {port} accept")
        });
        let fenced = format!("{from} ip saddr @fenced goto from_fenced");
        let input: Vec<String> = std::iter::once(fenced)
            .chain(figures)
            .chain(std::iter::once(format!("{from} goto replies")))
            .collect();
        let rules = |rules: &[&str]| {
            rules
                .iter()
                .map(|&rule| rule.to_owned())
                .collect::<Vec<_>>()
        };
        Chains::of(self.inet_table())
            .set("set", "fenced", "ipv4_addr")
            .chain(
                "replies",
                None,
                &rules(&[
                    &format!("meta nfproto ipv4 {answer} accept"),
                    "icmp type { echo-reply, destination-unreachable, time-exceeded } accept",
                    "drop",
                ]),
            )
            .chain(
                "from_fenced",
                None,
                &rules(&[
                    &format!("{answer} socket mark {CHECKER_MARK} accept"),
                    "drop",
                ]),
            )
            .chain(
                "to_fenced",
                None,
                &rules(&["meta l4proto tcp reject with tcp reset", "drop"]),
            )
            .chain("input", Some("input priority filter"), &input)
            .chain(
                "forward",
                Some("forward priority filter"),
                &rules(&[
                    &format!("{from} {to} drop"),
                    &format!("{from} ip saddr @fenced drop"),
                    &format!("{from} goto replies"),
                    &format!("{to} ip daddr @fenced goto to_fenced"),
                ]),
            )
            .chain(
                "output",
                Some("output priority filter"),
                &rules(&[&format!(
                    "{to} ip daddr @fenced meta mark != {CHECKER_MARK} goto to_fenced"
                )]),
            )
    }
}

/// Before anything else has looked at a frame.
const BEFORE: &str = "prerouting priority -300";
/// After everything else has.
const AFTER: &str = "postrouting priority 300";
