//! Folders whose quantized weights are not as `quantization_config` says, or of a kind that is not
//! read.

use super::*;

/// What opening a folder of `tests/fixtures/quantized` says after a change.
fn check(name: &str, change: &dyn Fn(&Path), expected: &str) {
    let folder = copy_of(&format!("../quantized/{name}"));
    change(folder.path());
    let said = error(folder.path(), folder.path());
    let said = said.replace(&folder.path().display().to_string(), "FOLDER");
    assert_eq!(said, expected, "{name}");
}

/// Sets a field of `quantization_config`, at a JSON pointer within it.
fn set(pointer: &'static str, value: Value) -> impl Fn(&Path) {
    move |folder| {
        edit(folder, |config| {
            let (place, field) = pointer.rsplit_once('/').unwrap();
            let place = config["quantization_config"].pointer_mut(place).unwrap();
            place[field] = value.clone();
        });
    }
}

/// Replaces texts of one length in the header of the weights.
fn rename(from: &'static str, to: &'static str) -> impl Fn(&Path) {
    move |folder| {
        let file = folder.join("model.safetensors");
        let mut bytes = std::fs::read(&file).unwrap();
        let at = bytes
            .windows(from.len())
            .position(|it| it == from.as_bytes());
        let at = at.unwrap();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&file, bytes).unwrap();
    }
}

#[test]
fn other_methods_are_refused_by_name() {
    let supported = "supported: awq, compressed-tensors, fbgemm_fp8, fp8, gptq";
    let check = |settings: Value, found: &str| {
        let replace =
            |folder: &Path| edit(folder, |it| it["quantization_config"] = settings.clone());
        let expected = format!(
            "config.json: unsupported quantization_config.quant_method: found {found}, {supported}"
        );
        check("awq", &replace, &expected);
    };
    let four_bits = json!({"quant_method": "bitsandbytes", "load_in_4bit": true});
    check(four_bits, "bitsandbytes");
    check(json!({"load_in_8bit": true}), "bitsandbytes");
    check(json!({"quant_method": "mxfp4"}), "mxfp4");
    check(
        json!({"quant_method": "modelopt", "quant_algo": "NVFP4"}),
        "modelopt NVFP4",
    );
    check(json!({"bits": 4}), "no method");
}

#[test]
fn settings_that_do_not_fit() {
    let check = |name: &str, pointer, value, expected: &str| {
        let expected = format!("config.json: unsupported quantization_config.{expected}");
        check(name, &set(pointer, value), &expected);
    };
    check(
        "gptq-v2",
        "/checkpoint_format",
        json!("marlin"),
        "checkpoint_format: found marlin, supported: gptq, gptq_v2",
    );
    check(
        "gptq-v2",
        "/group_size",
        json!(0),
        "group_size: found 0, supported: -1, 1 or more",
    );
    check(
        "gptq-v2",
        "/bits",
        json!(9),
        "bits: found 9, supported: 1 to 8",
    );
    check(
        "awq",
        "/version",
        json!("gemv"),
        "version: found gemv, supported: gemm",
    );
    check("awq", "/bits", json!(8), "bits: found 8, supported: 4");
    check(
        "awq",
        "/zero_point",
        json!(false),
        "zero_point: found false, supported: true",
    );
    check(
        "fp8-blocks",
        "/fmt",
        json!("e5m2"),
        "fmt: found e5m2, supported: e4m3",
    );
    check(
        "fp8-blocks",
        "/expert_dtype",
        json!("fp4"),
        "expert_dtype: found fp4, supported: fp8",
    );
    check(
        "fp8-blocks",
        "/weight_block_size",
        json!([0, 128]),
        "weight_block_size: found [0, 128], supported: two positive numbers",
    );
    for format in ["nvfp4-pack-quantized", "mxfp4-pack-quantized", "marlin-24"] {
        check(
            "pack-quantized",
            "/format",
            json!(format),
            &format!(
                "format: found {format}, supported: pack-quantized, int-quantized, float-quantized, naive-quantized"
            ),
        );
    }
    check(
        "pack-quantized",
        "/quantization_status",
        json!("frozen"),
        "quantization_status: found frozen, supported: compressed",
    );
    check(
        "pack-quantized",
        "/sparsity_config",
        json!({"format": "sparse-24-bitmask"}),
        "sparsity_config.format: found sparse-24-bitmask, supported: dense",
    );
    check(
        "pack-quantized",
        "/transform_config",
        json!({"config_groups": {"R1": {"type": "hadamard"}}}),
        "transform_config: found config_groups, supported: no transforms",
    );
    check(
        "pack-quantized",
        "/config_groups/group_0/weights/strategy",
        json!("tensor_group"),
        "config_groups.group_0.weights.strategy: found tensor_group, supported: tensor, channel, group, block",
    );
    check(
        "pack-quantized",
        "/config_groups/group_0/weights/type",
        json!("float"),
        "config_groups.group_0.weights.type: found float, supported: int in pack-quantized",
    );
    check(
        "float-quantized",
        "/config_groups/group_1/weights/num_bits",
        json!(4),
        "config_groups.group_1.weights.num_bits: found 4, supported: 8 of type float",
    );
    check(
        "float-quantized",
        "/config_groups/group_1/weights/symmetric",
        json!(false),
        "config_groups.group_1.weights.symmetric: found false, supported: true for this type, strategy and format",
    );
}

