//! The model of a run that takes it from a registry: held in the cache while the run goes on,
//! fetched again where it is gone.

use evopress_cache::Cache;
use evopress_registries::{Fetched, fetch, find_cached};
use evopress_spec::{Origin, RunDir};

use super::Supervisor;
use crate::publish::plan_of;

impl Supervisor {
    /// Holds the model of a run in the cache, if it is there.
    pub(super) fn hold_model(&self, run_dir: &RunDir) -> Option<Fetched> {
        let origin = origin_of(run_dir)?;
        let cache = Cache::at(&self.state.cache());
        // If it cannot be held, the attempt fails with the reason.
        find_cached(&origin, &cache, &self.settings.endpoints)
            .ok()
            .flatten()
    }

    /// Fetches the model of a run again where it is not in the cache any more.
    ///
    /// # Errors
    /// It cannot be fetched now; one sentence.
    pub(super) async fn bring_model(&self, run_dir: &RunDir) -> Result<Option<Fetched>, String> {
        let Some(origin) = origin_of(run_dir) else {
            return Ok(None);
        };
        let cache = Cache::at(&self.state.cache());
        let fetching = fetch(&origin, &cache, &self.settings.endpoints, &|_| ());
        tokio::select! {
            fetched = fetching => fetched.map(Some).map_err(|error| error.to_string()),
            () = self.stop.requested() => Err("stopped while the model was fetched".to_owned()),
        }
    }
}

fn origin_of(run_dir: &RunDir) -> Option<Origin> {
    // A plan that cannot be read is the worker's to report.
    plan_of(run_dir).ok()?.model.location.origin().cloned()
}
