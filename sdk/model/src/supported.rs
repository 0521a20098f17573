//! Which specifications the decoder computes. What it does not is refused by name, never run
//! wrongly.

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
        if block.mlp.as_ref().is_some_and(|mlp| mlp.experts.is_some()) {
            return refuse(&spec.block_name(block_idx), "an MLP of experts");
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
                spec.blocks[1].mlp.as_mut().unwrap().experts = Some(ExpertsSpec {
                    router: "mlp.gate".into(),
                    num_experts: 4,
                    num_active: 2,
                    is_renormalized: true,
                });
            }),
            "model.layers.1: the decoder does not compute an MLP of experts"
        );
    }
}
