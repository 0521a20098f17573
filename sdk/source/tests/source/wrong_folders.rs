//! Hugging Face folders with something wrong in them.

use super::*;

#[test]
fn wrong_folders() {
    let check = |change: &dyn Fn(&Path), expected: &str| {
        let folder = copy_of("gqa-tied");
        change(folder.path());
        assert_eq!(
            error(folder.path(), folder.path())
                .replace(&folder.path().display().to_string(), "FOLDER"),
            expected
        );
    };
    let set = |key: &'static str, value: Value| {
        move |folder: &Path| edit(folder, |config| config[key] = value.clone())
    };
    let weights = |change: &'static dyn Fn(Vec<u8>) -> Vec<u8>| {
        move |folder: &Path| {
            let file = folder.join("model.safetensors");
            std::fs::write(&file, change(std::fs::read(&file).unwrap())).unwrap();
        }
    };
    let header = |from: &'static str, to: &'static str| {
        move |folder: &Path| {
            let file = folder.join("model.safetensors");
            let bytes = std::fs::read(&file).unwrap();
            let at = bytes
                .windows(from.len())
                .position(|window| window == from.as_bytes())
                .unwrap();
            std::fs::write(
                &file,
                [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat(),
            )
            .unwrap();
        }
    };
    let remove =
        |name: &'static str| move |folder: &Path| std::fs::remove_file(folder.join(name)).unwrap();
    let index = |text: &'static str| {
        move |folder: &Path| {
            std::fs::write(folder.join("model.safetensors.index.json"), text).unwrap()
        }
    };

    check(
        &remove("config.json"),
        "FOLDER is not a model: expected a folder with config.json or a .gguf file, found a folder without config.json",
    );
    check(
        &remove("model.safetensors"),
        "FOLDER is not a model: expected a folder with config.json or a .gguf file, found a folder without \
         model.safetensors or model.safetensors.index.json",
    );
    check(
        &|folder| std::fs::write(folder.join("config.json"), "{").unwrap(),
        "config.json: not a JSON object: EOF while parsing an object at line 1 column 1",
    );
    check(
        &set("model_type", json!("mamba")),
        "config.json: unsupported architecture \"mamba\"; supported: llama, mistral, ministral, ministral3, phi3, qwen2, qwen3, gemma2, gemma3_text, smollm3, olmo2, olmo3, granite, mixtral, qwen2_moe, qwen3_moe, olmoe, granitemoe",
    );
    check(
        &set("hidden_size", json!("wide")),
        "config.json: hidden_size: invalid type: string \"wide\", expected a whole number",
    );
    check(
        &set("num_attention_heads", json!(3)),
        "config.json: 3 heads cannot share 2 key/value heads: the one must divide the other",
    );
    check(
        &set("num_hidden_layers", json!(1_000_000_000_000_u64)),
        "config.json: number of blocks is 1000000000000, allowed: 1 to 4096",
    );
    check(
        &set("rope_scaling", json!({"type": "dynamic", "factor": 2.0})),
        "config.json: unsupported rope type: found dynamic, supported: default, linear, llama3, yarn, longrope",
    );
    check(
        &set(
            "rope_scaling",
            json!({"rope_type": "longrope", "factor": 2.0}),
        ),
        "config.json: rope type longrope without short_factor",
    );
    check(
        &set("rope_scaling", json!({"rope_type": "llama3"})),
        "config.json: rope type llama3 without factor",
    );
    check(
        &set("hidden_act", json!("gelu")),
        "config.json: unsupported hidden_act: found gelu, supported: silu",
    );
    check(
        &set("quantization_config", json!({"quant_method": "gptq"})),
        "config.json: quantization_config: missing field `bits`",
    );
    check(
        &set("num_hidden_layers", json!(3)),
        "FOLDER: tensor model.layers.2.input_layernorm.weight of shape [32] is missing",
    );
    check(
        &set("intermediate_size", json!(64)),
        "model.safetensors: tensor model.layers.0.mlp.gate_proj.weight has shape [48, 32], expected [64, 32]",
    );
    check(
        &header("\"BF16\"", "\"I16\" "),
        "model.safetensors: tensor model.embed_tokens.weight has type I16; supported: F32, F16, BF16",
    );
    check(
        &header("\"BF16\"", "\"F32\" "),
        "model.safetensors: tensor model.embed_tokens.weight spans bytes 0 to 18432, its 9216 numbers of type F32 need 36864",
    );
    check(
        &weights(&|bytes| bytes[..20_000].to_vec()),
        "model.safetensors: truncated: tensor model.embed_tokens.weight ends at byte 20472, the file has 20000",
    );
    check(
        &weights(&|bytes| bytes[..100].to_vec()),
        "model.safetensors: truncated: header of 2032 bytes, the file goes on for 92",
    );
    check(
        &weights(&|bytes| bytes[..3].to_vec()),
        "model.safetensors: truncated: a safetensors file begins with 8 bytes of header length, this one has 3",
    );
    check(
        &weights(&|_| vec![0xff; 64]),
        "model.safetensors: not a safetensors file: header of 18446744073709551615 bytes, allowed: 100000000",
    );
    check(
        &header("{", "["),
        "model.safetensors: safetensors header: invalid type: sequence, expected a map at line 1 column 0",
    );
    check(
        &index(r#"{"weight_map": {"a": "../other.safetensors"}}"#),
        "model.safetensors.index.json: \"../other.safetensors\" is not the name of a file in the same folder",
    );
    check(
        &index(r#"{"weight_map": {"a": "absent.safetensors"}}"#),
        "cannot read absent.safetensors: No such file or directory (os error 2)",
    );
}
