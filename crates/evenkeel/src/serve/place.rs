//! A checker's place in the status store: its name, held by a lease.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ProbeSight, VmId};
use store::{LeaseId, Outcome, Revision, Store, StoreError, Transaction};

/// What a checker saw is forgotten when it has been silent for this long.
const TTL: Duration = Duration::from_millis(1_500);

/// What came of telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is known.
    Stands,
    /// Another checker tells under this name.
    NameTaken,
}

/// Where one checker tells what it sees. Whoever takes a name first has it, for as long as it keeps telling.
pub(super) struct Place {
    status: Store,
    key: String,
    held: Option<Held>,
}

struct Held {
    lease: LeaseId,
    written: Revision,
    sights: BTreeMap<VmId, ProbeSight>,
}

impl Place {
    /// A place that is not taken yet.
    pub(super) fn new(status: Store, name: &str) -> Self {
        Self {
            status,
            key: store::status::sight_key(name),
            held: None,
        }
    }

    /// Tells what is seen, or, where nothing has changed, that it still holds. To be called several times in
    /// the lease's time.
    ///
    /// # Errors
    /// [`StoreError`]; the next call tries again.
    pub(super) fn tell(&mut self, sights: BTreeMap<VmId, ProbeSight>) -> Result<Told, StoreError> {
        let held = match self.held.take() {
            Some(held) => self.renew(held.lease)?.then_some(held),
            None => None,
        };
        let held = match held {
            Some(held) if held.sights == sights => Some(held),
            Some(held) => {
                let still_ours = Transaction::new().when_modified(&*self.key, held.written);
                self.write(still_ours, held.lease, sights)?
            }
            None => {
                let lease = self.status.grant_lease(TTL)?;
                let free = Transaction::new().when_absent(&*self.key);
                self.write(free, lease, sights)?
            }
        };
        self.held = held;
        Ok(match self.held {
            Some(_) => Told::Stands,
            None => Told::NameTaken,
        })
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
        sights: BTreeMap<VmId, ProbeSight>,
    ) -> Result<Option<Held>, StoreError> {
        let write = condition.put_json_leased(&*self.key, &sights, lease)?;
        match self.status.commit(write)? {
            Outcome::Applied(written) => Ok(Some(Held {
                lease,
                written,
                sights,
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
    use model::Timestamp;
    use store::ManualClock;

    use super::*;

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
        let place = || Place::new(status.clone(), "a");
        let (mut first, mut second) = (place(), place());
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
    fn one_that_was_stopped_for_a_while_takes_its_place_again() {
        let clock = ManualClock::default();
        let status = Store::in_memory_with_clock(clock.clone());
        let mut place = Place::new(status.clone(), "a");
        for answered in [true, false, false] {
            assert_eq!(place.tell(sights(answered)).unwrap(), Told::Stands);
            assert_eq!(known(&status), Some(answered));
            clock.advance(TTL * 2);
        }
    }
}
