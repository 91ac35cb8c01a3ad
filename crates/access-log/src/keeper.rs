//! All instances' logs, as they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use model::InstanceId;

use crate::missing::Missing;
use crate::writer::{Outcome, Writer};

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
    /// What is missing of instances whose files could not be opened, and what became of their lines.
    unopened: BTreeMap<InstanceId, (Missing, Outcome)>,
}

/// What is missing from logs and could not be written into them.
#[derive(Debug, Default)]
pub struct Debts {
    missing: BTreeMap<InstanceId, Missing>,
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
            unopened: BTreeMap::new(),
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
                let mut writer = Writer::open(&self.directory.join(instance.0.to_string()))?;
                if let Some((missing, _)) = self.unopened.get_mut(&instance) {
                    writer.miss(std::mem::take(missing));
                }
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

    /// Adds records of an instance, `count` of them, of which `gaps` tell that lines are missing. They are on the disk
    /// after the next flush, or at once when they are many; [`Self::take_outcomes`] says so.
    ///
    /// # Errors
    /// Those of the files; what was pending is lost then.
    pub fn append(
        &mut self,
        instance: InstanceId,
        records: &[u8],
        count: u64,
        gaps: u64,
    ) -> io::Result<()> {
        let budget = self.budget.instance;
        match self.writer(instance) {
            Ok(writer) => match writer.append(records, count, gaps) {
                true => writer.flush(budget),
                false => Ok(()),
            },
            Err(error) => {
                let (missing, outcome) = self.unopened.entry(instance).or_default();
                missing.add(records);
                outcome.lost += count.saturating_sub(gaps);
                Err(error)
            }
        }
    }

    /// What became of lines since this was last asked, of each instance of which there were any.
    pub fn take_outcomes(&mut self) -> Vec<(InstanceId, Outcome)> {
        let unopened = self.unopened.iter_mut();
        let unopened = unopened.map(|(id, (_, outcome))| (*id, std::mem::take(outcome)));
        let writers = self.writers.iter_mut();
        let writers = writers.map(|(id, writer)| (*id, writer.take_outcome()));
        unopened
            .chain(writers)
            .filter(|(_, outcome)| *outcome != Outcome::default())
            .collect()
    }

    /// What is missing and could not be written: for the keeper that comes after this one, which is given up.
    pub fn take_debts(&mut self) -> Debts {
        let mut debts = Debts::default();
        for (id, (missing, _)) in &mut self.unopened {
            debts.add(*id, std::mem::take(missing));
        }
        for (id, writer) in &mut self.writers {
            debts.add(*id, writer.take_missing());
        }
        debts
    }

    /// Takes over what is missing by an earlier keeper's account.
    pub fn take_over(&mut self, debts: Debts) {
        for (id, missing) in debts.missing {
            match self.writer(id) {
                Ok(writer) => writer.miss(missing),
                Err(_) => self.unopened.entry(id).or_default().0.extend(missing),
            }
        }
    }

    /// Writes everything to the files, and keeps the total budget. To be called once in a flush interval.
    ///
    /// # Errors
    /// The first of those of the files; all of them were tried.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut done = Ok(());
        for instance in self.unopened.keys().copied().collect::<Vec<_>>() {
            done = done.and(self.writer(instance).map(|_| ()));
        }
        self.unopened.retain(|instance, (_, outcome)| {
            let is_open = self.writers.contains_key(instance);
            !is_open || *outcome != Outcome::default()
        });
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
        self.unopened
            .retain(|instance, _| instances.contains(instance));
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

impl Debts {
    fn add(&mut self, instance: InstanceId, missing: Missing) {
        if !missing.is_empty() {
            self.missing.entry(instance).or_default().extend(missing);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _told_before = self.flush();
    }
}
