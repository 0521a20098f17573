//! Databases of plainly rounded weights, for tests.

use std::path::Path;

use evopress_model::read_tensor;
use evopress_plugin::{Encoding, ModelOutline, OwnedTensor, PackedWeight, pack_codes};
use evopress_search::genotype::LayerVariants;
use evopress_source::Source;
use evopress_tensor::to_vec;
use half::f16;

use crate::database::Database;
use crate::file::{self, Measured, file_name};

/// Writes the layers' variants, asymmetric grids of any width, to `folder`.
///
/// # Panics
/// Where anything fails, or a variant is of another encoding.
pub fn database(
    folder: &Path,
    source: &Source,
    outline: &ModelOutline,
    layers: &[LayerVariants],
) -> Database {
    for layer in layers {
        let of_model = &outline.layers[layer.layer_idx as usize];
        let weight = read_tensor(source, &format!("{}.weight", of_model.name)).unwrap();
        let weight = to_vec(&weight).unwrap();
        let (rows, columns) = (of_model.out_features, of_model.in_features);
        let encodings = layer.variants.iter().map(|variant| &variant.encoding);
        let packed: Vec<PackedWeight> = encodings
            .map(|encoding| round(&weight, encoding, columns as usize))
            .collect();
        let measured = Measured::default();
        let bytes = file::serialize((rows, columns), &layer.variants, &packed, &measured).unwrap();
        std::fs::write(folder.join(file_name(&of_model.name)), bytes).unwrap();
    }
    Database::open(folder, outline, layers).unwrap()
}

fn round(weight: &[f32], encoding: &Encoding, columns: usize) -> PackedWeight {
    let &Encoding::Quantized {
        bits,
        group_size,
        symmetric: false,
    } = encoding
    else {
        panic!("expected an asymmetric grid, found {encoding:?}");
    };
    let most = f32::from((1_u16 << bits) - 1);
    let (mut codes, mut scales, mut zeros) = (Vec::new(), Vec::new(), Vec::new());
    for group in weight.chunks(group_size as usize) {
        let least = group.iter().copied().fold(0.0, f32::min);
        let largest = group.iter().copied().fold(0.0, f32::max);
        let scale = f16::from_f32((largest - least) / most);
        let zero = (-least / scale.to_f32()).round();
        let code = |w: &f32| (w / scale.to_f32() + zero).round().clamp(0.0, most) as u8;
        codes.extend(group.iter().map(code));
        scales.push(scale);
        zeros.push(zero as u8);
    }
    let rows = weight.len() / columns;
    let groups = columns / group_size as usize;
    let bytes = |bytes: Vec<u8>| {
        let shape = [rows as i64, (bytes.len() / rows) as i64];
        OwnedTensor::from_vec(bytes, &shape).unwrap()
    };
    PackedWeight {
        parts: vec![
            bytes(pack_codes(&codes, bits, columns)),
            OwnedTensor::from_vec(scales, &[rows as i64, groups as i64]).unwrap(),
            bytes(pack_codes(&zeros, bits, groups)),
        ],
    }
}
