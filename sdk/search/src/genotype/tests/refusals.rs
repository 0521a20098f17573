//! Every refusal is a sentence that says what is possible.

use evopress_plugin::{Edit, GroupBudget, Method, ModelOutline, PluginError, SubBlock, Unit};

use super::*;

/// A method that returns what it is given.
struct Given(Vec<Unit>, Vec<GroupBudget>);

impl Method for Given {
    fn units(&self, _: &ModelOutline, _: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        Ok(self.0.clone())
    }

    fn measure(&self) -> &str {
        "bits_per_weight"
    }

    fn budget(
        &self,
        _: &ModelOutline,
        _: &[Unit],
        _: f64,
    ) -> Result<Vec<GroupBudget>, PluginError> {
        Ok(self.1.clone())
    }
}

#[test]
fn refusals_say_what_is_possible() {
    let outline = outline(2);
    let bytes = Budget::SizeBytes;
    let refused = |methods: &[(&str, &dyn Method)], budget: &Budget, grouping| {
        space(2, methods, budget, grouping)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    let gptq: (&str, &dyn Method) = ("gptq", &BITS);
    let sparsegpt: (&str, &dyn Method) = ("sparsegpt", &SPARSE);
    let check = |found: String, expected: &str| assert_eq!(found, expected);
    check(
        refused(
            &[gptq],
            &measure("bits_per_weight", 1.5),
            Some(Grouping::None),
        ),
        "no genotype meets the budget of the run: 1.5 bits per weight asked for, but the cheapest levels come to 2 bits per weight (the \
         most costly to 6 bits per weight)",
    );
    check(
        refused(&[gptq], &measure("bits_per_weight", 1.5), None),
        "no genotype meets the budget of group `256 weights`: 1.5 bits per weight asked for, but the cheapest levels come to 2 bits per \
         weight (the most costly to 6 bits per weight)",
    );
    check(
        refused(&[gptq], &measure("bits_per_weight", 6.0), None),
        "the budget leaves nothing to search: 6 bits per weight asked for, and even the most costly levels come to 6 bits per weight (the \
         cheapest to 2 bits per weight)",
    );
    check(
        refused(
            &[sparsegpt],
            &measure("sparsity", 0.75),
            Some(Grouping::None),
        ),
        "no genotype meets the budget of the run: a sparsity of 0.75 asked for, but the cheapest levels come to a sparsity of 0.5938 (the \
         most costly to a sparsity of 0.4063)",
    );
    check(
        refused(&[gptq], &bytes(7000), None),
        "no genotype meets the budget of the run: 7000 bytes asked for, but the cheapest levels come to 7624 bytes (the most costly to 10760 \
         bytes)",
    );
    check(
        refused(&[gptq], &Budget::Compression(1.1), None),
        "the budget leaves nothing to search: a compression of 1.1000 (15716 bytes) asked for, and even the most costly levels come to a \
         compression of 1.6067 (10760 bytes) (the cheapest to a compression of 2.2676 (7624 bytes))",
    );
    check(
        refused(&[gptq], &Budget::Compression(0.5), None),
        "a compression of 0.5 is out of range; it is the dense model's bytes over the compressed model's, above 1",
    );
    check(
        refused(&[gptq], &bytes(9000), Some(Grouping::Size)),
        "a budget in bytes has one group over all units; `search.grouping` can be `none`, `tied`, `expert` or `block` with it",
    );
    check(
        refused(&[gptq, sparsegpt], &measure("sparsity", 0.5), None),
        "`gptq` and `sparsegpt` can only share a budget in bytes (`size_bytes` or `compression`), found `sparsity`",
    );
    check(
        refused(&[gptq], &measure("sparsity", 0.5), None),
        "found the budget `sparsity`, but method `gptq` is budgeted in `bits_per_weight`",
    );
    check(
        refused(&[("drop", &Drops), ("skip", &Drops)], &bytes(9000), None),
        "two methods have a unit `model.layers.0.self_attn`, and neither replaces the other's layers",
    );
    let whole = |units: Vec<Unit>| Given(units, vec![]);
    let tied = whole(grouping::group(
        BITS.units(&outline, None).unwrap(),
        &outline,
        Grouping::Tied,
    ));
    check(
        refused(&[sparsegpt, ("tied", &tied)], &bytes(9000), None),
        "units `model.layers.0.self_attn.q_proj` and `model.layers.0.self_attn.qkv` both replace layer \
         `model.layers.0.self_attn.q_proj`: units of several methods cover the same layers, or none in common",
    );
    let mut units = BITS.units(&outline, None).unwrap();
    units[2].levels.truncate(1);
    units[2].calibration_level = 0;
    check(
        refused(&[("gptq", &whole(units))], &bytes(9000), None),
        "method `gptq`: unit `model.layers.0.self_attn.v_proj` has 1 levels; at least 2 are needed",
    );
    let mut units = BITS.units(&outline, None).unwrap();
    units[0].levels[3].edits.push(Edit::drop(2, SubBlock::Mlp));
    check(
        refused(&[("gptq", &whole(units))], &bytes(9000), None),
        "method `gptq`: unit `model.layers.0.self_attn.q_proj` drops part of block 2, but the model has 2 blocks",
    );
    check(
        refused(&[("gptq", &whole(vec![]))], &bytes(9000), None),
        "method `gptq`: no units",
    );
    check(
        refused(
            &[("gptq", &whole(BITS.units(&outline, None).unwrap()))],
            &measure("bits_per_weight", 3.0),
            None,
        ),
        "the method gave no single budget for group `256 weights` of unit `model.layers.0.self_attn.q_proj`",
    );
}
