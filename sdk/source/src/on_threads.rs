//! Work on parts of a buffer, on several threads.

use std::thread;

/// Splits `out` into parts of whole units and gives each to a thread, with the index of its first
/// unit. Below `min_bytes` a thread is not worth its start.
///
/// # Panics
/// When `work` does.
pub(crate) fn on_threads(
    out: &mut [u8],
    unit_bytes: usize,
    min_bytes: usize,
    work: impl Fn(usize, &mut [u8]) + Sync,
) {
    let available = thread::available_parallelism().map_or(1, usize::from);
    let num_threads = available.min(out.len() / min_bytes).max(1);
    let num_units = out.len() / unit_bytes;
    let units_per_thread = num_units.div_ceil(num_threads).max(1);
    thread::scope(|scope| {
        let parts = out.chunks_mut(units_per_thread * unit_bytes).enumerate();
        let work = &work;
        let mut parts = parts.map(|(idx, part)| move || work(idx * units_per_thread, part));
        let own = parts.next();
        parts.for_each(|part| drop(scope.spawn(part)));
        if let Some(mut part) = own {
            part();
        }
    });
}
