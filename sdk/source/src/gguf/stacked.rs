//! Where tensors lie in GGUF files that are not tensors of their own there.

use std::borrow::Cow;

use crate::spec::{ModelSpec, StoredRows, TensorSpec};

/// The rows of a tensor of a GGUF file that a model's tensor is, if it is not one of its own. A
/// layer of an expert lies in the `[experts, out, in]` of the layers of all experts; other layers
/// share a tensor where they share one in Hugging Face's files. The tensor's name is that of
/// [`of_tensor`](super::names::of_tensor).
pub(crate) fn stored<'a>(spec: &ModelSpec, tensor: &'a TensorSpec) -> Option<Cow<'a, StoredRows>> {
    let of_expert = || {
        let layer = spec.layer_of(tensor.part)?;
        let experts = spec.blocks[tensor.part.block_idx()?].experts()?;
        let rows = layer.out_features;
        let mut shape = vec![i64::from(experts.num_experts)];
        shape.extend_from_slice(&tensor.shape);
        Some(StoredRows {
            name: tensor.name.clone(),
            shape,
            first_row: i64::from(layer.expert?) * rows,
        })
    };
    match of_expert() {
        Some(rows) => Some(Cow::Owned(rows)),
        None => tensor.stored.as_ref().map(Cow::Borrowed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;
    use crate::spec::small;

    #[test]
    fn a_layer_of_an_expert_is_some_rows_of_a_tensor_of_all() {
        let spec = small::mixture();
        let tensors = spec.tensors();
        let check = |name: &str, stored_in: &str, expected: Option<(&[i64], i64)>| {
            let tensor = tensors.iter().find(|it| it.name == name).unwrap();
            let block_idx = tensor.part.block_idx();
            assert_eq!(names::of_tensor(&spec, tensor.part, block_idx), stored_in);
            let found = stored(&spec, tensor).map(Cow::into_owned);
            let found = found.as_ref().map(|it| (it.shape.as_slice(), it.first_row));
            assert_eq!(found, expected, "{name}");
        };
        let of_block = |name: &str| format!("model.layers.1.mlp.{name}.weight");
        let up = (&[4, 24, 8][..], 72);
        check(
            &of_block("experts.3.up_proj"),
            "blk.1.ffn_up_exps.weight",
            Some(up),
        );
        let down = (&[4, 8, 24][..], 16);
        check(
            &of_block("experts.2.down_proj"),
            "blk.1.ffn_down_exps.weight",
            Some(down),
        );
        check(
            &of_block("shared_expert.gate_proj"),
            "blk.1.ffn_gate_shexp.weight",
            None,
        );
        check(
            &of_block("shared_expert_gate"),
            "blk.1.ffn_gate_inp_shexp.weight",
            None,
        );
        check(&of_block("gate"), "blk.1.ffn_gate_inp.weight", None);
        check(
            "model.layers.0.mlp.up_proj.weight",
            "blk.0.ffn_up.weight",
            None,
        );
    }
}
