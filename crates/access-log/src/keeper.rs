//! All instances' logs, as they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use model::InstanceId;

use crate::writer::Writer;

/// How many bytes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Of one instance.
    pub instance: u64,
    /// Of all of them.
    pub total: u64,
}

/// Writes all instances' logs. There is one in an installation. What is pending is written when it is dropped.
#[derive(Debug)]
pub struct Keeper {
    directory: PathBuf,
    budget: Budget,
    writers: BTreeMap<InstanceId, Writer>,
}

impl Keeper {
    /// Opens what is there.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(directory: PathBuf, budget: Budget) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let mut keeper = Self {
            directory,
            budget,
            writers: BTreeMap::new(),
        };
        for instance in keeper.kept()? {
            keeper.writer(instance)?;
        }
        Ok(keeper)
    }

    /// Instances of which there is anything.
    fn kept(&self) -> io::Result<Vec<InstanceId>> {
        let entries = fs::read_dir(&self.directory)?;
        let names = entries.flatten().map(|entry| entry.file_name());
        Ok(names
            .filter_map(|name| name.to_str()?.parse().ok().map(InstanceId))
            .collect())
    }

    /// Those of which anything is kept.
    pub fn instances(&self) -> impl Iterator<Item = InstanceId> {
        self.writers.keys().copied()
    }

    fn writer(&mut self, instance: InstanceId) -> io::Result<&mut Writer> {
        use std::collections::btree_map::Entry;
        match self.writers.entry(instance) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(place) => {
                let writer = Writer::open(&self.directory.join(instance.0.to_string()))?;
                Ok(place.insert(writer))
            }
        }
    }

    /// Whether to add so many bytes of an instance's means to work on files, for which threads that must not wait have
    /// no time.
    #[must_use]
    pub fn has_to_write(&self, instance: InstanceId, bytes: usize) -> bool {
        let writer = self.writers.get(&instance);
        writer.is_none_or(|writer| writer.has_to_write(bytes))
    }

    /// Adds records of an instance, `count` of them. They are on the disk after the next flush, or at once when
    /// they are many.
    ///
    /// # Errors
    /// Those of the files; these records are lost then.
    pub fn append(&mut self, instance: InstanceId, records: &[u8], count: u64) -> io::Result<()> {
        let budget = self.budget.instance;
        let writer = self.writer(instance)?;
        if writer.append(records, count) {
            writer.flush(budget)?;
        }
        Ok(())
    }

    /// Writes everything to the files, and keeps the total budget. To be called once in a flush interval.
    ///
    /// # Errors
    /// The first of those of the files; all of them were tried.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut done = Ok(());
        for writer in self.writers.values_mut() {
            done = done.and(writer.flush(self.budget.instance));
        }
        done.and(self.keep_total())
    }

    fn keep_total(&mut self) -> io::Result<()> {
        while self.writers.values().map(Writer::bytes).sum::<u64>() > self.budget.total {
            let writers = self.writers.values_mut();
            let dated = writers.filter_map(|writer| Some((writer.oldest()?, writer)));
            let Some((_, writer)) = dated.min_by_key(|(modified, _)| *modified) else {
                return Ok(());
            };
            writer.drop_oldest()?;
        }
        Ok(())
    }

    /// Forgets all instances but these, with what is kept of them.
    ///
    /// # Errors
    /// The first of those of the files; all of them were tried.
    pub fn retain(&mut self, instances: &BTreeSet<InstanceId>) -> io::Result<()> {
        let mut done = Ok(());
        for gone in self.kept()? {
            if !instances.contains(&gone) {
                self.writers.remove(&gone);
                let removed = fs::remove_dir_all(self.directory.join(gone.0.to_string()));
                done = done.and(removed);
            }
        }
        done
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _told_before = self.flush();
    }
}
