//! Points in time as people think of them: how long ago.

use std::time::SystemTime;

/// How long before `now` the time was, in its largest unit: `3 min ago`. The time is in RFC 3339; text
/// that is not is shown as it is. A time in the future, by clocks that disagree, is `just now`.
#[must_use]
pub fn ago(time: &str, now: SystemTime) -> String {
    let Ok(time) = humantime::parse_rfc3339(time) else {
        return super::plain(time);
    };
    let seconds = now.duration_since(time).unwrap_or_default().as_secs();
    match seconds {
        0 => "just now".into(),
        1..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let now = humantime::parse_rfc3339("2026-11-22T12:00:00Z").unwrap();
        for (time, expected) in [
            ("2026-11-22T11:59:59.500Z", "just now"),
            ("2026-11-22T11:59:58.000Z", "2 s ago"),
            ("2026-11-22T11:58:01.000Z", "119 s ago"),
            ("2026-11-22T11:57:00.000Z", "3 min ago"),
            ("2026-11-22T09:00:00.000Z", "3 h ago"),
            ("2026-11-20T11:00:00.000Z", "2 days ago"),
            ("2026-11-22T12:00:05.000Z", "just now"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(ago(time, now), expected, "{time}");
        }
    }
}
