//! The monitor log in the server: where it is, whose figures go into it, and what is said when it does not go well.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ::monitor::{Asker, Bounds, HostKeeper, Keeper, NoRoom, Origin, Standing, Taken, Tally};
use anyhow::Context;
use model::{Layout, ProjectId, VmId};
use tracing::warn;

use super::Shared;
use super::trouble::Trouble;

/// Under which a log that is not kept is a trouble.
const TROUBLE: &str = "monitor/log";
/// And one that has no room.
const NO_ROOM: &str = "monitor/room";
/// That there is no room is told until nothing has been refused for so long: whoever finds none asks each second, or
/// each ten.
const REST: Duration = Duration::from_secs(15);
/// Projects that are named at once.
const MOST_NAMED: usize = 5;
/// Between two lines of the server's log about what was not kept.
const LOSSES_PAUSE: Duration = Duration::from_secs(60);

/// Keeps figures, and says when they are not kept.
pub(super) struct Keeping {
    keeper: Keeper,
    origins: BTreeMap<VmId, Origin>,
    trouble: Trouble,
    room: Room,
    losses: (u64, BTreeMap<&'static str, u64>),
    losses_told: Option<Instant>,
    /// Files of the log that were found damaged, and samples behind that damage.
    damage: (u64, u64),
}

impl Keeping {
    pub(super) fn start(shared: &Shared) -> anyhow::Result<Self> {
        Ok(Self {
            keeper: start_keeper(shared)?,
            origins: BTreeMap::new(),
            trouble: Trouble::new(shared.status.clone(), TROUBLE),
            room: Room::new(Trouble::new(shared.status.clone(), NO_ROOM)),
            losses: (0, BTreeMap::new()),
            losses_told: None,
            damage: (0, 0),
        })
    }

    /// Keeps what is taken under these projects and instances.
    pub(super) fn set_origins(&mut self, layout: &Layout) {
        let instances = layout.instances.iter();
        let origins = instances.flat_map(|(instance, of)| {
            of.vms.keys().map(|vm| Origin {
                project: of.project,
                instance: *instance,
                vm: *vm,
            })
        });
        self.origins = origins.map(|origin| (origin.vm, origin)).collect();
    }

    pub(super) fn keep(&self, taken: Taken) {
        if let Some(origin) = self.origins.get(&taken.vm) {
            self.keeper.keep(*origin, taken);
        }
    }

    /// A handle for whoever hears hosts of backends.
    pub(super) fn hosts(&self) -> HostKeeper {
        self.keeper.hosts()
    }

    /// A handle for those who ask what was kept.
    pub(super) fn asker(&self, tally: Tally) -> Asker {
        self.keeper.asker(tally)
    }

    /// Says what is wrong, if that has changed.
    pub(super) fn look(&mut self) {
        let standing = self.keeper.standing();
        self.trouble.tell(standing.trouble.as_ref().map(|why| {
            format!("figures are not kept as they should be; loads are told all the same: {why}")
        }));
        self.room.look(&standing, Instant::now());
        self.tell_damage(&standing);
        self.tell_losses(standing);
    }

    pub(super) async fn close(self) {
        self.keeper.close().await;
    }

    /// Says once what was found damaged.
    fn tell_damage(&mut self, standing: &Standing) {
        let damage = (standing.figures.damaged, standing.figures.lost);
        if damage != self.damage {
            let (files, samples) = damage;
            if files > 0 {
                warn!(
                    files,
                    samples,
                    "the monitor log had damaged files, put aside as *.damaged in `monitor`"
                );
            }
            self.damage = damage;
        }
    }

    /// Says from time to time what was not kept since the last time.
    fn tell_losses(&mut self, standing: Standing) {
        let losses = (standing.unkept, standing.figures.refused);
        let is_due = self
            .losses_told
            .is_none_or(|at| at.elapsed() >= LOSSES_PAUSE);
        if losses != self.losses && is_due {
            let (no_room, refused) = (&losses.0, &losses.1);
            warn!(no_room, ?refused, "samples that came were not kept, in all");
            self.losses = losses;
            self.losses_told = Some(Instant::now());
        }
    }
}

/// Whether there is room for what comes.
struct Room {
    trouble: Trouble,
    /// What was counted at the last look.
    unkept: u64,
    no_room: NoRoom,
    lacking: Lacking,
}

/// What there was no room for, and when last.
#[derive(Default)]
struct Lacking {
    /// Before the log was open.
    in_beginning: Option<Instant>,
    in_queue: Option<Instant>,
    in_log: Option<Instant>,
    of_projects: BTreeMap<ProjectId, Instant>,
}

impl Room {
    fn new(trouble: Trouble) -> Self {
        Self {
            trouble,
            unkept: 0,
            no_room: NoRoom::default(),
            lacking: Lacking::default(),
        }
    }

