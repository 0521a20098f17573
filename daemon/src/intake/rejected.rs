//! The record of a refused spec: the spec as it was dropped, and its mistakes for people and for
//! programs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use evopress_core::atomic_write;
use evopress_spec::{Mistake, RejectedDir};

use super::{Admission, Intake, IntakeError};
use crate::journal::{NewRun, Origin};

impl Intake {
    pub(super) fn reject(
        &self,
        path: &Path,
        text: &[u8],
        origin: Origin,
        mistakes: Vec<Mistake>,
    ) -> Result<Admission, IntakeError> {
        let record = record_of(self, path, text);
        fs::create_dir_all(record.path())?;
        atomic_write(&record.spec(), text)?;
        atomic_write(
            &record.mistakes_json(),
            &serde_json::to_vec_pretty(&mistakes).map_err(std::io::Error::from)?,
        )?;
        let lines = mistakes.iter().fold(String::new(), |mut lines, mistake| {
            let _ = writeln!(lines, "{mistake}"); // writing to a String cannot fail
            lines
        });
        atomic_write(&record.mistakes_txt(), lines.as_bytes())?;

        let id = folder_name(&record);
        let name = id.rsplit_once('-').map_or(id.as_str(), |(name, _)| name);
        let reason = match mistakes.as_slice() {
            [one] => one.to_string(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
            [] => "the spec was refused".to_owned(),
        };
        self.journal.add_rejected(
            &NewRun {
                id: &id,
                name,
                origin,
                spec_path: path,
            },
            &reason,
        )?;
        for mistake in &mistakes {
            tracing::warn!(spec = %path.display(), %mistake, "spec has a mistake");
        }
        Ok(Admission::Rejected { mistakes, record })
    }
}

/// Removes the records of a file that is accepted now: what its text missed may be there since, or
/// an earlier text of it was wrong.
pub(super) fn forget(intake: &Intake, path: &Path) -> Result<(), IntakeError> {
    for id in intake.journal.forget_rejected_of(path)? {
        match fs::remove_dir_all(intake.state.rejected().join(id)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

fn record_of(intake: &Intake, path: &Path, text: &[u8]) -> RejectedDir {
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    RejectedDir::of_spec(intake.state.root(), &file_name, text)
}

fn folder_name(record: &RejectedDir) -> String {
    record
        .path()
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
