//! The cache folder: what one run has made or fetched and another can use: level databases and
//! models.
//!
//! ```text
//! CACHE/KIND/KEY/        an entry: its files, and
//! CACHE/KIND/KEY/manifest.json   what shaped it, and each file's size and digest
//! CACHE/KIND/KEY/used    its time is when the entry was last used
//! CACHE/KIND/KEY.lock    held exclusively while the entry is built, shared while it is used
//! CACHE/digests/HEX.json the digest of a file anywhere, which counts until the file changes
//! CACHE/checks/HEX.json  a check that files anywhere have passed, which counts as long
//! ```
//! The key is a digest of all inputs, so what is there under a key is what would be made again.
//! Every file is written under another name, synchronised and renamed: a process that is killed
//! leaves only complete files under their names, and the next one continues with what is missing.
//! [`Cache::prune`] keeps the folder under a limit, and never removes an entry that any process
//! holds.

mod checks;
mod digests;
mod entry;
mod error;
mod files;
mod folder;
mod lock;
mod manifest;
mod prune;
mod records;
mod stamp;

pub use checks::CheckCache;
pub use digests::DigestCache;
pub use entry::{Content, Damage, Entry};
pub use error::CacheError;
pub use folder::{Cache, Listed, State};
pub use lock::Guard;
pub use manifest::{FileRecord, Loaded, MANIFEST_VERSION, Manifest};
pub use prune::{Pruned, Removed};
