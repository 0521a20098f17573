//! Which specifications the decoder computes. What it does not is refused by name, never run
//! wrongly.

use evopress_plugin::SubBlock;
use evopress_source::ModelSpec;

use crate::error::{ModelError, Result};

/// # Errors
/// The first part of the model that the decoder does not compute.
pub(crate) fn check(spec: &ModelSpec) -> Result<()> {
    let refuse = |place: &str, what: &'static str| {
        Err(ModelError::Unsupported {
            place: place.to_owned(),
            what,
        })
    };
    for (block_idx, block) in spec.blocks.iter().enumerate() {
        let mut of_mlp = block
            .slots_of(SubBlock::Mlp)
            .map(|slot| &block.layers[slot]);
        if block.experts().is_some() && of_mlp.any(|layer| layer.has_bias) {
            return refuse(&spec.block_name(block_idx), "experts with biases");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use evopress_source::spec::ExpertsSpec;
    use evopress_source::{Source, fixtures};

    use super::*;

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        let source = Source::open(&fixtures::folder().join("models/llama3")).unwrap();
        let spec = source.spec();
        check(spec).unwrap();
        let refusal = |change: fn(&mut ModelSpec)| {
            let mut spec = spec.clone();
            change(&mut spec);
            check(&spec).unwrap_err().to_string()
        };
        assert_eq!(
            refusal(|spec| {
                spec.blocks[1].layers[4].has_bias = true;
                spec.blocks[1].mlp.as_mut().unwrap().experts = Some(ExpertsSpec {
                    router: "mlp.gate".into(),
                    num_experts: 4,
                    num_active: 2,
                    is_renormalized: true,
                    shared: None,
                });
            }),
            "model.layers.1: the decoder does not compute experts with biases"
        );
    }
}
