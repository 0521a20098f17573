//! How many generations the paper gives a search.

use evopress_plugin::Encoding;

use crate::genotype::{Group, SearchSpace};

/// The paper's number of generations: `k (n − k) / 1.5` for dropping k of the n units of the
/// largest group, 400 for sparsity, 150 for quantization.
pub fn paper_generations(space: &SearchSpace) -> u32 {
    let of_group = |group: &Group| {
        let num_units = group.unit_idxs.len() as f64;
        let num_kept = (num_units * space.allowed_share(group)).round();
        (num_kept * (num_units - num_kept) / 1.5) as u32
    };
    match space.encodings() {
        encodings if encodings.is_empty() => {
            let generations = space.groups().iter().map(of_group).max();
            generations.unwrap_or(0).max(1)
        }
        encodings if encodings.iter().any(is_sparse) => 400,
        _ => 150,
    }
}

fn is_sparse(encoding: &Encoding) -> bool {
    matches!(encoding, Encoding::Sparse { .. })
}
