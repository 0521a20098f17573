//! The trait that an author of a method implements.

use super::{CompressTask, GroupBudget, ModelOutline, PackedWeight, Statistics, Unit};
use crate::PluginError;

/// A compression method.
pub trait Method: Send + Sync {
    /// The units of a model, each with its levels. `target` is the pipeline's budget where that is
    /// in this method's measure: a method may choose its levels around it.
    ///
    /// # Errors
    /// When the model has nothing that this method can compress, or the options do not fit its
    /// layers.
    fn units(&self, model: &ModelOutline, target: Option<f64>) -> Result<Vec<Unit>, PluginError>;

    /// The measure by which `target:` of a spec names this method's budget: `drop`, `sparsity`,
    /// `bits_per_weight`.
    fn measure(&self) -> &str;

    /// The budget of every group for a target in that measure (`0.25`). Units may have been tied
    /// and grouped since [`Method::units`] returned them.
    ///
    /// # Errors
    /// When the target is out of range or leaves nothing to choose.
    fn budget(
        &self,
        model: &ModelOutline,
        units: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError>;

    /// What [`Method::compress`] needs.
    fn statistics(&self) -> Statistics {
        Statistics::None
    }

    /// The variants of some layers, by layer and variant in the order of the task. The same task
    /// gets the same answer.
    ///
    /// # Errors
    /// When a weight or a statistic is such that no sound result can be had.
    fn compress(&self, task: &CompressTask<'_>) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
        let name = task.layers.first().map_or("nothing", |layer| layer.name);
        Err(format!("asked to compress {name}, but this method makes no variants").into())
    }
}
