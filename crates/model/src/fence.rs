//! How the checker is told from everybody else.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The mark (`SO_MARK`) on the sockets of the checker's probes, by which the host's rules tell them from all
/// other traffic to a VM that is fenced. Only a process with `CAP_NET_ADMIN` or `CAP_NET_RAW` can set it, and
/// it never leaves the machine.
///
/// `ek` and a one: apart from the bits that container networks and VPNs are known to use alone (0x4000, 0x8000,
/// 0x40000, 0x80000), and compared as a whole.
pub const CHECKER_MARK: u32 = 0x656b_0001;

/// The address in the front network from which checkers on this machine ask, and nobody else: the last that a host can
/// have, or the one before it where that is the machine's own. VMs know their questions by it. The machine's rules hold
/// it to sockets with [`CHECKER_MARK`], and no VM is given it.
///
/// None in a network of fewer than eight addresses, which has none to spare.
#[must_use]
pub fn checker_address(front: Ipv4Net) -> Option<Ipv4Addr> {
    let last = u32::from(front.broadcast()).checked_sub(1)?;
    let own = Ipv4Addr::from(last) == front.addr();
    (front.prefix_len() <= 29).then(|| Ipv4Addr::from(last - u32::from(own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkers_ask_from_the_last_address_that_the_machine_does_not_have() {
        for (front, address) in [
            ("10.200.0.1/16", Some([10, 200, 255, 254])),
            ("10.200.255.254/16", Some([10, 200, 255, 253])),
            ("10.200.0.1/29", Some([10, 200, 0, 6])),
            ("10.200.0.1/30", None),
            ("0.0.0.0/32", None),
        ] {
            let address = address.map(Ipv4Addr::from);
            assert_eq!(checker_address(front.parse().unwrap()), address, "{front}");
        }
    }
}
