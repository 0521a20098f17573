//! The reader's side: tails the file from an offset and leaves an incomplete last line for the next
//! poll.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::Event;

/// Tails an events file. It opens the file anew at each poll, so it may be made before the file is
/// there.
#[derive(Debug, Clone)]
pub struct Reader {
    path: PathBuf,
    offset: u64,
    skipped: u64,
}

/// At most this much is read at once, so that a huge file is read in steps.
const STEP_BYTES: u64 = 4 << 20;

impl Reader {
    /// Reads from the beginning.
    pub fn new(path: &Path) -> Reader {
        Reader::from_offset(path, 0)
    }

    /// Reads from an earlier reader's [`offset`](Reader::offset).
    pub fn from_offset(path: &Path, offset: u64) -> Reader {
        Reader {
            path: path.to_owned(),
            offset,
            skipped: 0,
        }
    }

    /// Everything before it has been returned.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many whole lines were not events and were left out (a line torn by a crash, or a later
    /// version's event).
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The events that came since the last poll; none when the file is not there yet. A last line
    /// without its end stays for the next poll.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn poll(&mut self) -> io::Result<Vec<Event>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() < self.offset {
            self.offset = 0; // the file was replaced by a shorter one
        }
        let mut events = Vec::new();
        file.seek(SeekFrom::Start(self.offset))?;
        loop {
            let mut bytes = Vec::new();
            file.by_ref().take(STEP_BYTES).read_to_end(&mut bytes)?;
            let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') else {
                return Ok(events);
            };
            for line in bytes[..end]
                .split(|&byte| byte == b'\n')
                .filter(|line| !line.trim_ascii().is_empty())
            {
                match serde_json::from_slice(line) {
                    Ok(event) => events.push(event),
                    Err(_) => self.skipped += 1,
                }
            }
            self.offset += end as u64 + 1;
            file.seek(SeekFrom::Start(self.offset))?;
        }
    }
}
