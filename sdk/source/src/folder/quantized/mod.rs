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

use std::path::Path;

use evopress_plugin::DType;
use serde_json::{Map, Value};

use self::awq::Awq;
use self::coded::CodedWeight;
use self::compressed_tensors::CompressedTensors;
use self::fp8::Fp8;
use self::gptq::Gptq;
use self::parts::Parts;
use self::settings::Settings;
use super::weight_files::WeightFiles;
use crate::error::SourceError;
use crate::tensor::StoredTensor;

/// The field of `config.json`, and what it was called in early checkpoints of compressed-tensors.
const FIELDS: [&str; 2] = ["quantization_config", "compression_config"];
const METHODS: &str = "awq, compressed-tensors, fbgemm_fp8, fp8, gptq";

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
/// As [`OF_WEIGHTS`], of activations and of caches of keys and values. These are not quantized
/// here.
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
    /// The field of `config.json` that says it.
    field: &'static str,
    method: String,
    layout: Layout,
}

enum Layout {
    Gptq(Gptq),
    Awq(Awq),
    CompressedTensors(CompressedTensors),
    Fp8(Fp8),
}

impl Quantized {
    /// Takes the settings out of a configuration, which is that of `file`; none where the weights
    /// are not quantized.
    ///
    /// # Errors
    /// When the weights are quantized in a way that is not read.
    pub(in crate::folder) fn take(
        config: &mut Map<String, Value>,
        file: &Path,
    ) -> Result<Option<Self>, SourceError> {
        let mut found = None;
        for field in FIELDS {
            match config.shift_remove(field) {
                Some(value) if !value.is_null() && found.is_none() => found = Some((field, value)),
                _ => {}
            }
        }
        let Some((field, value)) = &found else {
            return Ok(None);
        };
        let settings = Settings { field, value, file };
        let layout = match settings.method() {
            "gptq" => Layout::Gptq(Gptq::parse(&settings)?),
            "awq" => Layout::Awq(Awq::parse(&settings)?),
            "compressed-tensors" => Layout::CompressedTensors(CompressedTensors::parse(&settings)?),
            "fp8" | "fbgemm_fp8" => Layout::Fp8(Fp8::parse(&settings)?),
            other => {
                let algorithm = settings.value.get("quant_algo").and_then(Value::as_str);
                let found = format!("{other} {}", algorithm.unwrap_or_default());
                return Err(settings.unsupported("quant_method", found.trim_end(), METHODS));
            }
        };
        Ok(Some(Self {
            field: *field,
            method: settings.method().to_owned(),
            layout,
        }))
    }

    /// What there is to say where no weight is quantized after all.
    pub(super) fn without_codes(&self) -> String {
        format!(
            "config.json has a {} ({}), but all weights are plain: they are read as they are, while \
             transformers and vLLM look for quantized ones; remove the field",
            self.field, self.method
        )
    }

    /// The weight that a tensor is a part of, by its name.
    pub(super) fn weight_of(part: &str) -> Option<String> {
        let (module, part) = part.rsplit_once('.')?;
        OF_WEIGHTS
            .contains(&part)
            .then(|| format!("{module}.weight"))
    }

    /// The names of all tensors that may be parts of a weight.
    pub(super) fn parts_of(weight: &str) -> Vec<String> {
        let module = weight.strip_suffix(".weight");
        let parts = OF_WEIGHTS.iter();
        module.map_or_else(Vec::new, |module| {
            parts.map(|part| format!("{module}.{part}")).collect()
        })
    }

    /// The tensor with the codes of a weight, where there is one in place of a tensor of its name.
    pub(super) fn codes_of(files: &WeightFiles, weight: &str) -> Option<String> {
        let module = weight.strip_suffix(".weight")?;
        let mut codes = CODES.iter().map(|part| format!("{module}.{part}"));
        codes.find(|name| files.has(name))
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
