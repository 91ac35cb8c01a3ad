//! When an instance's events happened, as `info` tells them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

const MS_OF_A_DAY: u64 = 86_400_000;

/// Milliseconds since the Unix epoch, by this machine's clock.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The events in an instance's `info`, oldest first.
pub fn events(info: &Value) -> impl Iterator<Item = &Value> {
    let events = info.get("events").and_then(Value::as_array);
    events.into_iter().flatten()
}

/// Whether an event's text has these words.
#[must_use]
pub fn says(event: &Value, words: &str) -> bool {
    let text = event.get("text").and_then(Value::as_str);
    text.is_some_and(|text| text.contains(words))
}

/// Whether an event is of this kind.
#[must_use]
pub fn is(event: &Value, kind: &str) -> bool {
    event.get("kind").and_then(Value::as_str) == Some(kind)
}

/// An event's time, in milliseconds since the epoch. It happened today, or before a midnight that has just passed.
#[must_use]
pub fn at_ms(event: &Value) -> u64 {
    let at = event.get("at").and_then(Value::as_str).unwrap_or_default();
    let now = unix_ms();
    let today = now / MS_OF_A_DAY * MS_OF_A_DAY + ms_of_day(at);
    match today > now {
        true => today.saturating_sub(MS_OF_A_DAY),
        false => today,
    }
}

/// The milliseconds from midnight to a time such as `2026-11-23T03:42:00.112Z`.
fn ms_of_day(at: &str) -> u64 {
    let clock = at.split(['T', 'Z']).nth(1).unwrap_or_default();
    let mut parts = clock
        .split([':', '.'])
        .map(|part| part.parse().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    let (hours, minutes, seconds, ms): (u64, u64, u64, u64) = (part(), part(), part(), part());
    ((hours * 60 + minutes) * 60 + seconds) * 1_000 + ms
}

#[test]
fn a_time_is_read_to_the_millisecond() {
    assert_eq!(ms_of_day("2026-11-23T03:42:01.112Z"), 13_321_112);
    assert_eq!(ms_of_day("no time"), 0);
}
