//! A point in time as people and scripts write it: milliseconds since 1970, or RFC 3339.

use logstead::types::Timestamp;

const EXPECTED: &str = "milliseconds since 1970 or a time such as 2026-01-02T03:04:05Z is expected";
const MILLIS_PER_DAY: i64 = 86_400_000;

/// Reads a point in time. What is finer than a millisecond is rounded up, so that no earlier record is meant.
///
/// # Errors
/// What is wrong with it, for a person.
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    let millis = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { from_rfc3339(text) };
    millis.map(Timestamp::from_millis).ok_or_else(|| EXPECTED.to_owned())
}

fn from_rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let (clock, zone) = split_zone(rest)?;
    Some(days(date)? * MILLIS_PER_DAY + millis_of_day(clock)? - zone)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let is_valid = parts.next().is_none() && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !is_valid {
        return None;
    }
    // Years that start in March have their leap day at the end, and month lengths then follow one formula.
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    Some(365 * year + leap_days + day_of_year - 719_468)
}

fn days_in(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn millis_of_day(clock: &str) -> Option<i64> {
    let (whole, fraction) = match clock.split_once('.') {
        Some((whole, fraction)) => (whole, millis_of_fraction(fraction)?),
        None => (clock, 0),
    };
    let mut parts = whole.split(':');
    let (hour, minute, second) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    // Second 60 is a leap second: the same point as the start of the next minute.
    let is_valid = parts.next().is_none() && hour <= 23 && minute <= 59 && second <= 60;
    is_valid.then_some(((hour * 60 + minute) * 60 + second) * 1000 + fraction)
}

fn millis_of_fraction(fraction: &str) -> Option<i64> {
    let is_valid = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let (millis, finer) = fraction.split_at_checked(3.min(fraction.len())).filter(|_| is_valid)?;
    let round_up = i64::from(finer.bytes().any(|byte| byte != b'0'));
    Some(format!("{millis:0<3}").parse::<i64>().ok()? + round_up)
}

/// The time of day, and how many milliseconds its zone is ahead of UTC.
fn split_zone(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let (clock, zone) = text.split_at_checked(text.rfind(['+', '-'])?)?;
    let (sign, zone) = match zone.strip_prefix('-') {
        Some(zone) => (-1, zone),
        None => (1, zone.strip_prefix('+')?),
    };
    let (hours, minutes) = zone.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    (hours <= 23 && minutes <= 59).then_some((clock, sign * (hours * 60 + minutes) * 60_000))
}

/// A number of exactly `count` digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    let is_valid = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> i64 {
        parse(text).map_or_else(|reason| panic!("{text}: {reason}"), Timestamp::as_millis)
    }

    #[test]
    fn digits_alone_are_milliseconds() {
        assert_eq!(millis("0"), 0);
        assert_eq!(millis("1767323045000"), 1_767_323_045_000);
    }

    #[test]
    fn rfc_3339_is_read_with_zones_fractions_and_leap_years() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-02T03:04:05Z", 1_767_323_045_000),
            ("2026-01-02t03:04:05z", 1_767_323_045_000),
            ("2026-01-02T05:04:05+02:00", 1_767_323_045_000),
            ("2026-01-01T21:34:05-05:30", 1_767_323_045_000),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2000-03-01T00:00:00Z", 951_868_800_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("1900-03-01T00:00:00Z", -2_203_891_200_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("1970-01-01T00:00:00.5Z", 500),
            ("1970-01-01T00:00:00.0010Z", 1),
            ("1970-01-01T00:00:00.0010001Z", 2),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "-1",
            "now",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04Z",
            "2026-1-2T03:04:05Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:60:00Z",
            "2026-01-02T03:04:61Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05.x\u{e9}Z",
            "2026-01-02T03:04:05+0200",
            "2026-01-02T03:04:05+24:00",
            "2026-01-02T03:04:05+02:00:00",
            "+026-01-02T03:04:05Z",
            "9223372036854775808",
        ] {
            assert_eq!(parse(text), Err(EXPECTED.to_owned()), "{text}");
        }
    }
}
