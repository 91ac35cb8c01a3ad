//! The place in the status store where a checker, or the monitor, tells what it sees: a name, held by a lease.

use std::time::Duration;

use serde::Serialize;
use store::{LeaseId, Outcome, Revision, Store, StoreError, Transaction};

/// What came of telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is known.
    Stands,
    /// Another one tells under this name.
    NameTaken,
}

/// Where one of its kind tells what it sees, a `T`. Whoever takes a name first has it, for as long as it keeps
/// telling.
pub(super) struct Place<T> {
    status: Store,
    key: String,
    ttl: Duration,
    held: Option<Held<T>>,
}

struct Held<T> {
    lease: LeaseId,
    written: Revision,
    told: T,
}

impl<T: PartialEq + Serialize> Place<T> {
    /// A place that is not taken yet. What is told there is forgotten after `ttl` of silence.
    pub(super) fn new(status: Store, key: String, ttl: Duration) -> Self {
        Self {
            status,
            key,
            ttl,
            held: None,
        }
    }

    /// Tells what is seen, or, where nothing has changed, that it still holds. To be called several times in
    /// the lease's time.
    ///
    /// # Errors
    /// [`StoreError`]; the next call tries again.
    pub(super) fn tell(&mut self, seen: T) -> Result<Told, StoreError> {
        self.tell_where(seen, |told, seen| told == seen)
    }

    /// Tells what is seen, which is written also where nothing has changed: it is as old as its writing.
    ///
    /// # Errors
    /// [`StoreError`]; the next call tries again.
    pub(super) fn tell_anew(&mut self, seen: T) -> Result<Told, StoreError> {
        self.tell_where(seen, |_, _| false)
    }

    fn tell_where(&mut self, seen: T, is_told: fn(&T, &T) -> bool) -> Result<Told, StoreError> {
        let held = match self.held.take() {
            Some(held) => self.renew(held.lease)?.then_some(held),
            None => None,
        };
        let held = match held {
            Some(held) if is_told(&held.told, &seen) => Some(held),
            Some(held) => {
                let still_ours = Transaction::new().when_modified(&*self.key, held.written);
                self.write(still_ours, held.lease, seen)?
            }
            None => {
                let lease = self.status.grant_lease(self.ttl)?;
                let free = Transaction::new().when_absent(&*self.key);
                self.write(free, lease, seen)?
            }
        };
        self.held = held;
        Ok(match self.held {
            Some(_) => Told::Stands,
            None => Told::NameTaken,
        })
    }

    /// Gives the place up, and what was told there with it.
    ///
    /// # Errors
    /// [`StoreError`]; it is given up by silence then.
    pub(super) fn leave(&mut self) -> Result<(), StoreError> {
        match self.held.take() {
            Some(held) => self.status.revoke(held.lease),
            None => Ok(()),
        }
    }

    /// Whether the lease has not ended.
    fn renew(&self, lease: LeaseId) -> Result<bool, StoreError> {
        match self.status.keep_alive(lease) {
            Ok(()) => Ok(true),
            Err(StoreError::LeaseNotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write(
        &self,
        condition: Transaction,
        lease: LeaseId,
        told: T,
    ) -> Result<Option<Held<T>>, StoreError> {
        let write = condition.put_json_leased(&*self.key, &told, lease)?;
        match self.status.commit(write)? {
            Outcome::Applied(written) => Ok(Some(Held {
                lease,
                written,
                told,
            })),
            Outcome::Conflict { .. } => {
                self.status.revoke(lease)?;
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{ProbeSight, Timestamp, VmId};
    use store::ManualClock;

    use super::*;

    const TTL: Duration = Duration::from_millis(1_500);

    fn place(status: &Store) -> Place<BTreeMap<VmId, ProbeSight>> {
        Place::new(status.clone(), store::status::sight_key("a"), TTL)
    }

    fn sights(answered: bool) -> BTreeMap<VmId, ProbeSight> {
        let sight = ProbeSight {
            answered,
            since: Timestamp(0),
            streak: 1,
            evidence: String::new(),
        };
        [(VmId(1), sight)].into()
    }

    fn known(status: &Store) -> Option<bool> {
        let key = store::status::sight_key("a");
        let known = status.get_json::<BTreeMap<VmId, ProbeSight>>(&key);
        known.unwrap().map(|entry| entry.value[&VmId(1)].answered)
    }

    #[test]
    fn a_name_is_one_checkers_until_it_falls_silent() {
        let clock = ManualClock::default();
        let status = Store::in_memory_with_clock(clock.clone());
        let (mut first, mut second) = (place(&status), place(&status));
        assert_eq!(first.tell(sights(true)).unwrap(), Told::Stands);
        assert_eq!(second.tell(sights(false)).unwrap(), Told::NameTaken);
        assert_eq!(known(&status), Some(true), "nothing is overwritten");
        clock.advance(TTL / 2);
        assert_eq!(first.tell(sights(true)).unwrap(), Told::Stands);
        clock.advance(TTL / 2);
        assert_eq!(second.tell(sights(false)).unwrap(), Told::NameTaken);
        clock.advance(TTL / 2);
        assert_eq!(known(&status), None, "silent for the whole time");
        assert_eq!(second.tell(sights(false)).unwrap(), Told::Stands);
        assert_eq!(first.tell(sights(true)).unwrap(), Told::NameTaken);
        assert_eq!(second.tell(sights(true)).unwrap(), Told::Stands);
        assert_eq!(known(&status), Some(true));
    }

    #[test]
    fn whoever_leaves_is_forgotten_at_once_and_may_come_back() {
        let status = Store::in_memory_with_clock(ManualClock::default());
        let (mut first, mut second) = (place(&status), place(&status));
        first.leave().unwrap();
        assert_eq!(first.tell(sights(true)).unwrap(), Told::Stands);
        first.leave().unwrap();
        assert_eq!(known(&status), None);
        assert_eq!(second.tell(sights(false)).unwrap(), Told::Stands);
        assert_eq!(first.tell(sights(true)).unwrap(), Told::NameTaken);
    }

    #[test]
    fn one_that_was_stopped_for_a_while_takes_its_place_again() {
        let clock = ManualClock::default();
        let status = Store::in_memory_with_clock(clock.clone());
        let mut place = place(&status);
        for answered in [true, false, false] {
            assert_eq!(place.tell(sights(answered)).unwrap(), Told::Stands);
            assert_eq!(known(&status), Some(answered));
            clock.advance(TTL * 2);
        }
    }
}
