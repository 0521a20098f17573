//! One layer's file: the parts of every variant as tensors `VARIANT/PART`, and what was measured of
//! them as metadata.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

use evopress_plugin::{DType, Decoder, PackedWeight, Variant};
use evopress_source::MappedFile;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::error::{LevelsError, Result};

/// Name of a layer's file in the database.
pub(crate) fn file_name(layer_name: &str) -> String {
    format!("{layer_name}.safetensors")
}

/// What a build measured of a layer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Relative output error of each variant: `tr(Δ H Δᵀ) / tr(W H Wᵀ)` with `Δ = W − Ŵ`.
    pub(crate) errors: BTreeMap<String, f64>,
    /// Calibration tokens that came by; none without statistics.
    #[serde(default)]
    pub(crate) num_tokens: Option<u64>,
    /// Share of weights whose `|w|·‖x‖` is an outlier (see [`crate::quality`]); none without
    /// statistics.
    pub(crate) outlier_ratio: Option<f64>,
}

/// The bytes of a layer's file; `weights` are in the order of `variants`.
pub(crate) fn serialize(
    (rows, columns): (u64, u64),
    variants: &[Variant],
    weights: &[PackedWeight],
    measured: &Measured,
) -> Result<Vec<u8>> {
    let unwritable = |error: &dyn std::fmt::Display| LevelsError::Unwritable(error.to_string());
    let mut tensors = Vec::new();
    for (variant, weight) in variants.iter().zip(weights) {
        let parts = variant.encoding.parts(rows, columns);
        for (part, tensor) in parts.iter().zip(&weight.parts) {
            let shape = part.shape.iter().map(|&extent| extent as usize).collect();
            let view = TensorView::new(dtype(part.dtype), shape, tensor.bytes());
            let view = view.map_err(|error| unwritable(&error))?;
            tensors.push((format!("{}/{}", variant.name, part.name), view));
        }
    }
    let text = serde_json::to_string(measured).map_err(|error| unwritable(&error))?;
    let metadata = HashMap::from([("measured".to_owned(), text)]);
    safetensors::serialize(tensors, Some(metadata)).map_err(|error| unwritable(&error))
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::Bf16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::U8 => Dtype::U8,
    }
}

/// A layer's file, mapped.
#[derive(Debug)]
pub(crate) struct LayerFile {
    file: MappedFile,
    shape: (usize, usize),
    variants: Vec<(Variant, Vec<Range<usize>>)>,
    pub(crate) measured: Measured,
}

impl LayerFile {
    /// Takes what was read of a large file out of this process's memory.
    pub(crate) fn release(&self) {
        const LARGE_BYTES: usize = 1 << 20;
        if self.file.bytes().len() >= LARGE_BYTES {
            self.file.release();
        }
    }

    /// Opens the file at `path` of a layer of `shape`, which has `variants`.
    pub(crate) fn open(path: &Path, shape: (usize, usize), variants: &[Variant]) -> Result<Self> {
        let damaged = |reason: String| LevelsError::Damaged {
            path: path.to_path_buf(),
            reason,
        };
        // Files of a database are never changed once they have their name, and the run holds the database's lock.
        let file = MappedFile::open(path)?;
        let map = file.bytes();
        let not_readable = |error: safetensors::SafeTensorError| damaged(error.to_string());
        let (_, header) = SafeTensors::read_metadata(map).map_err(not_readable)?;
        let measured = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get("measured"))
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| damaged("it does not say what was measured".into()))?;
        let tensors = SafeTensors::deserialize(map).map_err(not_readable)?;
        let start = map.as_ptr().addr();
        let mut found = Vec::with_capacity(variants.len());
        for variant in variants {
            let mut ranges = Vec::new();
            for part in variant.encoding.parts(shape.0 as u64, shape.1 as u64) {
                let name = format!("{}/{}", variant.name, part.name);
                let tensor = tensors
                    .tensor(&name)
                    .map_err(|_| damaged(format!("it has no tensor `{name}`")))?;
                let offset = tensor.data().as_ptr().addr() - start;
                ranges.push(offset..offset + tensor.data().len());
            }
            found.push((variant.clone(), ranges));
        }
        let this = Self {
            file,
            shape,
            variants: found,
            measured,
        };
        (0..variants.len()).try_for_each(|idx| this.decoder(idx).map(drop))?;
        Ok(this)
    }

    /// Reads a variant.
    pub(crate) fn decoder(&self, variant_idx: usize) -> Result<Decoder<'_>> {
        let (variant, _) = &self.variants[variant_idx];
        let (rows, columns) = self.shape;
        Decoder::new(&variant.encoding, rows, columns, self.parts(variant_idx)).map_err(|error| {
            LevelsError::Damaged {
                path: self.file.path().to_path_buf(),
                reason: format!("variant `{}`: {error}", variant.name),
            }
        })
    }

    /// The bytes of a variant's parts.
    pub(crate) fn parts(&self, variant_idx: usize) -> Vec<&[u8]> {
        let (_, ranges) = &self.variants[variant_idx];
        ranges
            .iter()
            .map(|range| &self.file.bytes()[range.clone()])
            .collect()
    }

    pub(crate) fn variant(&self, variant_idx: usize) -> &Variant {
        &self.variants[variant_idx].0
    }

    pub(crate) fn shape(&self) -> (usize, usize) {
        self.shape
    }
}
