//! [`Fitness`] and the host's [`HeadOps`] across the boundary.

use abi_stable::{
    StableAbi, sabi_trait,
    sabi_types::RRef,
    std_types::{RBox, ROption, RResult, RSlice, RVec},
};

use super::{
    Fault,
    guard::{Guarded, catch},
    tensor::{OwnedTwin, ViewTwin},
};
use crate::{
    Chunk, Expectation, Fitness, HeadOps, OwnedTensor, PluginError, TargetView, TensorView,
};

#[sabi_trait]
pub trait FitnessAbi: Send + Sync {
    fn target(&self, ops: OpsTwin<'_>, dense: ChunkTwin<'_>) -> RResult<TargetTwin, Fault>;
    fn loss(
        &self,
        ops: OpsTwin<'_>,
        student: ChunkTwin<'_>,
        target: TargetViewTwin<'_>,
    ) -> RResult<RVec<f32>, Fault>;
    fn gradient(
        &self,
        ops: OpsTwin<'_>,
        student: ChunkTwin<'_>,
        target: TargetViewTwin<'_>,
        own_gradient: ViewTwin<'_>,
    ) -> RResult<ROption<OwnedTwin>, Fault>;
    #[sabi(last_prefix_field)]
    fn needs_target(&self) -> RResult<bool, Fault>;
}

pub(crate) type FitnessTwin = FitnessAbi_TO<'static, RBox<()>>;

#[sabi_trait]
pub trait HeadOpsAbi {
    fn log_sum_exp(&self, hidden: ViewTwin<'_>) -> RResult<RVec<f32>, Fault>;
    fn expectation(&self, hidden: ViewTwin<'_>) -> RResult<ExpectationTwin, Fault>;
    fn expected_logits(
        &self,
        hidden: ViewTwin<'_>,
        summary: ViewTwin<'_>,
    ) -> RResult<RVec<f32>, Fault>;
    fn expected_gradient(
        &self,
        hidden: ViewTwin<'_>,
        summary: ViewTwin<'_>,
    ) -> RResult<OwnedTwin, Fault>;
    fn token_logits(
        &self,
        hidden: ViewTwin<'_>,
        tokens: RSlice<'_, i64>,
    ) -> RResult<RVec<f32>, Fault>;
    fn logits(&self, hidden: ViewTwin<'_>) -> RResult<OwnedTwin, Fault>;
    fn difference(&self, a: ViewTwin<'_>, b: ViewTwin<'_>) -> RResult<OwnedTwin, Fault>;
    #[sabi(last_prefix_field)]
    fn token_gradients(
        &self,
        hidden: ViewTwin<'_>,
        tokens: RSlice<'_, i64>,
    ) -> RResult<OwnedTwin, Fault>;
}

pub type OpsTwin<'a> = HeadOpsAbi_TO<'a, RRef<'a, ()>>;

#[repr(C)]
#[derive(StableAbi)]
pub struct ChunkTwin<'a> {
    hidden: ViewTwin<'a>,
    next_tokens: RSlice<'a, i64>,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct TargetTwin {
    pub(super) scalars: RVec<RVec<f32>>,
    pub(super) vectors: RVec<OwnedTwin>,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct TargetViewTwin<'a> {
    pub(super) scalars: RSlice<'a, RSlice<'a, f32>>,
    pub(super) vectors: RSlice<'a, ViewTwin<'a>>,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct ExpectationTwin {
    pub(super) negative_entropy: RVec<f32>,
    pub(super) summary: OwnedTwin,
}

/// The author's fitness, as it leaves the plugin.
pub(super) fn export(fitness: Box<dyn Fitness>) -> FitnessTwin {
    FitnessAbi_TO::from_value(Guarded::new(fitness), sabi_trait::TD_Opaque)
}

impl FitnessAbi for Guarded<Box<dyn Fitness>> {
    fn target(&self, ops: OpsTwin<'_>, dense: ChunkTwin<'_>) -> RResult<TargetTwin, Fault> {
        catch(|| {
            let target = (**self).target(&PluginOps(ops), &dense.view()?)?;
            Ok(TargetTwin {
                scalars: target.scalars.into_iter().map(RVec::from).collect(),
                vectors: target.vectors.into_iter().map(OwnedTwin::from).collect(),
            })
        })
    }

    fn loss(
        &self,
        ops: OpsTwin<'_>,
        student: ChunkTwin<'_>,
        target: TargetViewTwin<'_>,
    ) -> RResult<RVec<f32>, Fault> {
        catch(|| {
            let losses = (**self).loss(&PluginOps(ops), &student.view()?, &target.view()?)?;
            Ok(losses.into())
        })
    }

    fn gradient(
        &self,
        ops: OpsTwin<'_>,
        student: ChunkTwin<'_>,
        target: TargetViewTwin<'_>,
        own_gradient: ViewTwin<'_>,
    ) -> RResult<ROption<OwnedTwin>, Fault> {
        catch(|| {
            let gradient = (**self).gradient(
                &PluginOps(ops),
                &student.view()?,
                &target.view()?,
                &own_gradient.view()?,
            )?;
            Ok(gradient.map(OwnedTwin::from).into())
        })
    }

    fn needs_target(&self) -> RResult<bool, Fault> {
        catch(|| Ok((**self).needs_target()))
    }
}

impl<'a> TargetViewTwin<'a> {
    fn view(&self) -> Result<TargetView<'a>, Fault> {
        let vectors: Result<_, _> = self.vectors.as_slice().iter().map(ViewTwin::view).collect();
        let scalars = self.scalars.as_slice().iter();
        Ok(TargetView {
            scalars: scalars.map(|scalars| scalars.as_slice()).collect(),
            vectors: vectors?,
        })
    }
}

impl<'a> ChunkTwin<'a> {
    #[cfg(feature = "host")]
    pub(super) fn new(chunk: &'a Chunk<'_>) -> Self {
        ChunkTwin {
            hidden: ViewTwin::new(&chunk.hidden),
            next_tokens: chunk.next_tokens.into(),
        }
    }

    fn view(&self) -> Result<Chunk<'a>, Fault> {
        Ok(Chunk {
            hidden: self.hidden.view()?,
            next_tokens: self.next_tokens.as_slice(),
        })
    }
}

/// The host's operations, as a plugin sees them.
struct PluginOps<'a>(OpsTwin<'a>);

