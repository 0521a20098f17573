//! How far the download of a model is.

use std::sync::atomic::{AtomicU64, Ordering};

use evopress_spec::Address;

use super::listing::RemoteFile;

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchProgress<'a> {
    /// Where the model comes from.
    pub address: &'a Address,
    /// The file that is on its way.
    pub file: &'a str,
    /// Bytes of the model that are here.
    pub done_bytes: u64,
    /// Bytes of the model.
    pub total_bytes: u64,
}

/// Whom a download reports to.
pub(super) type Progress<'a> = &'a (dyn Fn(&FetchProgress<'_>) + Send + Sync);

/// The progress of the files of one model, which arrive one after the other.
pub(super) struct ModelProgress<'a> {
    progress: Progress<'a>,
    address: &'a Address,
    total_bytes: u64,
    finished_bytes: AtomicU64,
    arrived_bytes: AtomicU64,
}

impl<'a> ModelProgress<'a> {
    /// The progress of a model of `files` that comes from `address`.
    pub(super) fn new(progress: Progress<'a>, address: &'a Address, files: &[RemoteFile]) -> Self {
        Self {
            progress,
            address,
            total_bytes: files.iter().map(|file| file.size_bytes).sum(),
            finished_bytes: AtomicU64::new(0),
            arrived_bytes: AtomicU64::new(0),
        }
    }

    /// So many bytes of `file` are here.
    pub(super) fn report(&self, file: &RemoteFile, arrived_bytes: u64) {
        self.arrived_bytes.store(arrived_bytes, Ordering::Relaxed);
        (self.progress)(&FetchProgress {
            address: self.address,
            file: &file.name,
            done_bytes: self.finished_bytes.load(Ordering::Relaxed) + arrived_bytes,
            total_bytes: self.total_bytes,
        });
    }

    /// All of `file` is here.
    pub(super) fn finish(&self, file: &RemoteFile) {
        let finished_bytes = &self.finished_bytes;
        finished_bytes.fetch_add(file.size_bytes, Ordering::Relaxed);
        self.report(file, 0);
    }

    /// Bytes that are here of the file that is on its way.
    pub(super) fn arrived_bytes(&self) -> u64 {
        self.arrived_bytes.load(Ordering::Relaxed)
    }
}
