//! Weights that are NaN or infinite: the tensor and the first of them are named.

use half::f16;

use super::*;
use crate::wrong_gguf::small_gguf;

/// Puts bytes into a tensor of a folder's file.
fn put(folder: &Path, tensor: &str, at: usize, number: &[u8]) {
    let file = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let length = u64::from_le_bytes(*length) as usize;
    let header: Value = serde_json::from_slice(&rest[..length]).unwrap();
    let start = header[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[8 + length + start + at..][..number.len()].copy_from_slice(number);
    std::fs::write(&file, bytes).unwrap();
}

fn sentence(path: &Path, folder: &Path) -> Option<String> {
    let checked = Source::open(path).unwrap().check_numbers(None);
    let text = |error: evopress_source::SourceError| {
        let folder = format!("{}/", folder.display());
        error.to_string().replace(&folder, "")
    };
    checked.err().map(text)
}

#[test]
fn weights_norms_and_biases_of_folders() {
    let check = |name: &str, tensor: &str, at: usize, number: &[u8], expected: &str| {
        let folder = copy_of(name);
        assert_eq!(sentence(folder.path(), folder.path()), None, "{name}");
        put(folder.path(), tensor, at, number);
        let expected =
            format!("model.safetensors: tensor {tensor} has {expected}, expected finite numbers");
        assert_eq!(sentence(folder.path(), folder.path()), Some(expected));
    };
    let (nan, infinity) = (half::bf16::NAN, half::bf16::NEG_INFINITY);
    let bf16 = |number: half::bf16| number.to_le_bytes();
    // Rows of 32.
    let gate = "model.layers.1.mlp.gate_proj.weight";
    check(
        "gqa-tied",
        gate,
        2 * (32 * 3 + 5),
        &bf16(nan),
        "NaN at [3, 5]",
    );
    let norm = "model.layers.0.input_layernorm.weight";
    check("gqa-tied", norm, 2 * 7, &bf16(infinity), "-inf at [7]");
    let bias = "model.layers.0.self_attn.q_proj.bias";
    check("../families/qwen2", bias, 0, &bf16(nan), "NaN at [0]");
    // A tensor of all experts, of two extents before the columns.
    let experts = "model.layers.0.block_sparse_moe.input_linear.weight";
    check(
        "../experts/granitemoe",
        experts,
        2 * (64 * 32 + 3),
        &bf16(infinity),
        "-inf at [1, 0, 3]",
    );
}

/// Codes cannot be wrong, their scales can.
#[test]
fn scales_of_quantized_folders() {
    let check = |name: &str, part: &str, number: &[u8]| {
        let folder = copy_of(&format!("../quantized/{name}"));
        assert_eq!(sentence(folder.path(), folder.path()), None, "{name}");
        let tensor = format!("model.layers.0.self_attn.v_proj.{part}");
        put(folder.path(), &tensor, 0, number);
        let found = sentence(folder.path(), folder.path()).unwrap();
        let expected = format!("model.safetensors: tensor {tensor} has NaN at [0");
        assert!(found.starts_with(&expected), "{found}");
    };
    let half = f16::NAN.to_le_bytes();
    for name in ["gptq-act-order", "awq"] {
        check(name, "scales", &half);
    }
    check("fp8-blocks", "weight_scale_inv", &f32::NAN.to_le_bytes());
    check("fp8-blocks", "weight", &[0xff]);
    check("pack-quantized", "weight_scale", &half);
}

#[test]
fn numbers_and_scales_of_gguf_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    let good = small_gguf().bytes();
    // Tensors begin at multiples of 32, in the order in which they were added.
    let data = good.len() - (1024 + 3 * 128 + 7 * 32 * 18);
    let check = |at: usize, number: &[u8], expected: Option<&str>| {
        let mut bytes = good.clone();
        bytes[data + at..][..number.len()].copy_from_slice(number);
        std::fs::write(&file, bytes).unwrap();
        let expected =
            expected.map(|it| format!("model.gguf: tensor {it}, expected finite numbers"));
        assert_eq!(sentence(&file, folder.path()), expected);
    };
    let (nan, half) = (f32::NAN.to_le_bytes(), f16::INFINITY.to_le_bytes());
    check(0, &[], None);
    let embedding = "token_embd.weight has NaN at [1, 2]";
    check(4 * 34, &nan, Some(embedding));
    check(
        1024 + 128 + 8,
        &nan,
        Some("blk.0.attn_norm.weight has NaN at [2]"),
    );
    let layers = 1024 + 3 * 128;
    let scale = "blk.0.attn_q.weight has inf as a scale of the weights from [3, 0]";
    check(layers + 3 * 18, &half, Some(scale));
    // As a code it is none of our business.
    check(layers + 3 * 18 + 2, &half, None);
}

/// What could not be seen in time has not passed, whatever it holds.
#[test]
fn a_check_ends_when_its_time_is_over() {
    let folder = copy_of("gqa-tied");
    let nan = half::bf16::NAN.to_le_bytes();
    put(folder.path(), "model.norm.weight", 0, &nan);
    let source = Source::open(folder.path()).unwrap();
    let now = std::time::Instant::now();
    assert!(!source.check_numbers(Some(now)).unwrap());
    let later = now + std::time::Duration::from_secs(3600);
    assert!(source.check_numbers(Some(later)).is_err());
}
