//! What the levels of a search space take.

use evopress::genotype::SearchSpace;
use evopress_plugin::{LayerOutline, Variant};

/// Every variant of every layer, of all methods.
pub(crate) fn variants(space: &SearchSpace) -> impl Iterator<Item = (&LayerOutline, &[Variant])> {
    let methods = 0..space.num_methods();
    let layers = methods.flat_map(|method_idx| space.variants(method_idx));
    layers.map(|layer| {
        let of_model = &space.outline().layers[layer.layer_idx as usize];
        (of_model, layer.variants.as_slice())
    })
}

/// Bytes of every level in the run's dtype.
pub(super) fn decoded_bytes(space: &SearchSpace) -> u64 {
    let bytes_per_weight = u64::from(space.outline().bytes_per_weight);
    variants(space)
        .map(|(layer, variants)| layer.num_weights() * bytes_per_weight * variants.len() as u64)
        .sum()
}

/// Bytes of the level databases.
pub(crate) fn packed_bytes(space: &SearchSpace) -> u64 {
    let of_layer = |(layer, variants): (&LayerOutline, &[Variant])| -> u64 {
        let sizes = variants.iter().map(|variant| {
            variant
                .encoding
                .size_bytes(layer.out_features, layer.in_features)
        });
        sizes.sum()
    };
    variants(space).map(of_layer).sum()
}
