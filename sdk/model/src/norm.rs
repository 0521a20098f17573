//! A norm over the residual stream.

use evopress_source::spec::NormSpec;
use tch::{Kind, Tensor};

use crate::error::Result;
use crate::stream::Stream;

/// Reads a tensor by name, in a dtype.
pub(crate) type Read<'a> = &'a dyn Fn(&str, Kind) -> Result<Tensor>;

/// A norm's weight in f32, and what is added to the mean square.
pub(crate) struct Norm {
    pub(crate) weight: Tensor,
    pub(crate) eps: f64,
}

impl Norm {
    /// Reads the norm whose weight is `NAME.weight`.
    pub(crate) fn read(spec: &NormSpec, name: &str, read: Read<'_>) -> Result<Self> {
        Ok(Self {
            weight: read(&format!("{name}.weight"), Kind::Float)?,
            eps: spec.eps,
        })
    }

    pub(crate) fn share(&self) -> Self {
        Self {
            weight: self.weight.shallow_clone(),
            eps: self.eps,
        }
    }

    /// The norm of a stream in the dtype of the run, by a fused kernel.
    pub(crate) fn of(&self, stream: &Stream, kind: Kind) -> Result<Tensor> {
        let normed = evopress_tensor::rms_norm(&stream.residual, &self.weight, self.eps, kind);
        Ok(normed?)
    }

    /// The norm of a residual stream `[T, D]` in operators that autograd can follow.
    pub(crate) fn traced(&self, residual: &Tensor, kind: Kind) -> Result<Tensor> {
        let normed = evopress_tensor::plain_rms_norm(residual, &self.weight, self.eps, kind);
        Ok(normed?)
    }
}