impl HeadOps for PluginOps<'_> {
    fn log_sum_exp(&self, hidden: &TensorView<'_>) -> Result<Vec<f32>, PluginError> {
        Ok(self
            .0
            .log_sum_exp(ViewTwin::new(hidden))
            .into_result()
            .map_err(host_error)?
            .into())
    }

    fn expectation(&self, hidden: &TensorView<'_>) -> Result<Expectation, PluginError> {
        let expectation = self
            .0
            .expectation(ViewTwin::new(hidden))
            .into_result()
            .map_err(host_error)?;
        Ok(Expectation {
            negative_entropy: expectation.negative_entropy.into(),
            summary: expectation.summary.into_tensor()?,
        })
    }

    fn expected_logits(
        &self,
        hidden: &TensorView<'_>,
        summary: &TensorView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        Ok(self
            .0
            .expected_logits(ViewTwin::new(hidden), ViewTwin::new(summary))
            .into_result()
            .map_err(host_error)?
            .into())
    }

    fn expected_gradient(
        &self,
        hidden: &TensorView<'_>,
        summary: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError> {
        Ok(self
            .0
            .expected_gradient(ViewTwin::new(hidden), ViewTwin::new(summary))
            .into_result()
            .map_err(host_error)?
            .into_tensor()?)
    }

    fn token_logits(
        &self,
        hidden: &TensorView<'_>,
        tokens: &[i64],
    ) -> Result<Vec<f32>, PluginError> {
        Ok(self
            .0
            .token_logits(ViewTwin::new(hidden), tokens.into())
            .into_result()
            .map_err(host_error)?
            .into())
    }

    fn logits(&self, hidden: &TensorView<'_>) -> Result<OwnedTensor, PluginError> {
        Ok(self
            .0
            .logits(ViewTwin::new(hidden))
            .into_result()
            .map_err(host_error)?
            .into_tensor()?)
    }

    fn difference(
        &self,
        a: &TensorView<'_>,
        b: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError> {
        let difference = self.0.difference(ViewTwin::new(a), ViewTwin::new(b));
        Ok(difference
            .into_result()
            .map_err(host_error)?
            .into_tensor()?)
    }

    fn token_gradients(
        &self,
        hidden: &TensorView<'_>,
        tokens: &[i64],
    ) -> Result<OwnedTensor, PluginError> {
        let gradients = self.0.token_gradients(ViewTwin::new(hidden), tokens.into());
        Ok(gradients.into_result().map_err(host_error)?.into_tensor()?)
    }
}

/// A fault of the host, on its way back to the host through the plugin.
fn host_error(fault: Fault) -> PluginError {
    let message = fault.message.into_string();
    PluginError {
        message: if fault.panicked {
            format!("the host panicked: {message}")
        } else {
            message
        },
    }
}
