//! A finished database, open for a run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use evopress_model::LevelSource;
use evopress_plugin::{Decoder, ModelOutline};
use evopress_search::genotype::{LayerVariants, WeightId};
use tch::{Device, Kind, Tensor};

use crate::decode;
use crate::error::Result;
use crate::file::{LayerFile, file_name};

/// The variants of a method's layers, memory-mapped.
#[derive(Debug)]
pub struct Database {
    layers: BTreeMap<u32, LayerFile>,
}

impl Database {
    /// Opens the files of `layers` in `folder`, whose digests have been verified.
    ///
    /// # Errors
    /// A file that is missing or does not hold the layer's variants.
    pub fn open(folder: &Path, outline: &ModelOutline, layers: &[LayerVariants]) -> Result<Self> {
        let mut opened = BTreeMap::new();
        for layer in layers {
            let of_model = &outline.layers[layer.layer_idx as usize];
            let shape = (
                of_model.out_features as usize,
                of_model.in_features as usize,
            );
            let path = folder.join(file_name(&of_model.name));
            let file = LayerFile::open(&path, shape, &layer.variants)?;
            opened.insert(layer.layer_idx, file);
        }
        Ok(Self { layers: opened })
    }

    /// A weight `[N, K]` in `kind` on `device`.
    ///
    /// # Errors
    /// When the device has no room for it.
    ///
    /// # Panics
    /// If the database has no such layer or variant.
    pub fn decode(&self, id: WeightId, kind: Kind, device: Device) -> Result<Tensor> {
        let file = &self.layers[&id.layer_idx];
        let weight = decode::weight(file, id.variant_idx.into(), kind, device);
        file.release();
        weight
    }

    /// Reads a variant row by row.
    ///
    /// # Errors
    /// When its parts do not fit together.
    ///
    /// # Panics
    /// If the database has no such layer or variant.
    pub fn decoder(&self, id: WeightId) -> Result<Decoder<'_>> {
        self.layers[&id.layer_idx].decoder(id.variant_idx.into())
    }

    /// The bytes of a variant's parts, in the order of its encoding.
    ///
    /// # Panics
    /// If the database has no such layer or variant.
    pub fn parts(&self, id: WeightId) -> Vec<&[u8]> {
        self.layers[&id.layer_idx].parts(id.variant_idx.into())
    }

    /// Relative output error of a variant, `tr(Δ H Δᵀ) / tr(W H Wᵀ)` over the calibration tokens.
    ///
    /// # Panics
    /// If the database has no such layer or variant.
    pub fn relative_error(&self, id: WeightId) -> f64 {
        let file = &self.layers[&id.layer_idx];
        let name = &file.variant(id.variant_idx.into()).name;
        file.measured.errors.get(name).copied().unwrap_or(0.0)
    }

    /// Share of a layer's weights that are outliers in the sense of OWL; none where the method
    /// needs no statistics.
    pub fn outlier_ratio(&self, layer_idx: u32) -> Option<f64> {
        self.layers.get(&layer_idx)?.measured.outlier_ratio
    }
}

impl Database {
    /// Calibration tokens that came by a layer; none where the method needs no statistics, or where
    /// an earlier version built the database.
    pub fn num_tokens(&self, layer_idx: u32) -> Option<u64> {
        self.layers.get(&layer_idx)?.measured.num_tokens
    }

    /// Experts that calibration never reached, so that their layers were compressed by their
    /// weights alone.
    pub fn num_experts_without_tokens(&self, outline: &ModelOutline) -> u64 {
        let without = self.layers.iter().filter_map(|(&layer_idx, file)| {
            let layer = &outline.layers[layer_idx as usize];
            let is_without = file.measured.num_tokens == Some(0);
            Some((layer.block_idx, layer.expert_idx.filter(|_| is_without)?))
        });
        without.collect::<BTreeSet<_>>().len() as u64
    }
}

impl LevelSource for Database {
    fn decode(
        &self,
        id: WeightId,
        kind: Kind,
        device: Device,
    ) -> Result<Tensor, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Database::decode(self, id, kind, device)?)
    }
}
