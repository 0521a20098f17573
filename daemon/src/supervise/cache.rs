//! Prunes the cache to its limit, before and after each run. A failure stops no run.

use evopress_cache::Cache;

use super::Supervisor;

impl Supervisor {
    /// Removes entries that no run uses until the cache is within its limit, and counts what is
    /// left.
    pub(super) async fn prune_cache(&self) {
        let cache = Cache::at(&self.state.cache());
        let limit = self.settings.cache_max_bytes;
        let pruning = tokio::task::spawn_blocking(move || cache.prune(limit, &|_| false));
        let pruned = match pruning.await {
            Ok(Ok(pruned)) => pruned,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the cache cannot be pruned to its limit");
                return;
            }
            Err(error) => {
                tracing::error!(%error, "the task that prunes the cache panicked");
                return;
            }
        };
        for entry in &pruned.removed {
            let (key, title, bytes) = (&entry.key, &entry.title, entry.bytes);
            tracing::info!(
                key,
                title,
                bytes,
                "cache entry is removed: it was not used for longest"
            );
        }
        for failure in &pruned.failures {
            tracing::warn!(failure, "something in the cache cannot be removed");
        }
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.cache_size.set(gauge(pruned.size_bytes));
        self.metrics
            .cache_entries
            .set(gauge(pruned.num_entries as u64));
    }
}