    fn look(&mut self, standing: &Standing, now: Instant) {
        // Without a log nothing is kept for another reason, which is told.
        let is_lost = standing.unkept > self.unkept && standing.trouble.is_none();
        // As long as it has no figures at all: the monitor before has it for some seconds, or its files are being read.
        let is_open = standing.figures != Default::default();
        let is_full = standing.no_room.in_log > self.no_room.in_log;
        let known = &self.no_room.of_projects;
        let refused = standing.no_room.of_projects.iter();
        let refused = refused.filter(|(project, count)| known.get(*project) != Some(*count));
        let lacking = &mut self.lacking;
        lacking.in_beginning = (is_lost && !is_open)
            .then_some(now)
            .or(lacking.in_beginning);
        lacking.in_queue = (is_lost && is_open).then_some(now).or(lacking.in_queue);
        lacking.in_log = is_full.then_some(now).or(lacking.in_log);
        lacking
            .of_projects
            .extend(refused.map(|(id, _)| (*id, now)));
        self.unkept = standing.unkept;
        self.no_room.clone_from(&standing.no_room);
        self.trouble.tell(lacking.words(now));
    }
}

impl Lacking {
    /// What is wrong at present. The words stay the same as long as the same is wrong.
    fn words(&mut self, now: Instant) -> Option<String> {
        let is_now = |at: &Instant| now.saturating_duration_since(*at) < REST;
        self.of_projects.retain(|_, at| is_now(at));
        let mut wrong = Vec::new();
        if self.in_log.as_ref().is_some_and(is_now) {
            wrong.push(
                "the monitor log takes no new series: there are `monitor.most_series`".to_owned(),
            );
        }
        if !self.of_projects.is_empty() {
            let named = self.of_projects.keys().take(MOST_NAMED);
            let named: Vec<String> = named.map(ToString::to_string).collect();
            let more = match self.of_projects.len().saturating_sub(MOST_NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            wrong.push(format!(
                "the monitor log takes no new series of the projects with the ids {}{more}: each has \
                 `monitor.most_series_per_project`",
                named.join(", ")
            ));
        }
        if self.in_beginning.as_ref().is_some_and(is_now) {
            wrong.push(
                "figures of this monitor's first seconds are lost: the monitor log was not open yet, for the monitor before \
                 had it, or its files were being read"
                    .to_owned(),
            );
        }
        if self.in_queue.as_ref().is_some_and(is_now) {
            wrong.push("figures are lost, for more come than the monitor log can write".to_owned());
        }
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }
}

fn start_keeper(shared: &Shared) -> anyhow::Result<Keeper> {
    let bounds = Bounds {
        series: shared.config.monitor.most_series,
        series_of_project: shared.config.monitor.most_series_per_project,
    };
    let keeper = Keeper::start(shared.config.monitor_directory(), bounds);
    keeper.context("cannot start a thread for the monitor log")
}

#[cfg(test)]
mod tests {
    use store::Store;
    use store::status::troubles;

    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_a_trouble_for_as_long_as_somebody_asks_for_it() {
        let status = Store::in_memory();
        let mut room = Room::new(Trouble::new(status.clone(), NO_ROOM));
        let began = Instant::now();
        let mut look = |second: u64, standing: &Standing| {
            room.look(standing, began + Duration::from_secs(second));
            troubles(&status).unwrap()
        };
        let mut standing = Standing {
            unkept: 2,
            ..Standing::default()
        };
        let told = look(0, &standing);
        assert!(
            told[0].contains("the monitor before") && !told[0].contains("more come than"),
            "{told:?}"
        );
        standing.figures.wal_bytes = 64;
        let mut look = |second: u64, standing: &Standing| look(20 + second, standing);
        assert_eq!(look(0, &standing), [""; 0], "it was handed over");
        standing.no_room.in_log = 5;
        let told = look(1, &standing);
        assert!(told[0].contains("`monitor.most_series`"), "{told:?}");
        assert_eq!(look(15, &standing), told, "the next may be on its way");
        assert_eq!(look(16, &standing), [""; 0]);
        standing.no_room.of_projects = (1..=7).map(|id| (ProjectId(id), 1)).collect();
        let told = look(17, &standing);
        assert!(
            told[0].contains("1, 2, 3, 4, 5 and 2 more: each"),
            "{told:?}"
        );
        standing.no_room.of_projects.insert(ProjectId(6), 2);
        let told = look(33, &standing);
        assert!(told[0].contains("with the ids 6: each"), "{told:?}");
        standing.unkept = 5;
        let told = look(50, &standing);
        assert!(told[0].contains("more come than"), "{told:?}");
        assert_eq!(look(70, &standing), [""; 0], "no more was lost");
        let failed = Standing {
            unkept: 9,
            trouble: Some("a disk broke".into()),
            ..standing
        };
        assert_eq!(look(71, &failed), [""; 0], "that is another trouble");
    }
}
