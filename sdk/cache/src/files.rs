//! Folders as they are at this moment, while other processes add and remove files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::CacheError;

/// What is in a folder, in order; nothing if there is no folder.
pub(crate) fn children(folder: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let read = || {
        fs::read_dir(folder)?
            .map(|child| Ok(child?.path()))
            .collect::<io::Result<Vec<_>>>()
    };
    let mut paths = match read() {
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(CacheError::at("read", folder)(error)),
    };
    paths.sort();
    Ok(paths)
}

/// Bytes of all files in a folder; what goes away meanwhile counts for nothing.
pub(crate) fn size_bytes(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let children = children(path).unwrap_or_default();
    children.iter().map(|child| size_bytes(child)).sum()
}
