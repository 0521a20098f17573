//! One task of a build: layers that share their inputs go to the method, and what comes back is
//! measured and made durable.

use evopress_model::read_tensor;
use evopress_plugin::{CompressTask, LayerTask, Method, Variant};
use evopress_source::Source;
use evopress_tensor::to_vec;
use tch::{Device, Kind, Tensor};

use crate::error::{LevelsError, Result};
use crate::file::{self, Measured, file_name};
use crate::ledger::Ledger;
use crate::statistics::Statistics;
use crate::{decode, quality};

/// A layer on its way to the method.
pub(crate) struct ToCompress {
    pub(crate) name: String,
    /// `(N, K)`.
    pub(crate) shape: (u64, u64),
    pub(crate) variants: Vec<Variant>,
}

impl ToCompress {
    /// Its weight `[N, K]` in f32 on a device.
    pub(crate) fn weight(&self, source: &Source, device: Device) -> Result<Tensor> {
        let weight = dense_weight(source, &self.name)?.f_to_device(device)?;
        Ok(weight.f_to_kind(Kind::Float)?.f_contiguous()?)
    }
}

/// A layer's dense weight as the model has it.
pub(crate) fn dense_weight(source: &Source, layer: &str) -> Result<Tensor> {
    let weight = read_tensor(source, &format!("{layer}.weight"))?;
    if weight.f_isfinite()?.f_all()?.int64_value(&[]) == 0 {
        return Err(LevelsError::NotFinite {
            layer: layer.to_owned(),
            what: "weights",
        });
    }
    Ok(weight)
}

/// Compresses layers that share their inputs, measures the result and commits it.
pub(crate) fn compress(
    method: &dyn Method,
    statistics: &Statistics,
    layers: &[ToCompress],
    weights: &[Tensor],
    ledger: &Ledger,
) -> Result<()> {
    let norms = statistics.input_norms.as_ref().map(to_vec);
    let norms = norms.transpose()?;
    let hessian = statistics.hessian()?;
    let task = CompressTask {
        num_tokens: statistics.num_tokens,
        input_norms: norms.as_deref(),
        hessian: hessian
            .as_ref()
            .map(evopress_plugin_tch::view)
            .transpose()?,
        layers: layers
            .iter()
            .zip(weights)
            .map(|(layer, weight)| {
                Ok(LayerTask {
                    name: &layer.name,
                    weight: evopress_plugin_tch::view(weight)?,
                    variants: &layer.variants,
                })
            })
            .collect::<Result<_>>()?,
    };
    let packed = method.compress(&task)?;
    for ((layer, dense), weights) in layers.iter().zip(weights).zip(&packed) {
        let size = dense.size();
        let shape = (size[0] as usize, size[1] as usize);
        let whole = quality::output_energy(dense, statistics)?;
        let mut measured = Measured {
            num_tokens: norms.is_some().then_some(statistics.num_tokens),
            outlier_ratio: quality::outlier_ratio(dense, statistics)?,
            ..Measured::default()
        };
        for (variant, weight) in layer.variants.iter().zip(weights) {
            let decoded = decode::packed(weight, &variant.encoding, shape)?;
            let difference = dense.f_sub(&decoded.f_to_device(dense.device())?)?;
            let lost = quality::output_energy(&difference, statistics)?;
            let error = if whole > 0.0 { lost / whole } else { 0.0 };
            if !error.is_finite() {
                return Err(LevelsError::NotFinite {
                    layer: layer.name.clone(),
                    what: "compressed weights",
                });
            }
            measured.errors.insert(variant.name.clone(), error);
        }
        let shape = (shape.0 as u64, shape.1 as u64);
        let bytes = file::serialize(shape, &layer.variants, weights, &measured)?;
        ledger.commit(&file_name(&layer.name), &bytes)?;
    }
    Ok(())
}

/// Products that layers with the same inputs take, up to a factor: each row of each variant meets
/// the square of the inputs' width, and so do the inputs among themselves.
pub(crate) fn work_of(layers: &[ToCompress]) -> u64 {
    let rows = layers
        .iter()
        .map(|layer| layer.shape.0 * layer.variants.len().max(1) as u64);
    let width = layers.first().map_or(0, |layer| layer.shape.1);
    (rows.sum::<u64>() + width) * width * width
}
