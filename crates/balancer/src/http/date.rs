//! The field `Date` (RFC 9110, section 6.6.1): on the balancer's own answers, and on those of backends that
//! have none, to which whoever passes them on has to add it.

use std::ops::Deref;

const LENGTH: usize = b"Sun, 06 Nov 1994 08:49:37 GMT".len();
const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// A second in the form of the field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date([u8; LENGTH]);

impl Date {
    /// The date of so many seconds since 1970-01-01T00:00:00Z; years have four digits.
    ///
    /// The calendar is Howard Hinnant's "chrono-compatible low-level date algorithms", `civil_from_days`,
    /// for days since 1970 alone: years begin in March, so that the leap day is the last of one.
    #[must_use]
    pub fn from_unix(seconds: u64) -> Self {
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = (from_march + 2) % 12;
        let year = year_of_era + era * 400 + u64::from(month < 2);
        let name = |names: &[&[u8; 3]], at: u64| {
            let name = usize::try_from(at).ok().and_then(|at| names.get(at));
            name.map_or([b'?'; 3], |name| **name)
        };
        let ([d1, d2, d3], [m1, m2, m3]) = (name(&DAYS, days % 7), name(&MONTHS, month));
        let ([c1, c2], [y1, y2]) = (two(year / 100), two(year % 100));
        let ([a1, a2], [h1, h2]) = (two(day), two(second / 3_600));
        let ([n1, n2], [s1, s2]) = (two(second / 60 % 60), two(second % 60));
        Self([
            d1, d2, d3, b',', b' ', a1, a2, b' ', m1, m2, m3, b' ', c1, c2, y1, y2, b' ', h1, h2,
            b':', n1, n2, b':', s1, s2, b' ', b'G', b'M', b'T',
        ])
    }
}

/// The last two decimal digits.
fn two(value: u64) -> [u8; 2] {
    let digit = |value: u64| b'0' + (value % 10) as u8;
    [digit(value / 10), digit(value)]
}

impl Deref for Date {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_the_dates_that_the_calendar_has() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let written = Date::from_unix(seconds);
            assert_eq!(std::str::from_utf8(&written), Ok(date));
        }
    }
}
