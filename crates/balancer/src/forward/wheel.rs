//! A timer wheel (Varghese, Lauck: "Hashed and hierarchical timing wheels", SOSP 1987, scheme 4 with one
//! level), made for deadlines that move with every request.
//!
//! An owner keeps its [`Timer`]; moving the deadline back, which is what nearly every request does, writes
//! one number and touches no wheel. The entry that was scheduled earlier fires in vain, and is put in
//! again for what is then the deadline. A deadline past the wheel's horizon is looked at once each
//! horizon. So each owner has about one entry, and a steady connection costs one look in eight seconds.
//!
//! Entries are in one list of all slots, where each names the next of its slot. So an entry that moves to a
//! slot that was never used takes no memory.

/// Milliseconds in one slot: the error of a timer.
pub const TICK_MS: u64 = 16;
const SLOTS: u64 = 512;
/// The furthest that an entry is put ahead.
const HORIZON_TICKS: u64 = SLOTS - 1;

/// One owner's deadline, in milliseconds of the worker's clock.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    deadline: u64,
    scheduled: u64,
}

impl Default for Timer {
    fn default() -> Self {
        Self {
            deadline: u64::MAX,
            scheduled: u64::MAX,
        }
    }
}

impl Timer {
    /// Moves the deadline, and makes sure that an entry of the wheel fires no later.
    pub fn set(&mut self, deadline: u64, wheel: &mut Wheel, token: u64) {
        self.deadline = deadline;
        if deadline < self.scheduled {
            self.scheduled = deadline;
            wheel.put(deadline, token);
        }
    }

    /// Milliseconds until the deadline.
    #[must_use]
    pub fn left_ms(&self, now: u64) -> u64 {
        self.deadline.saturating_sub(now)
    }

    /// Takes an entry's firing in. True when the deadline has passed; else the entry is put in again.
    pub fn has_expired(&mut self, fired: u64, now: u64, wheel: &mut Wheel, token: u64) -> bool {
        if fired != self.scheduled {
            return false;
        }
        self.scheduled = u64::MAX;
        if self.deadline <= now {
            return true;
        }
        if self.deadline != u64::MAX {
            self.scheduled = self.deadline;
            wheel.put(self.deadline, token);
        }
        false
    }
}

/// An entry that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fired {
    /// What was scheduled, to be given to [`Timer::has_expired`].
    pub scheduled: u64,
    /// Whose it is.
    pub token: u64,
}

/// The end of a list of entries.
const NOBODY: u32 = u32::MAX;
/// Room for entries is made for so many more at least, and for an eighth of those that there are.
const ROOM: usize = 64;

/// An entry, and the one behind it in its list.
struct Entry {
    fired: Fired,
    next: u32,
}

/// Entries by the tick at which they are looked at.
pub struct Wheel {
    /// All entries: of the slots, of what is due, and free ones.
    entries: Vec<Entry>,
    /// The first entry of each slot.
    slots: Box<[u32]>,
    /// The first of those that are due by the tick.
    due: u32,
    free: u32,
    tick: u64,
    occupied: Occupied,
}

/// Which slots have entries, one bit each, so that the next is found without looking at all.
#[derive(Default)]
struct Occupied([u64; (SLOTS / 64) as usize]);

impl Occupied {
    fn set(&mut self, slot: u64, occupied: bool) {
        if let Some(word) = self.0.get_mut((slot / 64) as usize) {
            let bit = 1 << (slot % 64);
            *word = if occupied { *word | bit } else { *word & !bit };
        }
    }

    /// Slots from `first` on, going round, until one is occupied: 0 when that one is.
    fn distance(&self, first: u64) -> Option<u64> {
        let words = self.0.len() as u64;
        (0..=words).find_map(|step| {
            let word = *self.0.get(((first / 64 + step) % words) as usize)?;
            // The first word is looked at twice: from the first slot on, and at the end before it.
            let below = (1u64 << (first % 64)) - 1;
            let word = match step {
                0 => word & !below,
                step if step == words => word & below,
                _ => word,
            };
            let bit = u64::from(word.trailing_zeros());
            (word != 0).then(|| step * 64 + bit - first % 64)
        })
    }
}

