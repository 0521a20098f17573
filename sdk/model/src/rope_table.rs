//! The rotary position embedding's table.

use tch::{Device, Tensor};

use crate::error::Result;
use crate::source::ModelConfig;

/// `cos` and `sin` of position × frequency, `[length, d/2]` f32.
#[derive(Debug)]
pub(crate) struct RopeTable {
    cos: Tensor,
    sin: Tensor,
}

impl RopeTable {
    /// For positions below `length`.
    pub(crate) fn new(config: &ModelConfig, length: i64, device: Device) -> Result<Self> {
        let frequencies = config.rope.inverse_frequencies(config.head_dim);
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
        Ok(Self {
            cos: table(&cos)?,
            sin: table(&sin)?,
        })
    }

    /// The first `length` rows; a new table where there are not so many.
    pub(crate) fn rows(
        &self,
        config: &ModelConfig,
        length: i64,
        device: Device,
    ) -> Result<(Tensor, Tensor)> {
        if length > self.cos.size()[0] {
            let table = Self::new(config, length, device)?;
            return Ok((table.cos, table.sin));
        }
        Ok((
            self.cos.f_narrow(0, 0, length)?,
            self.sin.f_narrow(0, 0, length)?,
        ))
    }

    /// Another handle to the same table.
    pub(crate) fn share(&self) -> Self {
        Self {
            cos: self.cos.shallow_clone(),
            sin: self.sin.shallow_clone(),
        }
    }
}
