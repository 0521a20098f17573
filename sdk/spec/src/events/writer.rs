//! The worker's side: appends one line in one write, so that a reader never sees half of one while the worker lives.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Event, EventKind};

/// Appends events to a file.
#[derive(Debug)]
pub struct Writer {
    file: File,
}

impl Writer {
    /// Opens the file for appending, makes it when it is not there, and ends a line that a crash has torn.
    ///
    /// # Errors
    /// The file cannot be opened, read or written.
    pub fn open(path: &Path) -> io::Result<Writer> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        if file.seek(SeekFrom::End(0))? > 0 {
            let mut last = [0u8];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(Writer { file })
    }

    /// Appends what happened at this moment.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, kind: EventKind) -> io::Result<()> {
        self.append(&Event::now(kind))
    }

    /// Appends an event as it is, in one write, and flushes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.flush()
    }
}

/// This moment: RFC 3339, UTC, milliseconds (`2026-01-31T09:30:00.125Z`).
pub fn now() -> String {
    rfc3339(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
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
            assert_eq!(rfc3339(Duration::from_millis(millis)), expected)
        };
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400_007, "2000-02-29T00:00:00.007Z");
        check(1_709_251_199_999, "2024-02-29T23:59:59.999Z");
        check(1_735_689_600_000, "2025-01-01T00:00:00.000Z");
        check(4_107_542_399_000, "2100-02-28T23:59:59.000Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }
}
