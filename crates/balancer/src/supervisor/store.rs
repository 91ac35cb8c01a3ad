//! What a supervisor keeps for the balancer that comes next: descriptors under names. It looks into none.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

use super::link::Link;
use super::message::Message;

/// Names under which something is kept.
const MOST_NAMES: usize = 16;

/// What is kept.
#[derive(Debug, Default)]
pub struct Store(BTreeMap<String, Vec<OwnedFd>>);

impl Store {
    /// Keeps descriptors in the place of those before; none to keep nothing. Says whether there was room.
    pub fn keep(&mut self, name: String, descriptors: Vec<OwnedFd>) -> bool {
        if descriptors.is_empty() {
            self.0.remove(&name);
            return true;
        }
        let room = self.0.len() < MOST_NAMES || self.0.contains_key(&name);
        if room {
            self.0.insert(name, descriptors);
        }
        room
    }

    /// Hands everything over; it stays here as well.
    ///
    /// # Errors
    /// When the other side does not take it.
    pub fn hand_over(&self, link: &Link) -> Result<(), Errno> {
        for (name, descriptors) in &self.0 {
            let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            link.send(&Message::Keep(name.clone()), &descriptors)?;
        }
        link.send(&Message::Begin, &[])
    }

    /// Keeps nothing any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Bytes as a descriptor: a file that is nowhere but in memory.
///
/// # Errors
/// When the kernel gives no memory.
pub fn descriptor_of(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes)?;
    Ok(file.into())
}

/// The bytes of [`descriptor_of`], however often and by whomever they were read before.
///
/// # Errors
/// When it is another kind of descriptor.
pub fn bytes_of(descriptor: OwnedFd) -> io::Result<Vec<u8>> {
    let file = std::fs::File::from(descriptor);
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::link::Found;

    #[test]
    fn what_was_kept_last_is_handed_over_as_often_as_asked() {
        let mut store = Store::default();
        for text in ["old", "new"] {
            let kept = descriptor_of("config", text.as_bytes()).unwrap();
            assert!(store.keep("config".to_owned(), vec![kept]));
        }
        for _ in 0..2 {
            let (near, far) = Link::pair().unwrap();
            store.hand_over(&near).unwrap();
            let Ok(Found::Packet(Message::Keep(name), mut descriptors)) = far.receive() else {
                panic!("nothing was handed over");
            };
            assert_eq!(name, "config");
            assert_eq!(bytes_of(descriptors.pop().unwrap()).unwrap(), b"new");
            assert!(matches!(
                far.receive(),
                Ok(Found::Packet(Message::Begin, _))
            ));
        }
        store.keep("config".to_owned(), Vec::new());
        assert!(store.0.is_empty());
    }

    #[test]
    fn names_have_a_bound() {
        let mut store = Store::default();
        let mut keep = |name: usize| {
            let kept = descriptor_of("x", b"").unwrap();
            store.keep(name.to_string(), vec![kept])
        };
        assert!((0..MOST_NAMES).all(&mut keep));
        assert!(!keep(MOST_NAMES));
        assert!(keep(0), "a known name is renewed");
    }
}
