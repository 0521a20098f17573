//! What no panic shows: inputs that do not come back, and memory that a number in a file asks for.

use std::path::Path;
use std::process::abort;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// An input that takes longer never comes back: most take less than a millisecond.
const LONGEST: Duration = Duration::from_secs(60);
/// Memory of the whole program. Allocations beyond it fail, which ends it.
const MAX_MEMORY_BYTES: u64 = 8 << 30;

/// Ends the program when an input takes too long.
pub(crate) struct Watch {
    /// Inputs begun and ended: odd while one is running.
    count: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Watch {
    /// `file` is the one with the input that is running.
    pub(crate) fn new(file: &Path) -> Self {
        let watch = Self {
            count: Arc::default(),
            is_over: Arc::default(),
        };
        let (count, is_over) = (watch.count.clone(), watch.is_over.clone());
        let file = file.to_owned();
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let before = count.load(Ordering::Relaxed);
                thread::sleep(LONGEST);
                let is_same = count.load(Ordering::Relaxed) == before && before % 2 == 1;
                if is_same && !is_over.load(Ordering::Relaxed) {
                    eprintln!("the input in {} does not come back", file.display());
                    abort();
                }
            }
        });
        watch
    }

    pub(crate) fn begin(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Limits the memory of this program.
pub(crate) fn limit_memory() {
    let maximum = getrlimit(Resource::As).maximum;
    let current = Some(maximum.map_or(MAX_MEMORY_BYTES, |it| it.min(MAX_MEMORY_BYTES)));
    setrlimit(Resource::As, Rlimit { current, maximum }).unwrap();
}
