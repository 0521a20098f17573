//! What stands between a sub-block and the residual stream: norms before and after it, and a scale.

use evopress_source::spec::{BlockSpec, NormPlace};
use tch::{Kind, Tensor};

use crate::error::Result;
use crate::norm::Norm;

/// How a sub-block reads the residual stream and adds to it.
pub(crate) struct Ends {
    /// Between the stream and the sub-block.
    before: Option<Norm>,
    /// Between the sub-block's output and the stream.
    after: Option<Norm>,
    /// What the output is multiplied with.
    scale: Option<f64>,
}

impl Ends {
    /// `read` makes the norm that stands at a place, if the block has it.
    pub(crate) fn read(
        spec: &BlockSpec,
        [before, after]: [NormPlace; 2],
        read: impl Fn(NormPlace) -> Result<Option<Norm>>,
    ) -> Result<Self> {
        Ok(Self {
            before: read(before)?,
            after: read(after)?,
            scale: spec.residual_scale,
        })
    }

    pub(crate) fn share(&self) -> Self {
        Self {
            before: self.before.as_ref().map(Norm::share),
            after: self.after.as_ref().map(Norm::share),
            scale: self.scale,
        }
    }

    /// What the sub-block reads of `residual [T, D]`, in `kind`.
    pub(crate) fn input(&self, residual: &Tensor, kind: Kind) -> Result<Tensor> {
        match &self.before {
            Some(norm) => norm.of(residual, kind),
            None => Ok(residual.f_to_kind(kind)?),
        }
    }

    /// [`Self::input`] in operators that autograd can follow.
    pub(crate) fn traced_input(&self, residual: &Tensor, kind: Kind) -> Result<Tensor> {
        match &self.before {
            Some(norm) => norm.traced(residual, kind),
            None => Ok(residual.f_to_kind(kind)?),
        }
    }

    /// Whether the output is added to the stream as it is.
    pub(crate) fn adds_output_itself(&self) -> bool {
        self.after.is_none() && self.scale.is_none()
    }

    /// What is added to the stream in place of `output [T, D]`: `scale · norm(output)` in f32.
    pub(crate) fn added(&self, output: &Tensor) -> Result<Tensor> {
        let output = output.f_to_kind(Kind::Float)?;
        let normed = match &self.after {
            Some(norm) => norm.of(&output.f_contiguous()?, Kind::Float)?,
            None => output,
        };
        self.scaled(normed)
    }

    /// [`Self::added`] in operators that autograd can follow.
    pub(crate) fn traced_added(&self, output: &Tensor) -> Result<Tensor> {
        let output = output.f_to_kind(Kind::Float)?;
        let normed = match &self.after {
            Some(norm) => norm.traced(&output, Kind::Float)?,
            None => output,
        };
        self.scaled(normed)
    }

    fn scaled(&self, added: Tensor) -> Result<Tensor> {
        match self.scale {
            Some(scale) => Ok(added.f_mul_scalar(scale)?),
            None => Ok(added),
        }
    }
}
