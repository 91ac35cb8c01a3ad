//! Something that may go wrong in a role, as `status` has it: told when it changes, and again until it is told.

use store::Store;
use store::status::put_trouble;
use tracing::warn;

/// One kind of trouble.
pub(crate) struct Trouble {
    status: Store,
    key: &'static str,
    /// What was told: nothing yet, so that what an earlier process told is replaced; that there is none; or what.
    told: Option<Option<String>>,
}

impl Trouble {
    /// Nothing is told yet. `key` is its own in the whole installation.
    pub(crate) fn new(status: Store, key: &'static str) -> Self {
        Self {
            status,
            key,
            told: None,
        }
    }

    /// Whether the last word was that something is wrong.
    pub(crate) fn stands(&self) -> bool {
        matches!(self.told, Some(Some(_)))
    }

    /// Says what is wrong now, or that nothing is, if that was not the last word.
    pub(crate) fn tell(&mut self, words: Option<String>) {
        if self.told.as_ref() == Some(&words) {
            return;
        }
        if let Some(words) = &words {
            warn!("{words}");
        }
        if put_trouble(&self.status, self.key, words.as_deref()).is_ok() {
            self.told = Some(words);
        }
    }
}

#[cfg(test)]
mod tests {
    use store::status::troubles;

    use super::*;

    #[test]
    fn what_is_over_is_taken_back_also_where_an_earlier_process_told_it() {
        let status = Store::in_memory();
        Trouble::new(status.clone(), "some/thing").tell(Some("it is full".into()));
        assert_eq!(troubles(&status).unwrap(), ["it is full"]);
        let mut later = Trouble::new(status.clone(), "some/thing");
        later.tell(None);
        assert_eq!(troubles(&status).unwrap(), [""; 0]);
        later.tell(Some("it is gone".into()));
        assert_eq!(troubles(&status).unwrap(), ["it is gone"]);
    }
}
