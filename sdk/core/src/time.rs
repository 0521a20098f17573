//! Moments: as text, RFC 3339 in UTC with milliseconds (`2026-01-31T09:30:00.125Z`), and as seconds
//! since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// This moment as text.
pub fn now() -> String {
    moment(SystemTime::now())
}

/// A moment as text; one before 1970 is written as 1970.
pub fn moment(when: SystemTime) -> String {
    humantime::format_rfc3339_millis(when.max(UNIX_EPOCH)).to_string()
}

/// Seconds from 1970 to now.
pub fn seconds_since_1970() -> f64 {
    since_1970(SystemTime::now()).as_secs_f64()
}

/// The time from 1970 to a moment that [`moment`] has written; `None` for any other text.
pub fn parse_moment(moment: &str) -> Option<Duration> {
    humantime::parse_rfc3339(moment).ok().map(since_1970)
}

fn since_1970(when: SystemTime) -> Duration {
    when.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339() {
        let check = |millis: u64, expected: &str| {
            let since_1970 = Duration::from_millis(millis);
            assert_eq!(moment(UNIX_EPOCH + since_1970), expected);
            assert_eq!(parse_moment(expected), Some(since_1970));
        };
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400_007, "2000-02-29T00:00:00.007Z");
        check(1_709_251_199_999, "2024-02-29T23:59:59.999Z");
        check(1_735_689_600_000, "2025-01-01T00:00:00.000Z");
        check(4_107_542_399_000, "2100-02-28T23:59:59.000Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
        let whole_seconds = parse_moment("2026-11-24T17:00:25Z");
        assert_eq!(whole_seconds, Some(Duration::from_secs(1_795_539_625)));
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
            assert_eq!(parse_moment(text), None, "{text}");
        }
    }
}
