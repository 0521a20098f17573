//! The written artifact against the budget: what is on disk must be as coarse as the levels say.

use std::sync::Arc;

use evopress_model::{read_parts, read_tensor};
use evopress_plugin::Encoding;
use tch::{Device, Kind, Tensor};

use super::kept_rows;
use super::layout::Layout;
use crate::error::{ExportError, Result};
use evopress_levels::Database;
use evopress_search::genotype::{Candidate, SearchSpace};
use evopress_source::Source;

/// Reads every tensor of the artifact again: it is what the genotype stands for, bit for bit in the
/// run's dtype `kind`; the output projections of dropped sub-blocks are zeros, and no other tensor
/// is left out; no group of a quantized weight has more values than its bits allow, no pruned
/// weight more non-zero ones than its level keeps.
///
/// # Errors
/// A tensor that differs, or a weight that breaks the budget that the search kept.
pub fn verify(
    artifact: &Source,
    source: &Source,
    space: &SearchSpace,
    databases: &[Arc<Database>],
    candidate: &Candidate,
    kind: Kind,
) -> Result<()> {
    let layout = Layout::new(source, space, candidate);
    for tensor in &layout.tensors {
        let name = &tensor.name;
        if !artifact.has(name) {
            if tensor.omissible.is_none() {
                return Err(ExportError::Damaged {
                    path: artifact.path().to_path_buf(),
                    reason: format!("tensor {name} is left out, but does something"),
                });
            }
            continue;
        }
        let differs = || ExportError::Damaged {
            path: artifact.path().to_path_buf(),
            reason: format!(
                "tensor {name} is not the {} that the genotype stands for",
                tensor.source.name
            ),
        };
        // An artifact's blocks may lack norms, so its own do not have the source's places.
        let norm = source.spec().norm_of(tensor.source.part);
        let adds_one = artifact.adds_one(norm) && !source.adds_one(norm);
        let is_as_in_source = tensor.level.is_none() && tensor.rows.is_none() && !adds_one;
        if is_as_in_source && !tensor.is_idle_weight() {
            match are_equal(artifact, name, source, &tensor.source.name, kind)? {
                true => continue,
                false => return Err(differs()),
            }
        }
        let found = read_tensor(artifact, name)?.f_to_kind(kind)?;
        if tensor.is_idle_weight() {
            let is_sound = match tensor.is_zero {
                true => found.f_count_nonzero(None::<i64>)?.int64_value(&[]) == 0,
                false => found.f_isfinite()?.f_all()?.int64_value(&[]) != 0,
            };
            if !is_sound {
                return Err(ExportError::Damaged {
                    path: artifact.path().to_path_buf(),
                    reason: format!("tensor {name} is of a dropped sub-block, but does something"),
                });
            }
            continue;
        }
        let expected = match tensor.level {
            Some(id) => {
                let database = &databases[usize::from(id.method_idx)];
                database.decode(id, kind, Device::Cpu)?
            }
            None => {
                let dense = kept_rows(
                    read_tensor(source, &tensor.source.name)?,
                    tensor.rows.as_deref(),
                )?;
                match adds_one {
                    // Rounded where the 1 was added.
                    true => ((dense.f_to_kind(Kind::Float)? + 1.0) - 1.0).f_to_kind(kind)?,
                    false => dense.f_to_kind(kind)?,
                }
            }
        };
        if !found.f_equal(&expected)? {
            return Err(differs());
        }
        let Some(id) = tensor.level else { continue };
        let variant = space.variant(id);
        if let Some(reason) = excess(&found, &variant.encoding)? {
            return Err(ExportError::Format(format!(
                "the written artifact breaks its budget: {name} at level `{}` has {reason}",
                variant.name
            )));
        }
    }
    Ok(())
}

/// Whether two models have the same numbers in `kind`, part after part.
fn are_equal(
    artifact: &Source,
    name: &str,
    source: &Source,
    source_name: &str,
    kind: Kind,
) -> Result<bool> {
    let (found, expected) = (
        read_parts(artifact, name)?,
        read_parts(source, source_name)?,
    );
    if found.size() != expected.size() {
        return Ok(false);
    }
    if found.num_parts() != expected.num_parts() {
        let found = read_tensor(artifact, name)?.f_to_kind(kind)?;
        let expected = read_tensor(source, source_name)?.f_to_kind(kind)?;
        return Ok(found.f_equal(&expected)?);
    }
    for (found, expected) in found.zip(expected) {
        if !found?
            .f_to_kind(kind)?
            .f_equal(&expected?.f_to_kind(kind)?)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a weight has more of than its encoding allows, if anything.
fn excess(weight: &Tensor, encoding: &Encoding) -> Result<Option<String>> {
    Ok(match *encoding {
        Encoding::Quantized {
            bits, group_size, ..
        } => too_many_values(weight, group_size.into(), bits)?,
        Encoding::Ggml { ggml_type } => match ggml_type.group() {
            Some((len, bits)) => too_many_values(weight, len as i64, bits)?,
            None => None,
        },
        Encoding::Sparse { num_values, .. } => {
            let found = weight.f_count_nonzero(None::<i64>)?.int64_value(&[]) as u64;
            (found > num_values).then(|| format!("{found} weights, {num_values} are allowed"))
        }
        _ => None,
    })
}

fn too_many_values(weight: &Tensor, group_size: i64, bits: u8) -> Result<Option<String>> {
    /// Weights that are sorted at once: sorting takes several times their memory.
    const AT_ONCE: i64 = 1 << 22;
    let mut most = 0;
    for groups in weight
        .f_view([-1, group_size])?
        .f_split((AT_ONCE / group_size).max(1), 0)?
    {
        let (sorted, _) = groups.f_to_kind(Kind::Float)?.f_sort(-1, false)?;
        let steps = sorted.f_diff(1, -1, None::<Tensor>, None::<Tensor>)?;
        let steps = steps
            .f_ne(0.0)?
            .f_sum_dim_intlist(-1i64, false, Kind::Int64)?;
        most = steps.f_max()?.int64_value(&[]).max(most - 1) + 1;
    }
    Ok((most > 1 << bits).then(|| format!("{most} values in a group of {bits} bits")))
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
