//! The families, each on a small random model: what the readers make of both forms of config.json,
//! what is written comes back, and what no family knows is refused.

use std::fs;
use std::path::PathBuf;

use evopress_source::spec::{AttentionSpec, LayerRole, NormPlace};
use evopress_source::{ModelSpec, RopeScaling, Source};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{error, fixture};

const NAMES: [&str; 18] = [
    "ministral3",
    "yarn-turns",
    "yarn",
    "mistral",
    "ministral",
    "phi3",
    "phi3-partial",
    "qwen2",
    "qwen2-windows",
    "qwen3",
    "gemma2",
    "gemma3",
    "gemma3-nested",
    "smollm3",
    "smollm3-biased",
    "olmo2",
    "olmo3",
    "granite",
];

fn folder(name: &str) -> PathBuf {
    fixture::folder(&format!("families/{name}"))
}

fn spec(name: &str) -> ModelSpec {
    fixture::spec(&format!("families/{name}"))
}

fn attentions(spec: &ModelSpec) -> Vec<&AttentionSpec> {
    let blocks = spec.blocks.iter();
    blocks.map(|it| it.attention.as_ref().unwrap()).collect()
}

fn windows(name: &str) -> Vec<Option<i64>> {
    let spec = spec(name);
    attentions(&spec).iter().map(|it| it.window).collect()
}

fn changed(name: &str, change: impl Fn(&mut Map<String, Value>)) -> TempDir {
    fixture::changed(&format!("families/{name}"), change)
}

#[test]
fn what_is_written_comes_back() {
    for name in NAMES {
        let source = Source::open(&folder(name)).unwrap();
        let files = source.hf_files().unwrap();
        let copy = changed(name, |_| {});
        let class = files.config["architectures"][0].as_str().unwrap();
        assert!(class.ends_with("ForCausalLM"), "{name}: {class}");
        // The part for texts of a larger model becomes a model of its own.
        if name == "gemma3-nested" {
            assert_eq!(files.config["model_type"], "gemma3_text");
            assert!(!files.config.contains_key("vision_config"));
            continue;
        }
        fixture::write_config(copy.path(), files.config.clone());
        let again = Source::open(copy.path()).unwrap();
        assert_eq!(again.spec(), source.spec(), "{name}");
    }
}

#[test]
fn windows_are_where_the_files_say() {
    let nine = Some(9);
    assert_eq!(windows("mistral"), [nine, nine]);
    assert_eq!(windows("ministral"), [nine, None]);
    assert_eq!(windows("phi3"), [None, None]);
    assert_eq!(windows("phi3-partial"), [Some(17), Some(17)]);
    assert_eq!(windows("qwen2"), [None, None], "they are switched off");
    assert_eq!(windows("qwen2-windows"), [None, nine]);
    assert_eq!(
        windows("smollm3-biased"),
        [None, nine],
        "where nothing turns"
    );
    assert_eq!(windows("gemma2"), [nine, None, nine]);
    assert_eq!(windows("gemma3"), [nine, None, nine, None]);
    assert_eq!(windows("gemma3-nested"), [nine; 4], "one of six has none");
    assert_eq!(windows("olmo3"), [nine, nine, nine, None]);
}

#[test]
fn rotations_are_what_the_files_say() {
    let thetas = |name: &str| -> Vec<Option<f64>> {
        let spec = spec(name);
        let attentions = attentions(&spec);
        let ropes = attentions.iter().map(|it| it.rope.as_ref());
        ropes.map(|it| it.map(|rope| rope.theta)).collect()
    };
    let (local, global) = (Some(1e4), Some(1e6));
    assert_eq!(thetas("gemma3"), [local, global, local, global]);
    assert_eq!(thetas("gemma3-nested"), [local; 4]);
    assert_eq!(thetas("smollm3"), [Some(5e4), Some(5e4), Some(5e4), None]);
    let scaling = |name: &str, block_idx: usize| {
        let spec = spec(name);
        let rope = attentions(&spec)[block_idx].rope.clone().unwrap();
        (rope.scaling, rope.width)
    };
    assert_eq!(scaling("gemma3", 0), (RopeScaling::None, 16));
    assert_eq!(
        scaling("gemma3", 1),
        (RopeScaling::Linear { factor: 8.0 }, 16)
    );
    assert_eq!(scaling("olmo3", 0), (RopeScaling::None, 8));
    let yarn = |beta_fast, beta_slow, attention_factor, is_truncated| RopeScaling::Yarn {
        factor: 4.0,
        beta_fast,
        beta_slow,
        original_max_position_embeddings: 32.0,
        attention_factor,
        is_truncated,
    };
    let usual = yarn(32.0, 1.0, 1.0 + 0.1 * 4.0_f64.ln(), true);
    assert_eq!(scaling("olmo3", 3), (usual.clone(), 8));
    assert_eq!(scaling("yarn", 0), (usual, 16));
    assert_eq!(scaling("yarn-turns", 0), (yarn(4.0, 0.5, 1.2, false), 16));
    let growth = attentions(&spec("ministral3"))[0].query_growth.unwrap();
    assert_eq!(
        (growth.at(15), growth.at(16)),
        (1.0, 1.0 + 0.3 * 2.0_f64.ln())
    );
    let (long, width) = scaling("phi3-partial", 0);
    assert_eq!(width, 12, "three quarters of a head of 16");
    let RopeScaling::LongRope {
        short_factors,
        long_factors,
        original_max_position_embeddings,
        attention_factor,
    } = long
    else {
        panic!("{long:?}");
    };
    assert_eq!((short_factors[5], long_factors[5]), (1.25, 5.25));
    let expected = (1.0 + (128.0_f64 / 24.0).ln() / 24.0_f64.ln()).sqrt();
    assert_eq!(original_max_position_embeddings, 24.0);
    assert!((attention_factor - expected).abs() < 1e-12);
    // The old form says no factor; the ratio of the contexts is one.
    assert_eq!(scaling("phi3", 0).1, 8);
}

