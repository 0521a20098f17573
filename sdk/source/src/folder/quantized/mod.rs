//! Weights that come quantized: what `quantization_config` says of them, and a reader for each
//! layout, which makes dense weights of what the files have.
//!
//! The layouts are read here without a line of the code that writes them, so that an artifact that
//! is read again is checked against the formats and not against its writer.

mod awq;
mod coded;
mod compressed_tensors;
mod float8;
mod fp8;
mod gptq;
mod parts;
mod schemes;
mod settings;

use evopress_plugin::DType;

use self::coded::CodedWeight;
use self::parts::Parts;
use super::weight_files::WeightFiles;
use crate::error::SourceError;
use crate::tensor::StoredTensor;

/// What the names of tensors end with that stand for a quantized weight.
const OF_WEIGHTS: [&str; 10] = [
    "g_idx",
    "qweight",
    "qzeros",
    "scales",
    "weight_g_idx",
    "weight_packed",
    "weight_scale",
    "weight_scale_inv",
    "weight_shape",
    "weight_zero_point",
];
/// Those of them that stand in the place of the weight.
const CODES: [&str; 2] = ["qweight", "weight_packed"];
/// As [`OF_WEIGHTS`], of activations and of caches of keys and values. These are not quantized here.
const OF_ACTIVATIONS: [&str; 8] = [
    "activation_scale",
    "input_scale",
    "input_zero_point",
    "k_scale",
    "kv_scale",
    "output_scale",
    "q_scale",
    "v_scale",
];

/// How a folder's weights are quantized.
pub(super) struct Quantized {
    method: String,
    layout: Layout,
}

enum Layout {
    Gptq(gptq::Gptq),
    Awq(awq::Awq),
    CompressedTensors(compressed_tensors::CompressedTensors),
    Fp8(fp8::Fp8),
}

impl Quantized {
    /// The weight that a tensor is a part of, by its name.
    pub(super) fn weight_of(part: &str) -> Option<String> {
        let (module, part) = part.rsplit_once('.')?;
        OF_WEIGHTS
            .contains(&part)
            .then(|| format!("{module}.weight"))
    }

    /// Whether codes of a weight are there in place of a tensor of its name.
    pub(super) fn has_codes_of(files: &WeightFiles, weight: &str) -> bool {
        let module = weight.strip_suffix(".weight");
        module.is_some_and(|module| {
            let mut codes = CODES.iter().map(|part| format!("{module}.{part}"));
            codes.any(|name| files.has(&name))
        })
    }

    /// Whether a tensor is there for quantized activations alone, by its name.
    pub(super) fn is_of_activations(name: &str) -> bool {
        let part = name.rsplit_once('.').map_or(name, |(_, part)| part);
        OF_ACTIVATIONS.contains(&part)
    }

    /// The method, as the settings name it.
    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// What the codes of a weight are, once all its parts have the types and shapes that they must
    /// have; none where the files have it as it is.
    pub(super) fn type_of(
        &self,
        files: &WeightFiles,
        name: &str,
        shape: &[i64],
    ) -> Result<Option<String>, SourceError> {
        let coded = self.coded(files, name, shape)?;
        Ok(coded.map(|coded| coded.codes.to_string()))
    }

    /// A quantized weight in f32; none where the files have it as it is.
    pub(super) fn tensor<'a>(
        &self,
        files: &'a WeightFiles,
        name: &str,
        shape: &[i64],
    ) -> Result<Option<StoredTensor<'a>>, SourceError> {
        let coded = self.coded(files, name, shape)?;
        Ok(coded.map(|coded| {
            StoredTensor::computed(DType::F32, shape, Box::new(move |out| coded.decode(out)))
        }))
    }

    fn coded<'a>(
        &self,
        files: &'a WeightFiles,
        name: &str,
        shape: &[i64],
    ) -> Result<Option<CodedWeight<'a>>, SourceError> {
        let (Some(module), &[rows, columns]) = (name.strip_suffix(".weight"), shape) else {
            return Ok(None);
        };
        let parts = Parts {
            files,
            module,
            rows,
            columns,
        };
        match &self.layout {
            Layout::Gptq(gptq) => gptq.coded(parts),
            Layout::Awq(awq) => awq.coded(parts),
            Layout::CompressedTensors(layout) => layout.coded(parts),
            Layout::Fp8(fp8) => fp8.coded(parts),
        }
    }
}
