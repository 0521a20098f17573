//! A host that fails, to try what a fitness makes of that.

use crate::{Expectation, HeadOps, OwnedTensor, PluginError, TensorView};

/// What every operation of [`FailingHead`] fails with.
pub(super) const FAILURE: &str = "out of device memory";

/// A host on which every operation fails.
pub(super) struct FailingHead;

impl HeadOps for FailingHead {
    fn log_sum_exp(&self, _: &TensorView<'_>) -> Result<Vec<f32>, PluginError> {
        Err(FAILURE.into())
    }

    fn expectation(&self, _: &TensorView<'_>) -> Result<Expectation, PluginError> {
        Err(FAILURE.into())
    }

    fn expected_logits(
        &self,
        _: &TensorView<'_>,
        _: &TensorView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        Err(FAILURE.into())
    }

    fn expected_gradient(
        &self,
        _: &TensorView<'_>,
        _: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError> {
        Err(FAILURE.into())
    }

    fn token_logits(&self, _: &TensorView<'_>, _: &[i64]) -> Result<Vec<f32>, PluginError> {
        Err(FAILURE.into())
    }

    fn logits(&self, _: &TensorView<'_>) -> Result<OwnedTensor, PluginError> {
        Err(FAILURE.into())
    }

    fn difference(
        &self,
        _: &TensorView<'_>,
        _: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError> {
        Err(FAILURE.into())
    }

    fn token_gradients(&self, _: &TensorView<'_>, _: &[i64]) -> Result<OwnedTensor, PluginError> {
        Err(FAILURE.into())
    }
}