impl Wheel {
    /// An empty wheel at `now`.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self {
            entries: Vec::new(),
            slots: (0..SLOTS).map(|_| NOBODY).collect(),
            due: NOBODY,
            free: NOBODY,
            tick: now / TICK_MS,
            occupied: Occupied::default(),
        }
    }

    fn put(&mut self, scheduled: u64, token: u64) {
        let due = scheduled.div_ceil(TICK_MS);
        let tick = due.clamp(self.tick + 1, self.tick + HORIZON_TICKS);
        let index = self.free_entry();
        let slot = self.slots.get_mut((tick % SLOTS) as usize);
        if let (Some(entry), Some(first)) = (self.entries.get_mut(index as usize), slot) {
            *entry = Entry {
                fired: Fired { scheduled, token },
                next: std::mem::replace(first, index),
            };
            self.occupied.set(tick % SLOTS, true);
        }
    }

    /// Takes an entry out of the free ones, or makes one.
    ///
    /// # Panics
    /// With 2^32 - 1 entries, far beyond any number of open files.
    fn free_entry(&mut self) -> u32 {
        if let Some(entry) = self.entries.get(self.free as usize) {
            return std::mem::replace(&mut self.free, entry.next);
        }
        let count = self.entries.len();
        if count == self.entries.capacity() {
            self.entries.reserve_exact(ROOM.max(count / 8));
        }
        let fired = Fired {
            scheduled: u64::MAX,
            token: 0,
        };
        self.entries.push(Entry {
            fired,
            next: NOBODY,
        });
        u32::try_from(count)
            .ok()
            .filter(|&index| index != NOBODY)
            .expect("each owner has about one entry and holds a file, and there are fewer files")
    }

    /// Moves on, to `now` at the furthest, until an entry fires, and takes that one out; nothing when all that
    /// are due have fired. An entry that was cut to the horizon goes back in.
    pub fn next_fired(&mut self, now: u64) -> Option<Fired> {
        let target = now / TICK_MS;
        loop {
            while let Some(fired) = self.take_due() {
                if fired.scheduled <= now {
                    return Some(fired);
                }
                self.put(fired.scheduled, fired.token);
            }
            if self.tick >= target {
                return None;
            }
            // Behind by more than a round: every slot is due once.
            self.tick = (self.tick + 1).max(target.saturating_sub(HORIZON_TICKS));
            if let Some(first) = self.slots.get_mut((self.tick % SLOTS) as usize) {
                self.due = std::mem::replace(first, NOBODY);
                self.occupied.set(self.tick % SLOTS, false);
            }
        }
    }

    fn take_due(&mut self) -> Option<Fired> {
        let index = self.due;
        let entry = self.entries.get_mut(index as usize)?;
        self.due = std::mem::replace(&mut entry.next, self.free);
        self.free = index;
        Some(entry.fired)
    }

    /// Milliseconds until the next slot with an entry, or nothing when there is none.
    #[must_use]
    pub fn sleep_ms(&self, now: u64) -> Option<u64> {
        let next = self.tick + 1;
        let tick = next + self.occupied.distance(next % SLOTS)?;
        Some((tick * TICK_MS).saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expired(wheel: &mut Wheel, timer: &mut Timer, now: u64) -> bool {
        let mut did = false;
        while let Some(fired) = wheel.next_fired(now) {
            did |= timer.has_expired(fired.scheduled, now, wheel, fired.token);
        }
        did
    }

    #[test]
    fn a_deadline_past_the_horizon_expires_at_its_time() {
        let mut wheel = Wheel::new(0);
        let mut timer = Timer::default();
        timer.set(60_000, &mut wheel, 1);
        for now in (0..59_990).step_by(100) {
            assert!(!expired(&mut wheel, &mut timer, now), "at {now}");
        }
        assert!(expired(&mut wheel, &mut timer, 60_000 + TICK_MS));
        assert_eq!(wheel.sleep_ms(60_100), None);
    }

    #[test]
    fn a_thousand_moves_of_one_deadline_leave_one_entry() {
        let mut wheel = Wheel::new(0);
        let mut timer = Timer::default();
        for now in 0..1_000 {
            timer.set(now + 5_000, &mut wheel, 1);
        }
        assert_eq!(wheel.entries.len(), 1);
    }

    #[test]
    fn entries_that_move_through_all_slots_take_no_memory() {
        let mut wheel = Wheel::new(0);
        let mut timers = [Timer::default(); 20];
        for (token, timer) in (0u64..).zip(&mut timers) {
            timer.set(1_000 + token * 100, &mut wheel, token);
        }
        let taken = wheel.entries.capacity();
        for now in (0..60_000).step_by(10) {
            while let Some(fired) = wheel.next_fired(now) {
                let timer = &mut timers[fired.token as usize];
                if timer.has_expired(fired.scheduled, now, &mut wheel, fired.token) {
                    timer.set(now + 1_000 + now % 700, &mut wheel, fired.token);
                }
            }
        }
        assert_eq!(wheel.entries.len(), timers.len());
        assert_eq!(wheel.entries.capacity(), taken);
    }

    proptest! {
        #[test]
        fn the_next_occupied_slot_is_the_one_that_a_search_finds(
            occupied in proptest::collection::vec(0..SLOTS, 0..5),
            first in 0..SLOTS,
        ) {
            let mut bits = Occupied::default();
            for slot in &occupied {
                bits.set(*slot, true);
            }
            let searched = (0..SLOTS).find(|step| occupied.contains(&((first + step) % SLOTS)));
            prop_assert_eq!(bits.distance(first), searched);
        }

        #[test]
        fn a_timer_expires_once_never_early_and_at_most_a_tick_late(
            moves in proptest::collection::vec((1u64..300, 1u64..20_000), 1..60),
        ) {
            let mut wheel = Wheel::new(0);
            let mut timer = Timer::default();
            let (mut now, mut deadline) = (0, u64::MAX);
            for (step, wait) in moves {
                timer.set(now + wait, &mut wheel, 7);
                deadline = now + wait;
                for _ in 0..step {
                    now += 5;
                    let did = expired(&mut wheel, &mut timer, now);
                    prop_assert!(!did || now >= deadline);
                    if did {
                        deadline = u64::MAX;
                    }
                    prop_assert!(now < deadline.saturating_add(TICK_MS + 5));
                }
            }
            let _ = deadline;
        }
    }
}
