//! A root-mean-square norm.

use evopress_source::spec::NormSpec;
use evopress_tensor::HeadNorm;
use tch::{Kind, Tensor};

use crate::error::Result;

/// Reads a tensor by name, in a dtype.
pub(crate) type Read<'a> = &'a dyn Fn(&str, Kind) -> Result<Tensor>;

/// What a norm multiplies with, in f32, and what is added to the mean square.
pub(crate) struct Norm {
    pub(crate) weight: Tensor,
    pub(crate) eps: f64,
}

impl Norm {
    /// Reads the norm whose weight is `NAME.weight`.
    pub(crate) fn read(spec: &NormSpec, name: &str, read: Read<'_>) -> Result<Self> {
        let weight = read(&format!("{name}.weight"), Kind::Float)?;
        Ok(Self {
            weight: match spec.is_offset {
                true => weight.f_add_scalar(1.0)?,
                false => weight,
            },
            eps: spec.eps,
        })
    }

    pub(crate) fn share(&self) -> Self {
        Self {
            weight: self.weight.shallow_clone(),
            eps: self.eps,
        }
    }

    /// The norm with its output multiplied by `factor`.
    pub(crate) fn scaled(self, factor: f64) -> Result<Self> {
        Ok(Self {
            weight: self.weight.f_mul_scalar(factor)?,
            eps: self.eps,
        })
    }

    /// The norm of rows `[T, D]` in f32, by a fused kernel.
    pub(crate) fn of(&self, rows: &Tensor, kind: Kind) -> Result<Tensor> {
        let normed = evopress_tensor::rms_norm(rows, &self.weight, self.eps, kind);
        Ok(normed?)
    }

    /// The norm of rows `[T, D]` in f32, in operators that autograd can follow.
    pub(crate) fn traced(&self, rows: &Tensor, kind: Kind) -> Result<Tensor> {
        let normed = evopress_tensor::plain_rms_norm(rows, &self.weight, self.eps, kind);
        Ok(normed?)
    }

    /// The norm as one over heads.
    pub(crate) fn of_heads(&self) -> HeadNorm<'_> {
        HeadNorm {
            weight: &self.weight,
            eps: self.eps,
        }
    }
}
