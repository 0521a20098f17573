//! The written artifact against the budget: what is on disk must be as coarse as the levels say.

use evopress_plugin::Encoding;
use tch::{Kind, Tensor};

use crate::error::{EngineError, Result};
use crate::genotype::{Candidate, SearchSpace};
use crate::source::Source;

/// Reads every compressed weight of the artifact again: no group of a quantized weight has more values than its bits allow, no pruned
/// weight more non-zero ones than its level keeps.
///
/// # Errors
/// A weight that has: the artifact breaks the budget that the search kept.
pub fn verify(artifact: &Source, space: &SearchSpace, candidate: &Candidate) -> Result<()> {
    let outline = space.outline();
    let dropped = &candidate.dropped;
    let is_kept = |block_idx: usize| !(dropped.attention[block_idx] && dropped.mlp[block_idx]);
    for (layer, id) in outline.layers.iter().zip(&candidate.weights) {
        let Some(id) = id else { continue };
        let block_idx = layer.block_idx as usize;
        let new_idx = (0..block_idx).filter(|&idx| is_kept(idx)).count();
        let place = layer.name.splitn(4, '.').nth(3).unwrap_or_default();
        let weight = artifact.tensor(&format!("model.layers.{new_idx}.{place}.weight"))?;
        let variants = space.variants(id.method_idx.into());
        let of_layer = variants.iter().find(|it| it.layer_idx == id.layer_idx);
        let Some(variant) = of_layer.map(|it| &it.variants[usize::from(id.variant_idx)]) else {
            continue;
        };
        if let Some(reason) = excess(&weight, &variant.encoding)? {
            return Err(EngineError::Budget(format!(
                "the written artifact breaks its budget: layer `{}` at level `{}` has {reason}",
                layer.name, variant.name
            )));
        }
    }
    Ok(())
}

/// What a weight has more of than its encoding allows, if anything.
fn excess(weight: &Tensor, encoding: &Encoding) -> Result<Option<String>> {
    Ok(match *encoding {
        Encoding::Quantized {
            bits, group_size, ..
        } => {
            let groups = weight
                .f_to_kind(Kind::Float)?
                .f_view([-1, i64::from(group_size)])?;
            let (sorted, _) = groups.f_sort(-1, false)?;
            let steps = sorted.f_diff(1, -1, None::<Tensor>, None::<Tensor>)?;
            let steps = steps
                .f_ne(0.0)?
                .f_sum_dim_intlist(-1i64, false, Kind::Int64)?;
            let most = steps.f_max()?.int64_value(&[]) + 1;
            (most > 1 << bits).then(|| format!("{most} values in a group of {bits} bits"))
        }
        Encoding::Sparse { num_values, .. } => {
            let found = weight.f_count_nonzero(None::<i64>)?.int64_value(&[]) as u64;
            (found > num_values).then(|| format!("{found} weights, {num_values} are allowed"))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use evopress_plugin::DType;

    use super::*;

    #[test]
    fn weights_finer_than_their_level_are_noticed() {
        let weight = Tensor::from_slice(&[0.0_f32, 1.0, 2.0, 3.0, 5.0, 5.0, 0.0, 5.0]).view([2, 4]);
        let quantized = |bits| Encoding::Quantized {
            bits,
            group_size: 4,
            symmetric: false,
        };
        let sparse = |num_values| Encoding::Sparse {
            num_values,
            dtype: DType::F32,
        };
        assert_eq!(excess(&weight, &quantized(2)).unwrap(), None);
        assert_eq!(excess(&weight, &sparse(6)).unwrap(), None);
        let sentence = |encoding| excess(&weight, &encoding).unwrap().unwrap();
        assert_eq!(sentence(quantized(1)), "4 values in a group of 1 bits");
        assert_eq!(sentence(sparse(5)), "6 weights, 5 are allowed");
    }
}