#[test]
fn blocks_are_made_of_what_their_family_has() {
    let places = |name: &str| -> Vec<NormPlace> {
        let norms = spec(name).blocks.swap_remove(0).norms;
        norms.iter().map(|norm| norm.place).collect()
    };
    use NormPlace::{AfterAttention, AfterMlp, BeforeAttention, BeforeMlp, Key, Query};
    assert_eq!(places("mistral"), [BeforeAttention, BeforeMlp]);
    assert_eq!(places("qwen3"), [BeforeAttention, Query, Key, BeforeMlp]);
    assert_eq!(places("olmo2"), [Query, Key, AfterAttention, AfterMlp]);
    let of_gemma2 = [BeforeAttention, AfterAttention, BeforeMlp, AfterMlp];
    assert_eq!(places("gemma2"), of_gemma2);
    let widths = |name: &str| {
        let block = spec(name).blocks.swap_remove(0);
        [Query, Key].map(|place| block.norm(place).unwrap().width)
    };
    assert_eq!(widths("qwen3"), [12, 12], "each head");
    assert_eq!(widths("olmo2"), [32, 16], "all heads together");
    let biases = |name: &str| {
        let block = spec(name).blocks.swap_remove(0);
        [LayerRole::Query, LayerRole::Output, LayerRole::Up]
            .map(|role| block.layers[block.layer(role).unwrap()].has_bias)
    };
    assert_eq!(biases("qwen2"), [true, false, false]);
    assert_eq!(biases("granite"), [true, true, false]);
    assert_eq!(biases("smollm3-biased"), [true, true, true]);
    let granite = spec("granite");
    assert_eq!(attentions(&granite)[0].score_scale, 0.2);
    assert_eq!(granite.embedding.scale, Some(6.0));
    assert_eq!(granite.head.scale, Some(0.25));
    assert_eq!(granite.blocks[0].residual_scale, Some(0.3));
    let gemma2 = spec("gemma2");
    assert!(gemma2.final_norm.is_offset && gemma2.blocks[0].norms[3].is_offset);
    assert_eq!(gemma2.embedding.scale, Some(32.0_f64.sqrt()));
    assert_eq!(attentions(&gemma2)[0].score_scale, 0.25);
    assert_eq!(attentions(&gemma2)[0].score_cap, Some(2.0));
    assert_eq!(gemma2.head.cap, Some(3.0));
}

