//! Gives the NICs their addresses and routes, by the ioctls of netdevice(7): a static IPv4 address and
//! a default route need no more.

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use model::{Boot, BootNic, Mac, STAND_IN_MACS};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::error::InitError;

/// Where the kernel lists NICs.
const NICS: &str = "/sys/class/net";

/// How long after its driver was loaded a NIC may take to appear.
const NIC_DEADLINE: Duration = Duration::from_secs(10);

/// Between two looks for it.
const NIC_PAUSE: Duration = Duration::from_millis(2);

/// What differs from the kernel's defaults.
const SETTINGS: [(&str, &str); 5] = [
    // Each NIC answers for its own address only, and takes nothing that belongs to the other side.
    ("conf/all/arp_ignore", "1"),
    ("conf/all/arp_announce", "2"),
    ("conf/all/rp_filter", "1"),
    // A balancer is client of few servers: it needs many ports, and soon again.
    ("ip_local_port_range", "10240 65535"),
    ("tcp_tw_reuse", "1"),
];

/// Brings up the loopback and both NICs.
pub(super) fn configure(boot: &Boot) -> Result<(), InitError> {
    for (name, value) in SETTINGS {
        let path = format!("/proc/sys/net/ipv4/{name}");
        fs::write(&path, value).map_err(InitError::system(format!("write {path}")))?;
    }
    bring_up_loopback()?;
    let interfaces = Interfaces::open()?;
    let [front, tenant] = STAND_IN_MACS;
    // Lower metrics are preferred: clients first.
    for (nic, stand_in, metric) in [(&boot.front, front, 0), (&boot.tenant, tenant, 1)] {
        let name = match find_nic(nic.mac, stand_in)? {
            Found::Own(name) => name,
            Found::StandIn(name) => {
                let action = format!("give {} to {name}", nic.mac);
                let given = interfaces.set_mac(&name, nic.mac);
                given.map_err(InitError::system(action))?;
                name
            }
        };
        interfaces
            .set_up(&name, nic, metric)
            .map_err(InitError::system(format!("give {} to {name}", nic.address)))?;
    }
    Ok(())
}

/// Brings up the loopback alone, again or for the first time.
pub(super) fn bring_up_loopback() -> Result<(), InitError> {
    let interfaces = Interfaces::open()?;
    let brought = interfaces.bring_up("lo");
    brought.map_err(InitError::system("bring up lo"))
}

/// A NIC by its name.
enum Found {
    /// It has its MAC.
    Own(String),
    /// It is still to be given its MAC.
    StandIn(String),
}

fn find_nic(mac: Mac, stand_in: Mac) -> Result<Found, InitError> {
    let start = Instant::now();
    while start.elapsed() < NIC_DEADLINE {
        let nics = Path::new(NICS);
        let own = named_nic(nics, mac).map(Found::Own);
        if let Some(found) = own.or_else(|| named_nic(nics, stand_in).map(Found::StandIn)) {
            return Ok(found);
        }
        sleep(NIC_PAUSE);
    }
    Err(InitError::Missing(format!("the machine has no NIC {mac}")))
}

fn named_nic(nics: &Path, mac: Mac) -> Option<String> {
    let entries = fs::read_dir(nics).ok()?;
    entries.flatten().find_map(|entry| {
        let address = fs::read_to_string(entry.path().join("address")).ok()?;
        let found = address.trim_end().parse() == Ok(mac);
        found.then(|| entry.file_name().into_string().ok())?
    })
}

/// A socket through which interfaces are configured.
struct Interfaces {
    socket: OwnedFd,
}

