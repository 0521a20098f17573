//! Models from registries: an address becomes a version that always names the same files, and these
//! become an entry of the cache, which every run of that version shares.
//!
//! ```text
//! Origin ── list ──▶ version, files ── download, verify ──▶ CACHE/models/KEY/NAME/…
//!                                                       or CACHE/models/KEY/FILE.gguf
//! ```
//! Only the files that a model needs are fetched. A file that is in the cache is not fetched again,
//! and where the spec names a commit or a digest the server is not even asked. An interrupted
//! download is resumed where it ended.

mod download;
mod entry;
mod error;
mod fetch;
mod file_stream;
mod hashes;
mod hub;
mod listing;
mod mlflow;
mod oci;
mod progress;
mod s3;
mod source;

pub use entry::Fetched;
pub use error::FetchError;
pub use fetch::{fetch, find_cached, remove_damaged};
pub use progress::FetchProgress;
