//! The open databases of a run.

use std::sync::Arc;

use evopress::baselines::Scores;
use evopress::genotype::WeightId;
use evopress::levels::Database;
use evopress_cache::Guard;
use evopress_spec::DatabaseResult;

/// The databases of all methods. Their cache entries are held until this is dropped.
#[derive(Default)]
pub(crate) struct Databases {
    /// In the order of the methods; those of methods that compress no weights are empty.
    pub(crate) open: Vec<Arc<Database>>,
    /// What the report says of those that are not empty.
    pub(crate) results: Vec<DatabaseResult>,
    /// Locks of their cache entries.
    pub(super) held: Vec<Guard>,
}

impl Databases {
    /// Calls `use_scores` with what the databases know of single layers, for the baselines that use
    /// it. `num_layers` is the number of the model's linear layers.
    pub(crate) fn with_scores<T>(
        &self,
        num_layers: usize,
        use_scores: impl FnOnce(&Scores<'_>) -> T,
    ) -> T {
        let weight_error = |id: WeightId| self.open[usize::from(id.method_idx)].relative_error(id);
        let outlier_ratios: Option<Vec<f64>> = (0..num_layers as u32)
            .map(|layer_idx| {
                let mut databases = self.open.iter();
                databases.find_map(|database| database.outlier_ratio(layer_idx))
            })
            .collect();
        use_scores(&Scores {
            weight_error: (!self.results.is_empty()).then_some(&weight_error),
            outlier_ratios: outlier_ratios.as_deref(),
        })
    }
}
