//! How the checker gets through where nobody else does.

/// The mark (`SO_MARK`) on the sockets of the checker's probes, by which the host's rules tell them from all
/// other traffic to a VM that is fenced. Only a process with `CAP_NET_ADMIN` or `CAP_NET_RAW` can set it, and
/// it never leaves the machine.
///
/// `ek` and a one: apart from the bits that container networks and VPNs are known to use alone (0x4000, 0x8000,
/// 0x40000, 0x80000), and compared as a whole.
pub const CHECKER_MARK: u32 = 0x656b_0001;
