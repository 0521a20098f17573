//! Families with experts, each on a small random model: what the readers make of both forms of
//! config.json, what is written comes back, and what is not computed is refused.

use std::fs;
use std::path::PathBuf;

use evopress_source::spec::{BlockSpec, SharedExpertSpec};
use evopress_source::{ModelSpec, Source};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{error, fixture};

const NAMES: [&str; 11] = [
    "mixtral",
    "qwen3-moe",
    "qwen3-moe-plain",
    "qwen2-moe",
    "qwen2-moe-renormalized",
    "qwen3-moe-all",
    "qwen2-moe-all",
    "qwen2-moe-untied",
    "olmoe",
    "olmoe-all-heads",
    "granitemoe",
];

fn folder(name: &str) -> PathBuf {
    fixture::folder(&format!("experts/{name}"))
}

fn spec(name: &str) -> ModelSpec {
    fixture::spec(&format!("experts/{name}"))
}

fn changed(name: &str, change: impl Fn(&mut Map<String, Value>)) -> TempDir {
    fixture::changed(&format!("experts/{name}"), change)
}

#[test]
fn what_is_written_comes_back() {
    for name in NAMES {
        let source = Source::open(&folder(name)).unwrap();
        let files = source.hf_files().unwrap();
        let copy = changed(name, |config| *config = files.config.clone());
        let again = Source::open(copy.path()).unwrap();
        assert_eq!(again.spec(), source.spec(), "{name}");
    }
}

#[test]
fn blocks_have_experts_where_the_configuration_says() {
    let counts = |name: &str| -> Vec<Option<(u32, u32, bool)>> {
        let of = |block: &BlockSpec| {
            let experts = block.experts()?;
            Some((
                experts.num_experts,
                experts.num_active,
                experts.is_renormalized,
            ))
        };
        spec(name).blocks.iter().map(of).collect()
    };
    assert_eq!(counts("mixtral"), [Some((4, 2, true)); 2]);
    let some = Some((6, 3, true));
    assert_eq!(counts("qwen3-moe"), [some, None, some]);
    assert_eq!(counts("qwen3-moe-plain"), [None, Some((5, 2, false))]);
    assert_eq!(counts("qwen2-moe"), [None, Some((6, 2, false))]);
    assert_eq!(counts("olmoe"), [Some((8, 3, false)); 2]);
    assert_eq!(counts("granitemoe"), [Some((5, 2, true)); 2]);
    let shared = spec("qwen2-moe").blocks[1]
        .experts()
        .unwrap()
        .shared
        .clone();
    let expected = SharedExpertSpec {
        intermediate_size: 48,
        gate: "mlp.shared_expert_gate".into(),
    };
    assert_eq!(shared, Some(expected));
}

#[test]
fn layers_of_experts_have_their_names() {
    let names = |name: &str, block_idx: usize, from: usize| -> Vec<String> {
        let block = spec(name).blocks.swap_remove(block_idx);
        let layers = block.layers[from..].iter();
        layers.map(|layer| layer.name.clone()).collect()
    };
    assert_eq!(
        names("mixtral", 0, 4)[..3],
        ["w1", "w3", "w2"].map(|it| format!("block_sparse_moe.experts.0.{it}"))
    );
    let of_qwen = names("qwen2-moe", 1, 4);
    assert_eq!(of_qwen.len(), 3 * 7);
    assert_eq!(of_qwen[5], "mlp.experts.1.down_proj");
    assert_eq!(of_qwen[20], "mlp.shared_expert.down_proj");
    assert_eq!(names("qwen2-moe", 0, 4)[0], "mlp.gate_proj");
}

/// Gate and up of each expert, one expert below the other, are the tensor of the file.
#[test]
fn stacked_experts_are_rows_of_one_tensor() {
    let source = Source::open(&folder("granitemoe")).unwrap();
    let bytes = fs::read(folder("granitemoe").join("model.safetensors")).unwrap();
    let (size, rest) = bytes.split_at(8);
    let size = u64::from_le_bytes(size.try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&rest[..size]).unwrap();
    let stored = |name: &str| {
        let offset = |idx: usize| header[name]["data_offsets"][idx].as_u64().unwrap() as usize;
        &rest[size..][offset(0)..offset(1)]
    };
    let module = "model.layers.1.block_sparse_moe";
    let check = |stacked: &str, layers: &[&str]| {
        let expected = stored(&format!("{module}.{stacked}.weight"));
        let of_expert = |expert: usize| {
            let layers = layers.iter();
            layers.map(move |layer| format!("{module}.experts.{expert}.{layer}.weight"))
        };
        let parts = (0..5).flat_map(of_expert);
        let found: Vec<u8> = parts
            .flat_map(|name| source.read(&name).unwrap().to_bytes())
            .collect();
        assert!(found == expected, "{stacked}");
    };
    check("input_linear", &["gate_proj", "up_proj"]);
    check("output_linear", &["down_proj"]);
}

/// A default of the one name of a number says nothing against what the file says by the other.
#[test]
fn experts_may_be_counted_under_either_name() {
    let folder = changed("mixtral", |config| {
        let count = config.shift_remove("num_local_experts").unwrap();
        config.insert("num_experts".into(), count);
    });
    let source = Source::open(folder.path()).unwrap();
    assert_eq!(*source.spec(), spec("mixtral"));
    let folder = changed("mixtral", |config| {
        config.shift_remove("num_experts_per_tok");
        config.insert("num_local_experts".into(), json!(1));
    });
    let found = error(folder.path(), folder.path());
    let expected =
        "config.json: number of experts that a token takes is 2 by default, allowed: 1 to 1";
    assert_eq!(found, expected);
}

#[test]
fn numbers_that_no_model_has_are_refused() {
    let refused = |name: &str, field: &str, value: Value, sentence: &str| {
        let folder = changed(name, |config| {
            config.insert(field.into(), value.clone());
        });
        let found = error(folder.path(), folder.path());
        assert!(found.contains(sentence), "{found}");
    };
    refused(
        "mixtral",
        "num_experts_per_tok",
        json!(5),
        "number of experts that a token takes is 5, allowed: 1 to 4",
    );
    refused(
        "mixtral",
        "num_local_experts",
        json!(1),
        "number of experts that a token takes is 2, allowed: 1 to 1",
    );
    refused(
        "qwen3-moe",
        "decoder_sparse_step",
        json!(0),
        "decoder_sparse_step is 0, expected a positive number",
    );
    refused(
        "qwen3-moe",
        "num_local_experts",
        json!(7),
        "num_experts is 6, but num_local_experts is 7",
    );
    refused(
        "qwen3-moe",
        "use_sliding_window",
        json!(true),
        "unsupported use_sliding_window: found true, supported: false",
    );
    refused(
        "olmoe",
        "clip_qkv",
        json!(8.0),
        "unsupported clip_qkv: found 8.0, supported: null",
    );
    refused(
        "granitemoe",
        "num_local_experts",
        json!(6),
        "block_sparse_moe.router.layer.weight",
    );
}
