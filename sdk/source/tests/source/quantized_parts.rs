//! Quantized weights that the files have under other names than the model: stacked ones, and those
//! of a model that is a part of another.

use super::*;

/// Replaces a weight of a folder by random-like codes of 8 bits with a scale of a quarter for each
/// row. Returns what the weight is then.
fn quantize(folder: &Path, module: &str) -> Vec<f32> {
    let file = folder.join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    let tensors = header.as_object_mut().unwrap();
    let weight = tensors.remove(&format!("{module}.weight")).unwrap();
    let shape: [usize; 2] = serde_json::from_value(weight["shape"].clone()).unwrap();
    let [rows, columns] = shape;

    let codes: Vec<u8> = (0..rows * columns)
        .map(|idx| (idx * 37 % 251) as u8)
        .collect();
    let scales = 0.25_f32.to_le_bytes().repeat(rows);
    let extents = shape.map(|extent| (extent as i64).to_le_bytes()).concat();
    let mut data = data.to_vec();
    for (part, dtype, shape, bytes) in [
        ("weight_packed", "I32", vec![rows, columns / 4], &codes),
        ("weight_scale", "F32", vec![rows, 1], &scales),
        ("weight_shape", "I64", vec![2], &extents),
    ] {
        let span = [data.len(), data.len() + bytes.len()];
        let info = json!({"dtype": dtype, "shape": shape, "data_offsets": span});
        tensors.insert(format!("{module}.{part}"), info);
        data.extend(bytes);
    }
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(&file, [&length, header.as_bytes(), &data].concat()).unwrap();
    edit(folder, |config| {
        config["quantization_config"] = json!({
            "quant_method": "compressed-tensors", "format": "pack-quantized",
            "config_groups": {"group_0": {
                "targets": ["Linear"], "weights": {"num_bits": 8, "strategy": "channel"},
            }},
        });
    });
    let weights = codes.iter().map(|&code| (f32::from(code) - 128.0) * 0.25);
    weights.collect()
}

#[test]
fn rows_of_a_stacked_weight_are_decoded() {
    let folder = copy_of("../families/phi3");
    let stacked = quantize(folder.path(), "model.layers.0.self_attn.qkv_proj");
    let source = Source::open(folder.path()).unwrap();
    let read = |layer: &str| {
        let name = format!("model.layers.0.self_attn.{layer}.weight");
        floats(&source.read(&name).unwrap())
    };
    let parts = ["q_proj", "k_proj", "v_proj"].map(read).concat();
    assert_eq!(parts, stacked);
    let delivered = source.delivered().unwrap().unwrap();
    assert_eq!(delivered.types.into_iter().collect::<Vec<_>>(), ["8-bit"]);
}

#[test]
fn weights_of_a_part_are_found_by_their_codes() {
    let folder = copy_of("../families/gemma3-nested");
    let file = std::fs::read(folder.path().join("model.safetensors")).unwrap();
    let header = String::from_utf8_lossy(&file[8..]);
    let name = "layers.0.self_attn.q_proj";
    let whole = ["language_model.model", "model.language_model"].map(|it| format!("{it}.{name}"));
    let module = whole
        .iter()
        .find(|it| header.contains(it.as_str()))
        .unwrap();
    let expected = quantize(folder.path(), module);
    let source = Source::open(folder.path()).unwrap();
    let weight = source.read(&format!("model.{name}.weight")).unwrap();
    assert_eq!(floats(&weight), expected);
}
