//! The rotary position embedding's table.

use evopress_source::spec::{AttentionSpec, Rope};
use tch::{Device, Tensor};

use crate::error::Result;

/// `cos` and `sin` of position × frequency, `[length, r / 2]` in f32 where `r` numbers of a head
/// turn; none where an attention does not rotate.
#[derive(Debug)]
pub(crate) struct RopeTable(Option<Rotation>);

#[derive(Debug)]
struct Rotation {
    rope: Rope,
    rows: [Tensor; 2],
}

impl RopeTable {
    /// The table of an attention for positions below `length`.
    pub(crate) fn new(spec: &AttentionSpec, length: i64, device: Device) -> Result<Self> {
        let rotation = match &spec.rope {
            Some(rope) => Some(Rotation::new(rope, length, device)?),
            None => None,
        };
        Ok(Self(rotation))
    }

    /// A table for sequences of `length` tokens.
    pub(crate) fn extended(&self, length: i64) -> Result<Self> {
        let rotation = match &self.0 {
            Some(rotation) => Some(rotation.extended(length)?),
            None => None,
        };
        Ok(Self(rotation))
    }

    /// `cos` and `sin` for sequences of `length` tokens: of this table, or of a new one where it is
    /// too short or its frequencies are those of other lengths.
    pub(crate) fn rows(&self, length: i64) -> Result<Option<[Tensor; 2]>> {
        let Some(rotation) = &self.0 else {
            return Ok(None);
        };
        let [cos, sin] = &rotation.rows;
        let (rope, prepared) = (&rotation.rope, cos.size()[0]);
        if length <= prepared && rope.is_long(length) == rope.is_long(prepared) {
            let first = |table: &Tensor| table.f_narrow(0, 0, length);
            return Ok(Some([first(cos)?, first(sin)?]));
        }
        Ok(Some(rotation.extended(length)?.rows))
    }

    /// Another handle to this table.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.as_ref().map(|rotation| Rotation {
            rope: rotation.rope.clone(),
            rows: rotation.rows.each_ref().map(Tensor::shallow_clone),
        }))
    }
}

impl Rotation {
    fn new(rope: &Rope, length: i64, device: Device) -> Result<Self> {
        let frequencies = rope.inverse_frequencies(length);
        let factor = rope.attention_factor() as f32;
        let mut cos = Vec::with_capacity(length as usize * frequencies.len());
        let mut sin = Vec::with_capacity(cos.capacity());
        for position in 0..length {
            for frequency in &frequencies {
                // f32 like every implementation that models are trained with.
                let angle = position as f32 * *frequency as f32;
                cos.push(factor * angle.cos());
                sin.push(factor * angle.sin());
            }
        }
        let table = |values: &[f32]| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?
                .f_view([length, frequencies.len() as i64])?
                .f_to_device(device)?)
        };
        Ok(Self {
            rope: rope.clone(),
            rows: [table(&cos)?, table(&sin)?],
        })
    }

    fn extended(&self, length: i64) -> Result<Self> {
        Self::new(&self.rope, length, self.rows[0].device())
    }
}
