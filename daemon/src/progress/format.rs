//! Numbers for people: sizes, counts, times.

use std::time::Duration;

/// `269.1 MB`: millions of bytes, as disks and downloads are counted.
#[must_use]
pub fn megabytes(bytes: u64) -> String {
    megabytes_f64(as_f64(bytes))
}

pub(super) fn megabytes_f64(bytes: f64) -> String {
    match bytes < 1e10 {
        true => format!("{:.1} MB", bytes / 1e6),
        false => format!("{:.1} GB", bytes / 1e9),
    }
}

/// `45 s`, `2 min 05 s`, `3 h 20 min`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds.max(0.0))
        .unwrap_or_default()
        .as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

/// `134,515,008`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with so many digits after the point; a dash where there is none.
pub(super) fn number(value: Option<f64>, digits: usize) -> String {
    value
        .filter(|it| it.is_finite())
        .map_or_else(|| "-".to_owned(), |it| format!("{it:.digits$}"))
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
pub(super) fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_their_units_fit() {
        assert_eq!(megabytes(269_091_234), "269.1 MB");
        assert_eq!(
            [7, 1234, 134_515_008].map(grouped),
            ["7", "1,234", "134,515,008"]
        );
        assert_eq!(
            [Some(2.996), None, Some(f64::NAN)].map(|it| number(it, 2)),
            ["3.00", "-", "-"]
        );
        let seconds = [45.0, 125.2, 12_000.0, -1.0, f64::NAN];
        let shown = ["45 s", "2 min 05 s", "3 h 20 min", "0 s", "0 s"];
        assert_eq!(seconds.map(duration), shown);
    }
}