/// The rows of q, k, v, gate and up one below the other are the tensors of the file.
#[test]
fn layers_that_share_a_tensor_are_its_rows() {
    let source = Source::open(&folder("phi3-partial")).unwrap();
    let bytes = fs::read(folder("phi3-partial").join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let infos: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    for (shared, layers) in [
        (
            "self_attn.qkv_proj",
            &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"][..],
        ),
        ("mlp.gate_up_proj", &["mlp.gate_proj", "mlp.up_proj"]),
    ] {
        let name = |layer: &str| format!("model.layers.1.{layer}.weight");
        let offsets = &infos[name(shared)]["data_offsets"];
        let at = |idx: usize| 8 + header + offsets[idx].as_u64().unwrap() as usize;
        let rows = layers
            .iter()
            .flat_map(|layer| source.read(&name(layer)).unwrap().to_bytes());
        assert_eq!(rows.collect::<Vec<u8>>(), bytes[at(0)..at(1)], "{shared}");
    }
}

/// The fields that a family's reader fills in are transformers' own.
#[test]
fn fields_that_are_not_there_are_transformers_own() {
    let copy = changed("gemma3-nested", |config| {
        let text = config["text_config"].as_object_mut().unwrap();
        for field in ["rope_theta", "rope_local_base_freq", "tie_word_embeddings"] {
            text.shift_remove(field);
        }
        text.insert("layer_types".into(), json!(null));
    });
    let spec = Source::open(copy.path()).unwrap().spec().clone();
    assert!(spec.head.tied);
    assert_eq!(attentions(&spec)[0].rope.as_ref().unwrap().theta, 1e4);
}

#[test]
fn what_is_a_default_is_said_to_be_one() {
    let refused = |name: &str, change: &dyn Fn(&mut Map<String, Value>)| {
        let copy = changed(name, change);
        error(copy.path(), copy.path())
    };
    let found = refused("mistral", &|config| {
        config.shift_remove("num_key_value_heads");
    });
    assert_eq!(
        found,
        "config.json: 4 heads cannot share 8 key/value heads by default: the one must divide the other"
    );
    let found = refused("qwen3", &|config| {
        config.shift_remove("head_dim");
        config.insert("num_key_value_heads".into(), json!(2));
    });
    let expected = "model.safetensors: tensor model.layers.0.self_attn.q_norm.weight has shape [12], expected [128]: \
                    config.json does not say, so by default head_dim 128";
    assert_eq!(found, expected);
    let copy = changed("qwen3", |config| {
        config.insert("rms_norm_eps".into(), Value::Null);
        config.shift_remove("max_position_embeddings");
    });
    let source = Source::open(copy.path()).unwrap();
    assert!(!source.says_context());
    let notes = source.notes().unwrap();
    let end = "rms_norm_eps of config.json is null, with which transformers fails: 1e-6 is taken, by default";
    assert!(
        matches!(&notes[..], [note] if note.ends_with(end)),
        "{notes:?}"
    );
    let plain = Source::open(&folder("qwen3")).unwrap();
    assert!(plain.says_context() && plain.notes().unwrap().is_empty());
}

#[test]
fn settings_that_do_not_fit_are_sentences() {
    let check = |name: &str, field: &str, value: Value, sentence: &str| {
        let copy = changed(name, |config| {
            config.insert(field.into(), value.clone());
        });
        let found = error(copy.path(), copy.path());
        assert_eq!(found, format!("config.json: {sentence}"));
    };
    let full = "full_attention";
    check(
        "gemma3",
        "layer_types",
        json!(vec![full; 3]),
        "layer_types has 3 entries, num_hidden_layers is 4",
    );
    check(
        "gemma3",
        "layer_types",
        json!([full, full, full, "chunked_attention"]),
        r#"unsupported layer_types: found "chunked_attention", supported: full_attention, sliding_attention"#,
    );
    check(
        "olmo3",
        "sliding_window",
        json!(null),
        "layer_types has sliding_attention, but no sliding_window is in use",
    );
    check(
        "qwen2-windows",
        "use_sliding_window",
        json!(false),
        "layer_types has sliding_attention, but no sliding_window is in use",
    );
    check(
        "mistral",
        "sliding_window",
        json!(-1),
        "sliding_window is -1, expected a positive number",
    );
    for (name, field, value) in [
        ("granite", "logits_scaling", 0.0),
        ("granite", "attention_multiplier", -0.5),
        ("gemma2", "attn_logit_softcapping", 0.0),
        ("gemma3", "query_pre_attn_scalar", 0.0),
        ("qwen2", "rms_norm_eps", -1e-3),
        ("qwen2", "rope_theta", -1.0),
    ] {
        let sentence = format!("{field} is {value}, expected a positive number");
        check(name, field, json!(value), &sentence);
    }
    check(
        "smollm3",
        "no_rope_layers",
        json!([1, 1, 0]),
        "no_rope_layers has 3 entries, num_hidden_layers is 4",
    );
    check(
        "qwen3",
        "attn_logit_softcapping",
        json!(50.0),
        "unsupported attn_logit_softcapping: found 50.0, supported: null",
    );
    check(
        "mistral",
        "attention_bias",
        json!(true),
        "unsupported attention_bias: found true, supported: false",
    );
    check(
        "gemma2",
        "hidden_activation",
        json!("gelu"),
        "unsupported hidden_activation: found gelu, supported: gelu_pytorch_tanh",
    );
    check(
        "qwen2",
        "rope_scaling",
        json!({"type": "dynamic", "factor": 2.0}),
        "unsupported rope type: found dynamic, supported: default, linear, llama3, yarn, longrope",
    );
    check(
        "phi3",
        "rope_scaling",
        json!({"type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [2.0, 2.0]}),
        "2 rope factors, expected 4 (half of what is rotated of a head)",
    );
    check(
        "mistral",
        "rope_parameters",
        json!({"full_attention": {"rope_type": "default", "rope_theta": 1e4}}),
        "unsupported rope_parameters.full_attention: found a rotation for layers of one kind, supported: one for all layers",
    );
}
