//! Moments as events write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// This moment: RFC 3339, UTC, milliseconds (`2026-01-31T09:30:00.125Z`).
pub fn now() -> String {
    moment(SystemTime::now())
}

/// A moment after 1970 in the same way.
pub fn moment(when: SystemTime) -> String {
    rfc3339(when.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Seconds since 1970 of a moment as [`moment`] writes it; `None` for anything else.
pub fn seconds_since_1970(moment: &str) -> Option<f64> {
    let (date, time) = moment.strip_suffix('Z')?.split_once('T')?;
    let whole = |text: &str| text.parse::<u64>().ok().filter(|_| text.is_ascii());
    let mut date = date.splitn(3, '-').map(whole);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (whole(time.next()?)?, whole(time.next()?)?);
    let second: f64 = time.next()?.parse().ok()?;
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last one.
    let (march_year, march_month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = march_year * 365 + march_year / 4 - march_year / 100
        + march_year / 400
        + (153 * march_month + 2) / 5
        + day
        - 1;
    let seconds = days.checked_sub(719_468)? * 86_400 + hour * 3_600 + minute * 60;
    Some(seconds as f64 + second)
}

/// The civil date of a moment after 1970, by counting in eras of 400 years that begin on a first of March.
fn rfc3339(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (days, second_of_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (
        second_of_day / 3_600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        since_epoch.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339() {
        let check = |millis: u64, expected: &str| {
            let when = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(moment(when), expected);
            assert_eq!(seconds_since_1970(expected), Some(millis as f64 / 1e3));
        };
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400_007, "2000-02-29T00:00:00.007Z");
        check(1_709_251_199_999, "2024-02-29T23:59:59.999Z");
        check(1_735_689_600_000, "2025-01-01T00:00:00.000Z");
        check(4_107_542_399_000, "2100-02-28T23:59:59.000Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in [
            "",
            "now",
            "2026-13-01T00:00:00.000Z",
            "2026-01-31",
            "-1-01-01T00:00:00Z",
            "2026-01-31T09:30Z",
        ] {
            assert_eq!(seconds_since_1970(text), None, "{text}");
        }
    }
}
