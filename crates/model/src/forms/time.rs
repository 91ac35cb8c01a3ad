//! Points in time as people and programs read them.

use crate::Timestamp;

const MS_PER_DAY: u64 = 86_400_000;

/// The time in RFC 3339, UTC, to the millisecond: `2026-11-22T17:51:32.000Z`.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    let (days, ms) = (time.0 / MS_PER_DAY, time.0 % MS_PER_DAY);
    let (year, month, day) = civil(days);
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z",
        ms % 1000
    )
}

/// The time that is written so, in UTC: with or without a fraction of a second.
#[must_use]
pub fn from_rfc3339(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix(['Z', 'z'])?.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let [year, month, day] = [date.next()??, date.next()??, date.next()??];
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let [hours, minutes, seconds] = [time.next()??, time.next()??, time.next()??];
    let is_time = hours < 24 && minutes < 60 && seconds < 60;
    if !is_time
        || !fraction.bytes().all(|byte| byte.is_ascii_digit())
        || !(1970..10_000).contains(&year)
    {
        return None;
    }
    let ms = fraction.bytes().chain(*b"000").take(3);
    let ms = ms.fold(0, |ms, digit| ms * 10 + u64::from(digit - b'0'));
    // The day is looked for among those that have this month's and year's name, of which no two are the same.
    let about = (year - 1970) * 365 + (year - 1969) / 4;
    let days =
        (about.saturating_sub(40)..about + 400).find(|days| civil(*days) == (year, month, day))?;
    Some(Timestamp(
        days * MS_PER_DAY + ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms,
    ))
}

/// Year, month and day of a number of days since 1970-01-01, by Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>), without the eras before year 0.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // Days since 0000-03-01.
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153; // From March.
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = match shifted_month {
        0..10 => shifted_month + 3,
        _ => shifted_month - 9,
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_is_read_as_it_was_written_and_nonsense_is_not() {
        for days in 0..80_000 {
            let time = Timestamp(days * MS_PER_DAY + 1);
            assert_eq!(from_rfc3339(&rfc3339(time)), Some(time));
        }
        assert_eq!(from_rfc3339("1970-01-01T00:00:01Z"), Some(Timestamp(1000)));
        assert_eq!(from_rfc3339("1970-01-01T00:00:00.5Z"), Some(Timestamp(500)));
        for text in [
            "",
            "now",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.xZ",
            "99999-01-01T00:00:00Z",
            "2026-01-01",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_795_369_892_123, "2026-11-22T17:51:32.123Z"),
        ] {
            assert_eq!(rfc3339(Timestamp(ms)), text);
            assert_eq!(from_rfc3339(text), Some(Timestamp(ms)), "{text}");
        }
    }
}
