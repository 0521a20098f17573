//! Errors of the cache, in sentences that name the file.

use std::io;
use std::path::{Path, PathBuf};

/// Something in the cache folder did not work.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A kind, a key or a file's name that could lead elsewhere.
    #[error(
        "`{name}` cannot be {what} in the cache: expected letters, digits, `-` and `_`, in the name of a file `.`, too, and a \
         letter or digit first"
    )]
    Name {
        /// `a kind`, `a key`, `a file`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The system refuses.
    #[error("cannot {doing} {}: {}", path.display(), reason(error))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The disk has no room.
    #[error(
        "cannot {doing} {}: the disk is full; make room (`evopressd cache prune` frees what no run uses) and start the run \
         again, it goes on from what is there",
        path.display()
    )]
    DiskFull {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
    },
}

impl CacheError {
    pub(crate) fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { doing, path }
            }
            _ => Self::Io { doing, path, error },
        }
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "this user may not".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the disk is mounted read-only".to_owned(),
        _ => error.to_string(),
    }
}

/// A kind or a key: one component of a path, with no dot in it, so that `KEY.lock` is never a key.
pub(crate) fn plain<'a>(what: &'static str, name: &'a str) -> Result<&'a str, CacheError> {
    checked(what, name, |c| matches!(c, '-' | '_'))
}

/// The name of a file, with `/` after each folder that it is in: none of the cache's own, and none
/// of a temporary file.
pub(crate) fn file_name(name: &str) -> Result<&str, CacheError> {
    let own = ["used", "manifest.json"].contains(&name);
    let is_good = |part| checked("a file", part, |c| matches!(c, '-' | '_' | '.')).is_ok();
    if own || !name.split('/').all(is_good) {
        return Err(bad("a file", name));
    }
    Ok(name)
}

fn checked<'a>(
    what: &'static str,
    name: &'a str,
    other: impl Fn(char) -> bool,
) -> Result<&'a str, CacheError> {
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || other(c))
        && name.len() <= 128;
    good.then_some(name).ok_or_else(|| bad(what, name))
}

fn bad(what: &'static str, name: &str) -> CacheError {
    let name = name.escape_debug().to_string();
    CacheError::Name { what, name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_a_sentence_with_a_way_out() {
        let full = io::Error::from_raw_os_error(28);
        let error = CacheError::at("write", Path::new("/state/cache/levels/ab/layer-3"))(full);
        assert_eq!(
            error.to_string(),
            "cannot write /state/cache/levels/ab/layer-3: the disk is full; make room (`evopressd cache prune` frees what no \
             run uses) and start the run again, it goes on from what is there"
        );
        let denied = io::Error::from_raw_os_error(13);
        let error = CacheError::at("write", Path::new("/state/cache"))(denied);
        assert_eq!(
            error.to_string(),
            "cannot write /state/cache: this user may not"
        );
    }

    #[test]
    fn names_stay_in_their_folder() {
        for good in [
            "levels",
            "0a1b",
            "model.layers.0.mlp.safetensors",
            "tiny/config.json",
        ] {
            assert_eq!(file_name(good).unwrap(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "a/",
            "/a",
            "a//b",
            "a/../b",
            "a/.b",
            "a\\b",
            "../a",
            "a\nb",
            "é",
            "used",
            "manifest.json",
        ] {
            assert!(file_name(bad).is_err(), "{bad:?}");
        }
        let error = plain("a key", "0a1b.lock").unwrap_err().to_string();
        assert!(error.starts_with("`0a1b.lock` cannot be a key"), "{error}");
    }
}
