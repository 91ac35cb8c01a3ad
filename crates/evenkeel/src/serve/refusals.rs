//! Packets that were refused, by reason: told in the status store when they change, and now and then in the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use store::status::refused_key;
use store::{Store, Transaction};
use tracing::warn;

/// Between two lines of the log.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// Packets by the reason for which they were refused.
type Counts = BTreeMap<&'static str, u64>;

/// What is told of the packets of some kind of sender.
pub(super) struct Refusals {
    status: Store,
    whose: &'static str,
    /// What stands in the status store: nothing of this process's yet.
    told: Option<Counts>,
    logged: Counts,
    logged_at: Option<Instant>,
}

impl Refusals {
    pub(super) fn new(status: Store, whose: &'static str) -> Self {
        Self {
            status,
            whose,
            told: None,
            logged: Counts::new(),
            logged_at: None,
        }
    }

    /// Tells what was refused until now, if that has changed.
    pub(super) fn tell(&mut self, refused: &Counts) {
        if self.told.as_ref() != Some(refused) && self.put(refused).is_ok() {
            self.told = Some(refused.clone());
        }
        let is_due = self.logged_at.is_none_or(|at| at.elapsed() >= LOG_PAUSE);
        if *refused != self.logged && is_due {
            let whose = self.whose;
            warn!(whose, packets = ?refused, "figures that came were refused, by reason and in all");
            self.logged.clone_from(refused);
            self.logged_at = Some(Instant::now());
        }
    }

    fn put(&self, refused: &Counts) -> Result<(), store::StoreError> {
        let transaction = Transaction::new().put_json(refused_key(self.whose), refused)?;
        self.status.commit(transaction).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use store::status::REFUSED_PREFIX;

    use super::*;

    #[test]
    fn what_stands_in_the_status_store_is_of_this_monitor_and_of_now() {
        let status = Store::in_memory();
        let standing = || {
            let told = status.range_json::<BTreeMap<String, u64>>(REFUSED_PREFIX);
            let told = told.unwrap().1.into_iter();
            told.map(|entry| (entry.key, entry.value))
                .collect::<Vec<_>>()
        };
        let of_vms = |refused: &[(&str, u64)]| {
            let refused = refused
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count));
            vec![("refused/vms".to_owned(), refused.collect())]
        };
        let mut refusals = Refusals::new(status.clone(), "vms");
        refusals.tell(&[("sealed", 2)].into());
        refusals.tell(&[("sealed", 3), ("stale", 1)].into());
        assert_eq!(standing(), of_vms(&[("sealed", 3), ("stale", 1)]));
        Refusals::new(status.clone(), "vms").tell(&Counts::new());
        assert_eq!(standing(), of_vms(&[]), "a new one counts anew");
    }
}
