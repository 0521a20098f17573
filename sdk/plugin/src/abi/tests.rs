use super::{
    ABI_VERSION_SYMBOL,
    guard::catch,
    method::{ModelTwin, UnitTwin},
};
use crate::{
    BlockPart, Edit, Encoding, LayerOutline, Level, ModelOutline, SubBlock, Unit, Variant,
};

#[test]
fn macro_exports_the_names_that_the_loader_looks_up() {
    let source = include_str!("export.rs");
    assert!(source.contains(&format!(
        "export_name = \"{}\"",
        abi_stable::library::ROOT_MODULE_LOADER_NAME
    )));
    assert!(source.contains(&format!("extern \"C\" fn {ABI_VERSION_SYMBOL}()")));
}

#[test]
fn panic_becomes_a_fault() {
    let fault = catch::<()>(|| panic!("a {} of text", "piece"))
        .into_result()
        .unwrap_err();
    assert!(fault.panicked);
    assert_eq!(fault.message.as_str(), "a piece of text");
}

#[test]
#[cfg_attr(miri, ignore = "what the payload panics with is leaked on purpose")]
fn payload_that_panics_is_forgotten() {
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            panic!("from the payload");
        }
    }
    let fault = catch::<()>(|| std::panic::panic_any(Payload))
        .into_result()
        .unwrap_err();
    assert_eq!(fault.message.as_str(), "the panic carries no text");
}

/// A block whose MLP is an expert.
fn outline() -> ModelOutline {
    let layer = |name: &str, sub_block, expert_idx, input_idx, has_bias| LayerOutline {
        name: name.to_owned(),
        block_idx: 7,
        sub_block,
        expert_idx,
        input_idx,
        out_features: 48,
        in_features: 16,
        has_bias,
    };
    ModelOutline {
        num_blocks: 8,
        layers: vec![
            layer(
                "model.layers.7.self_attn.q_proj",
                SubBlock::Attention,
                None,
                28,
                true,
            ),
            layer(
                "model.layers.7.mlp.experts.3.up_proj",
                SubBlock::Mlp,
                Some(3),
                30,
                false,
            ),
        ],
        bytes_per_weight: 4,
    }
}

#[test]
fn outline_crosses_the_boundary_whole() {
    assert_eq!(ModelTwin::from(&outline()).to_plain(), outline());
}

#[test]
fn edits_cross_the_boundary_whole() {
    let drop = |part| Edit::Drop { block_idx: 7, part };
    let replace = Edit::Replace {
        layer_idx: 1,
        variant: Variant {
            name: "4bit".to_owned(),
            encoding: Encoding::Quantized {
                bits: 4,
                group_size: 16,
                symmetric: true,
            },
        },
    };
    let level = |(cost, edits): (u64, Vec<Edit>)| Level {
        name: format!("level {cost}"),
        cost,
        edits,
    };
    let levels = [
        (4, vec![]),
        (3, vec![replace]),
        (2, vec![drop(BlockPart::Expert { expert_idx: 3 })]),
        (1, vec![drop(BlockPart::Attention), drop(BlockPart::Mlp)]),
    ];
    let unit = Unit {
        name: "model.layers.7".to_owned(),
        group: "block".to_owned(),
        block_idx: 7,
        layer_idxs: vec![0, 1],
        levels: levels.map(level).into(),
        calibration_level: 1,
    };
    assert_eq!(UnitTwin::from(unit.clone()).to_plain(), unit);
}
