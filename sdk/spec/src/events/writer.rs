//! The worker's side: appends one line in one write, so that a reader never sees half of one while
//! the worker lives.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{Event, EventKind};

/// Appends events to a file.
#[derive(Debug)]
pub struct Writer {
    file: File,
}

impl Writer {
    /// Opens the file for appending, makes it when it is not there, and ends a line that a crash
    /// has torn.
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
