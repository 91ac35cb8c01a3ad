//! Tap devices, as QEMU wants them.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::names::MAX_LINK_NAME;

/// Where taps come from.
const TUN: &str = "/dev/net/tun";

/// Makes a tap of this name in the namespace of the calling thread and returns its far side.
///
/// It is not persistent: it vanishes with the last copy of the descriptor, so that a dead VM leaves no
/// tap behind. The descriptor is close-on-exec.
///
/// # Errors
/// The kernel's own, with the reason in words where the device file is missing.
pub(crate) fn open(name: &str) -> io::Result<OwnedFd> {
    let file = File::options()
        .read(true)
        .write(true)
        .open(TUN)
        .map_err(|e| io::Error::new(e.kind(), format!("{TUN}: {e} (is the tun module there?)")))?;
    let mut request = request(name)?;
    // SAFETY: the descriptor is open, and `request` is a whole `ifreq` that outlives the call.
    let outcome = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    match outcome {
        0 => Ok(file.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `IFF_VNET_HDR` lets the guest and the host pass large segments and checksums to each other
/// unfinished, which is most of a tap's speed.
fn request(name: &str) -> io::Result<libc::ifreq> {
    if name.len() > MAX_LINK_NAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{name}` is longer than the {MAX_LINK_NAME} characters of a link's name"),
        ));
    }
    // SAFETY: `ifreq` is plain C data, for which zero bytes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    Ok(request)
}
