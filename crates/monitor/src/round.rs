//! The task that asks one VM, again and again.

use std::future::pending;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{Timestamp, VmId};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, interval_at, sleep_until};

use crate::checker::Means;
use crate::questions::Questions;
use crate::{ProbeTarget, probe};

/// Questions to one VM that starts which are open at a time.
const MOST_FIRST_QUESTIONS: usize = 32;
/// How long a VM that starts may take for an answer.
const FIRST_DEADLINE: Duration = Duration::from_secs(1);
/// Questions to one VM that are open at a time: those of so many intervals, after which one is given up.
const MOST_OPEN: u32 = 10;
/// 2^64 divided by the golden ratio: its multiples, cut to 64 bits, lie evenly however many are taken
/// (Knuth, The Art of Computer Programming, volume 3, section 6.4).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Asks one VM for as long as it is watched. Questions begin at fixed times, whatever became of those
/// before.
pub(crate) async fn watch_vm(vm: VmId, target: ProbeTarget, means: Means) {
    await_first_answer(vm, target, &means).await;
    let (interval, lag) = (means.timing.interval, &means.lag);
    let give_up = interval.saturating_mul(MOST_OPEN);
    // Three failures in a row then take less than a second where questions begin four times in one.
    let mut questions = Questions::new(interval * 3 / 5);
    let mut open = JoinSet::new();
    let mut turn = interval_at(first_turn(vm, &means, Instant::now()).into(), interval);
    turn.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let due = questions.due(Instant::now(), lag.lost());
        let results = tokio::select! {
            biased;
            Some(Ok((number, result))) = open.join_next() => match result {
                Ok(result) => Vec::from_iter(questions.end(number, result, Instant::now(), lag.lost())),
                Err(error) => {
                    questions.withdraw(number);
                    means.board.note_unasked(vm, &error);
                    Vec::new()
                }
            },
            () = await_moment(due) => questions.overdue(Instant::now(), lag.lost()),
            _ = turn.tick(), if open.len() < MOST_OPEN as usize => {
                let number = questions.begin(Instant::now(), lag.lost());
                open.spawn(async move { (number, probe(target, give_up).await) });
                Vec::new()
            }
        };
        for result in results {
            means.board.note(vm, result, wall_clock());
        }
    }
}

/// Asks a VM that starts again and again without waiting for the answer before: a question that comes
/// before the VM can hear it is lost, and TCP would repeat it only after a second.
async fn await_first_answer(vm: VmId, target: ProbeTarget, means: &Means) {
    let mut questions = JoinSet::new();
    let mut tick = interval(means.timing.impatient);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick(), if questions.len() < MOST_FIRST_QUESTIONS => {
                questions.spawn(probe(target, FIRST_DEADLINE));
            }
            Some(Ok(result)) = questions.join_next() => match result {
                Ok(result) => {
                    let answered = result.answered;
                    means.board.note(vm, result, wall_clock());
                    if answered {
                        return;
                    }
                }
                Err(error) => means.board.note_unasked(vm, &error),
            },
        }
    }
}

/// When a VM is next asked in its turn. Each has a place of its own within the interval, so that many VMs
/// are not asked all at once.
fn first_turn(vm: VmId, means: &Means, now: Instant) -> Instant {
    let interval_us = u64::try_from(means.timing.interval.as_micros()).unwrap_or(u64::MAX);
    let interval_us = interval_us.max(1);
    let share = vm.0.wrapping_mul(GOLDEN);
    let place_us = (u128::from(share) * u128::from(interval_us)) >> u64::BITS;
    let place_us = u64::try_from(place_us).unwrap_or_default();
    let elapsed = now.saturating_duration_since(means.began).as_micros();
    let elapsed_us = u64::try_from(elapsed).unwrap_or(u64::MAX) % interval_us;
    let wait_us = (interval_us + place_us - elapsed_us) % interval_us;
    now + Duration::from_micros(wait_us)
}

async fn await_moment(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => pending().await,
    }
}

fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::{Checker, ProbeTiming};

    #[tokio::test]
    async fn vms_are_asked_at_places_of_their_own_that_spread_over_the_interval() {
        const VMS: u64 = 1_000;
        const PARTS: u128 = 10;
        let timing = ProbeTiming::default();
        let means = Checker::new(timing).means();
        let now = means.began + Duration::from_millis(12_345);
        let mut parts = [0; PARTS as usize];
        for vm in 1..=VMS {
            let turn = first_turn(VmId(vm), &means, now);
            assert!(turn >= now && turn < now + timing.interval);
            let later = first_turn(VmId(vm), &means, turn + Duration::from_millis(1));
            assert_eq!(later, turn + timing.interval, "its place stays");
            let place = (turn - means.began).as_micros() % timing.interval.as_micros();
            parts[(place * PARTS / timing.interval.as_micros()) as usize] += 1;
        }
        let even = VMS / PARTS as u64;
        assert!(
            parts.iter().all(|n| *n > even / 2 && *n < even * 2),
            "{parts:?}"
        );
    }
}
