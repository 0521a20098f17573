//! What tells one state of a file from another.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A file must not have changed for this long when its reading begins. A second change within one
/// tick of the file system's clock would leave its times as they are; no file system's tick is
/// longer.
pub(crate) const SETTLED: Duration = Duration::from_secs(2);

/// What tells one state of a file from another. Times are nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    size_bytes: u64,
    inode: u64,
    content_changed_ns: i64,
    inode_changed_ns: i64,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            size_bytes: metadata.size(),
            inode: metadata.ino(),
            content_changed_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            inode_changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the last change is so long ago that the next one will show. A time in the future
    /// never is.
    pub(crate) fn is_settled(self, now: SystemTime) -> bool {
        let changed = self.content_changed_ns.max(self.inode_changed_ns);
        let changed = UNIX_EPOCH + Duration::from_nanos(u64::try_from(changed).unwrap_or(0));
        now.duration_since(changed).is_ok_and(|age| age >= SETTLED)
    }
}