#[test]
fn weights_that_are_not_as_the_settings_say() {
    check(
        "gptq-act-order",
        &set("/bits", json!(8)),
        "model.safetensors: tensor model.layers.0.self_attn.q_proj.qweight has shape [12, 96], expected [24, 96]",
    );
    check(
        "gptq-act-order",
        &set("/group_size", json!(16)),
        "model.safetensors: tensor model.layers.0.self_attn.q_proj.qzeros has shape [3, 12], expected [6, 12]",
    );
    check(
        "gptq-act-order",
        &rename("q_proj.g_idx", "q_proj.g_odd"),
        "FOLDER: tensor model.layers.0.self_attn.q_proj.g_idx of shape [96] is missing",
    );
    check(
        "awq",
        &set("/group_size", json!(64)),
        "FOLDER: model.layers.0.self_attn.q_proj.weight is [96, 96] in groups of 64 columns, expected whole groups and a \
         multiple of 8 rows",
    );
    check(
        "awq",
        &rename("q_proj.scales", "q_proj.scalez"),
        "FOLDER: tensor model.layers.0.self_attn.q_proj.scales of shape [3, 96] is missing",
    );
    check(
        "pack-mixed",
        &set("/config_groups/group_0/targets", json!(["lm_head"])),
        "FOLDER: the weight of model.layers.0.mlp.gate_proj is quantized, but no group of config_groups has it as a target",
    );
    check(
        "pack-quantized",
        &set("/config_groups/group_0/weights/num_bits", json!(8)),
        "model.safetensors: tensor model.layers.0.self_attn.q_proj.weight_packed has shape [96, 12], expected [96, 24]",
    );
    check(
        "fp8-blocks",
        &set("/weight_block_size", json!([128, 128])),
        "model.safetensors: tensor model.layers.0.self_attn.q_proj.weight_scale_inv has shape [2, 3], expected [1, 1]",
    );
    check(
        "fp8-tensors",
        &rename("q_proj.weight_scale", "q_proj.weight_odd_e"),
        "FOLDER: tensor model.layers.0.self_attn.q_proj.weight_scale_inv of shape [1, 1] is missing",
    );
    check(
        "fp8-tensors",
        &rename("F8_E4M3", "F8_E5M2"),
        "model.safetensors: tensor model.layers.0.mlp.down_proj.weight has type F8_E5M2; supported: F32, F16, BF16",
    );
    let forget = |folder: &Path| edit(folder, |it| it["quantization_config"] = Value::Null);
    check(
        "fp8-tensors",
        &forget,
        "model.safetensors: tensor model.layers.0.self_attn.q_proj.weight has type F8_E4M3; supported: F32, F16, BF16",
    );
}

/// Adds a tensor without elements to the weights.
fn add(name: &'static str) -> impl Fn(&Path) {
    move |folder| {
        let file = folder.join("model.safetensors");
        let bytes = std::fs::read(&file).unwrap();
        let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let mut header: Value = serde_json::from_slice(header).unwrap();
        header[name] = json!({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]});
        let header = header.to_string();
        let length = (header.len() as u64).to_le_bytes();
        let bytes = [&length, header.as_bytes(), data].concat();
        std::fs::write(&file, bytes).unwrap();
    }
}

#[test]
fn tensors_for_quantized_activations_are_no_part_of_the_model() {
    let names = [
        "model.layers.0.self_attn.k_scale",
        "model.layers.0.mlp.down_proj.input_scale",
    ];
    for name in names {
        let folder = copy_of("../quantized/fp8-tensors");
        add(name)(folder.path());
        Source::open(folder.path()).unwrap();
    }
    check(
        "gptq-v2",
        &add("model.layers.0.mlp.extra_proj.qweight"),
        "FOLDER: tensor model.layers.0.mlp.extra_proj.qweight is no part of the model",
    );
    check(
        "gptq-v2",
        &add("model.layers.0.mlp.up_proj.other"),
        "FOLDER: tensor model.layers.0.mlp.up_proj.other is no part of the model",
    );
}

/// transformers and vLLM look for codes where the settings are; what is read here is what there is.
#[test]
fn settings_beside_plain_weights_are_noted() {
    let notes = |settings: Value| {
        let folder = copy_of("gqa-tied");
        edit(folder.path(), |config| {
            config["quantization_config"] = settings.clone()
        });
        let notes = Source::open(folder.path()).unwrap().notes().unwrap();
        let folder = format!("{}: ", folder.path().display());
        notes
            .iter()
            .map(|it| it.replace(&folder, ""))
            .collect::<Vec<_>>()
    };
    let expected = |method: &str| {
        format!(
            "config.json has a quantization_config ({method}), but all weights are plain: they are read as they are, \
             while transformers and vLLM look for quantized ones; remove the field"
        )
    };
    let gptq = json!({"quant_method": "gptq", "bits": 4, "group_size": 128});
    assert_eq!(notes(gptq), [expected("gptq")]);
    let fp8 = json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
    assert_eq!(notes(fp8), [expected("fp8")]);
    assert_eq!(notes(Value::Null), [""; 0]);
    let coded = copy_of("../quantized/awq");
    let tokenizer = models().join("gqa-tied/tokenizer.json");
    std::fs::copy(tokenizer, coded.path().join("tokenizer.json")).unwrap();
    assert_eq!(
        Source::open(coded.path()).unwrap().notes().unwrap(),
        [""; 0]
    );
}

#[test]
fn codes_without_settings_are_named() {
    for (name, codes) in [("awq", "qweight"), ("pack-quantized", "weight_packed")] {
        let folder = copy_of(&format!("../quantized/{name}"));
        edit(folder.path(), |config| {
            config["quantization_config"] = Value::Null
        });
        let expected = format!(
            "config.json: tensor model.layers.0.self_attn.q_proj.{codes} is quantized, but there is no quantization_config"
        );
        assert_eq!(error(folder.path(), folder.path()), expected);
    }
}
