//! Folders of records about files that lie elsewhere.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::CacheError;
use crate::files::children;

/// A temporary file that is younger may be another process's, and on its way.
const YOUNG: Duration = Duration::from_secs(60);

/// Removes the records that are current no more. Returns the bytes that they took.
pub(crate) fn remove_outdated(
    folder: &Path,
    is_current: impl Fn(&Path) -> bool,
) -> Result<u64, CacheError> {
    let mut freed_bytes = 0;
    for path in children(folder)? {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let is_young = metadata
            .modified()
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < YOUNG));
        if is_young || is_current(&path) {
            continue;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CacheError::at("remove", &path)(error));
            }
            _ => freed_bytes += metadata.len(),
        }
    }
    Ok(freed_bytes)
}