impl Interfaces {
    fn open() -> Result<Self, InitError> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None);
        let socket = socket.map_err(InitError::system("make a socket for the NICs"))?;
        Ok(Self { socket })
    }

    fn set_up(&self, name: &str, nic: &BootNic, metric: i16) -> io::Result<()> {
        let mut request = request(name)?;
        request.ifr_ifru.ifru_addr = address(nic.address);
        self.control(libc::SIOCSIFADDR, &raw mut request)?;
        request.ifr_ifru.ifru_netmask = address(netmask(nic.prefix));
        self.control(libc::SIOCSIFNETMASK, &raw mut request)?;
        self.bring_up(name)?;
        match nic.gateway {
            Some(gateway) => self.add_default_route(gateway, metric),
            None => Ok(()),
        }
    }

    /// virtio-net passes this on to the host, which from then on lets frames for that MAC in.
    fn set_mac(&self, name: &str, mac: Mac) -> io::Result<()> {
        let mut request = request(name)?;
        let mut data = [0; 14];
        for (place, octet) in data.iter_mut().zip(mac.0) {
            *place = octet as libc::c_char;
        }
        request.ifr_ifru.ifru_hwaddr = libc::sockaddr {
            sa_family: libc::ARPHRD_ETHER,
            sa_data: data,
        };
        self.control(libc::SIOCSIFHWADDR, &raw mut request)
    }

    fn bring_up(&self, name: &str) -> io::Result<()> {
        let mut request = request(name)?;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        self.control(libc::SIOCSIFFLAGS, &raw mut request)
    }

    fn add_default_route(&self, gateway: Ipv4Addr, metric: i16) -> io::Result<()> {
        // SAFETY: a `rtentry` of zeroes is a valid one: numbers, and null pointers that mean "none".
        let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
        route.rt_dst = address(Ipv4Addr::UNSPECIFIED);
        route.rt_genmask = address(Ipv4Addr::UNSPECIFIED);
        route.rt_gateway = address(gateway);
        route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
        // The kernel takes one off: 0 there means that none was given.
        route.rt_metric = metric + 1;
        self.control(libc::SIOCADDRT, &raw mut route)
    }

    fn control<T>(&self, request: libc::c_ulong, argument: *mut T) -> io::Result<()> {
        // SAFETY: every caller passes the structure that its request takes, alive and writable.
        match unsafe { libc::ioctl(self.socket.as_raw_fd(), request as _, argument) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// A request about the interface `name`.
fn request(name: &str) -> io::Result<libc::ifreq> {
    let name = CString::new(name)?;
    // SAFETY: an `ifreq` of zeroes is a valid one: numbers and a union of numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.as_bytes_with_nul().len() > request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.as_bytes_with_nul()) {
        *place = *byte as libc::c_char;
    }
    Ok(request)
}

/// The address in the form of the ioctls: a `sockaddr_in` within a `sockaddr`.
fn address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    let (_port, rest) = data.split_at_mut(2);
    for (place, octet) in rest.iter_mut().zip(address.octets()) {
        *place = octet as libc::c_char;
    }
    libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: data,
    }
}

fn netmask(prefix: u8) -> Ipv4Addr {
    let host_bits = 32 - u32::from(prefix.min(32));
    Ipv4Addr::from(u32::MAX.checked_shl(host_bits).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_becomes_a_netmask() {
        for (prefix, mask) in [
            (0, "0.0.0.0"),
            (8, "255.0.0.0"),
            (16, "255.255.0.0"),
            (24, "255.255.255.0"),
            (31, "255.255.255.254"),
            (32, "255.255.255.255"),
        ] {
            assert_eq!(netmask(prefix).to_string(), mask);
        }
    }

    #[test]
    fn an_address_lies_where_sockaddr_in_has_it() {
        let plain = address(Ipv4Addr::new(10, 200, 0, 5));
        assert_eq!(plain.sa_family, 2);
        assert_eq!(plain.sa_data[..6], [0, 0, 10, -56, 0, 5]);
    }

    #[test]
    fn a_nic_is_found_by_its_mac() {
        let nics = std::env::temp_dir().join(format!("evenkeel-nics-{}", std::process::id()));
        for (nic, mac) in [
            ("lo", "00:00:00:00:00:00\n"),
            ("eth1", "02:00:0a:c8:00:05\n"),
        ] {
            fs::create_dir_all(nics.join(nic)).unwrap();
            fs::write(nics.join(nic).join("address"), mac).unwrap();
        }
        let found = named_nic(&nics, Mac([2, 0, 10, 200, 0, 5]));
        let other = named_nic(&nics, Mac([2, 0, 10, 200, 0, 6]));
        fs::remove_dir_all(&nics).unwrap();
        assert_eq!(found.as_deref(), Some("eth1"));
        assert_eq!(other, None);
    }
}
