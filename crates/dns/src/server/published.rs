//! The place where the published generation stands.

use std::cmp::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use super::DnsError;
use crate::serial;
use crate::zone::Zone;

/// The published generation. The lock is held only to copy or to replace the pointer; comparing and
/// replacing is one step, so that of two that publish at once the newer wins in either order.
#[derive(Debug)]
pub(super) struct Published(RwLock<Arc<Zone>>);

impl Published {
    pub(super) fn new(zone: Zone) -> Self {
        Self(RwLock::new(Arc::new(zone)))
    }

    pub(super) fn current(&self) -> Arc<Zone> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Publishes `next` if it may follow what is published.
    pub(super) fn replace(&self, next: Zone) -> Result<(), DnsError> {
        let mut published = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if follows(&published, &next)? {
            *published = Arc::new(next);
        }
        Ok(())
    }
}

/// Whether `next` takes the place of `published`; not if it is the same.
fn follows(published: &Zone, next: &Zone) -> Result<bool, DnsError> {
    let (old, new) = (published.contents(), next.contents());
    if old.origin != new.origin {
        return Err(DnsError::OtherZone {
            served: old.origin.clone(),
            offered: new.origin.clone(),
        });
    }
    match serial::compare(old.serial, new.serial) {
        Some(Ordering::Less) => Ok(true),
        Some(Ordering::Equal) if old == new => Ok(false),
        Some(Ordering::Equal) => Err(DnsError::SameSerial {
            origin: old.origin.clone(),
            serial: old.serial,
        }),
        Some(Ordering::Greater) | None => Err(DnsError::OlderSerial {
            origin: old.origin.clone(),
            published: old.serial,
            offered: new.serial,
        }),
    }
}
