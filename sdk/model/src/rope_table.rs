//! The rotary position embedding's table.

use evopress_source::spec::AttentionSpec;
use tch::{Device, Tensor};

use crate::error::Result;

/// `cos` and `sin` of position × frequency, `[length, head_dim / 2]` in f32.
#[derive(Debug)]
pub(crate) struct RopeTable {
    frequencies: Vec<f64>,
    cos: Tensor,
    sin: Tensor,
}

impl RopeTable {
    /// The table of an attention for positions below `length`; empty where it does not rotate.
    pub(crate) fn new(spec: &AttentionSpec, length: i64, device: Device) -> Result<Self> {
        let rope = spec.rope.as_ref();
        let frequencies = rope.map(|rope| rope.inverse_frequencies(spec.head_dim));
        Self::of(frequencies.unwrap_or_default(), length, device)
    }

    fn of(frequencies: Vec<f64>, length: i64, device: Device) -> Result<Self> {
        let mut cos = Vec::with_capacity(length as usize * frequencies.len());
        let mut sin = Vec::with_capacity(cos.capacity());
        for position in 0..length {
            for frequency in &frequencies {
                // f32 like every implementation that models are trained with.
                let angle = position as f32 * *frequency as f32;
                cos.push(angle.cos());
                sin.push(angle.sin());
            }
        }
        let table = |values: &[f32]| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?
                .f_view([length, frequencies.len() as i64])?
                .f_to_device(device)?)
        };
        let (cos, sin) = (table(&cos)?, table(&sin)?);
        Ok(Self {
            frequencies,
            cos,
            sin,
        })
    }

    /// A table for positions below `length`.
    pub(crate) fn extended(&self, length: i64) -> Result<Self> {
        Self::of(self.frequencies.clone(), length, self.cos.device())
    }

    /// The first `length` rows of `cos` and `sin`; of a new table where there are not so many.
    pub(crate) fn rows(&self, length: i64) -> Result<(Tensor, Tensor)> {
        if length > self.cos.size()[0] {
            let table = self.extended(length)?;
            return Ok((table.cos, table.sin));
        }
        Ok((
            self.cos.f_narrow(0, 0, length)?,
            self.sin.f_narrow(0, 0, length)?,
        ))
    }

    /// Another handle to this table.
    pub(crate) fn share(&self) -> Self {
        Self {
            frequencies: self.frequencies.clone(),
            cos: self.cos.shallow_clone(),
            sin: self.sin.shallow_clone(),
        }
    }
}
