//! What a ggml type's blocks are made of.

use evopress_plugin::{Encoding, GgmlType, LayerTask, PluginError, Variant};

use crate::fit::{Multiples, iq4_value, ratio};
use crate::grid::{Grid, Values};

/// What a type's blocks are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    pub(crate) ggml_type: GgmlType,
    /// Weights of a block.
    pub(crate) len: usize,
    /// Weights that share a scale.
    pub(crate) group_len: usize,
    pub(crate) low: f32,
    pub(crate) high: f32,
    /// Codes are places in the codebook of the `IQ4` types, not numbers themselves.
    pub(crate) has_codebook: bool,
}

impl Format {
    /// Of a quantized type.
    pub(crate) fn of(ggml_type: GgmlType) -> Self {
        let len = ggml_type.block_len();
        let (group_len, bits) = ggml_type.group().unwrap_or((len, 8));
        let num_codes = f32::from(1_u16 << bits);
        let has_minimum = matches!(
            ggml_type,
            GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q2K | GgmlType::Q4K | GgmlType::Q5K
        );
        let has_codebook = matches!(ggml_type, GgmlType::Iq4Nl | GgmlType::Iq4Xs);
        let low = match has_minimum || has_codebook {
            true => 0.0,
            false => -num_codes / 2.0,
        };
        Self {
            ggml_type,
            len,
            group_len,
            low,
            high: low + num_codes - 1.0,
            has_codebook,
        }
    }

    /// What the scales of formats without minima are multiplied with.
    pub(crate) fn multiples(&self) -> Multiples {
        match self.has_codebook {
            true => Multiples::Iq4,
            false => Multiples::Whole(self.low),
        }
    }

    /// What a code stands for.
    pub(crate) fn multiple(&self, code: f32) -> f32 {
        match self.has_codebook {
            true => iq4_value(code),
            false => code,
        }
    }

    /// The least code and the greatest.
    pub(crate) fn range(&self) -> (f32, f32) {
        (self.low, self.high)
    }

    pub(crate) fn num_groups(&self) -> usize {
        self.len / self.group_len
    }

    /// The values of a group of a block.
    pub(crate) fn values(&self, grid: &Grid, group: usize) -> Values {
        let step = grid.unit * grid.scales[group];
        let inverse = ratio(1.0, step);
        Values {
            step,
            offset: grid.minimum_unit * grid.minima[group],
            inverse: if inverse.is_finite() { inverse } else { 0.0 },
            has_codebook: self.has_codebook,
        }
    }

    /// The codes whose values are nearest to a block's weights.
    pub(crate) fn codes(&self, grid: &Grid, weights: &[f32]) -> Vec<f32> {
        let range = self.range();
        let groups = weights.chunks(self.group_len).enumerate();
        let codes = groups.flat_map(|(at, group)| {
            let values = self.values(grid, at);
            group.iter().map(move |x| values.code(*x, range))
        });
        codes.collect()
    }
}

/// The type of a variant of a layer that this method makes.
pub(crate) fn ggml_type_in(
    layer: &LayerTask<'_>,
    variant: &Variant,
    columns: usize,
) -> Result<GgmlType, PluginError> {
    match variant.encoding {
        Encoding::Ggml { ggml_type }
            if ggml_type.is_quantized() && columns.is_multiple_of(ggml_type.block_len()) =>
        {
            Ok(ggml_type)
        }
        ref other => Err(format!(
            "layer `{}`: variant `{}` is to be packed as {other:?}, but this method makes ggml's blocks that divide {columns} columns",
            layer.name, variant.name
        )
        .into()),
    }
}
