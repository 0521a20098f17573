//! Files as people have them: what other programs take is taken, and what would be another model is
//! refused by name.

use std::fs;

use super::*;

/// Changes the header of the weights, and appends to their data.
fn edit_weights(file: &Path, change: impl FnOnce(&mut Value, &mut Vec<u8>)) {
    let bytes = fs::read(file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let mut data = bytes[8 + length..].to_vec();
    change(&mut header, &mut data);
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(file, [&length[..], header.as_bytes(), &data].concat()).unwrap();
}

/// Appends a BF16 tensor.
fn append(header: &mut Value, data: &mut Vec<u8>, name: &str, shape: &[usize], bytes: &[u8]) {
    let start = data.len();
    data.extend(bytes);
    header[name] = json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, data.len()]});
}

/// A copy of `gqa-tied` with one more tensor, of elements of these two bytes.
fn with_tensor(name: &str, shape: &[usize], element: [u8; 2]) -> tempfile::TempDir {
    let folder = copy_of("gqa-tied");
    edit_weights(&folder.path().join("model.safetensors"), |header, data| {
        let bytes = element.repeat(shape.iter().product());
        append(header, data, name, shape, &bytes);
    });
    folder
}

const HALF: [u8; 2] = [0x00, 0x3F];

#[test]
fn a_head_of_its_own_is_kept_where_it_differs_from_the_embedding() {
    let embedding = Source::open(&models().join("gqa-tied")).unwrap();
    let embedding = embedding
        .read("model.embed_tokens.weight")
        .unwrap()
        .to_bytes();
    let shape = [288, 32];
    let open = |head: &[u8]| {
        let folder = copy_of("gqa-tied");
        edit_weights(&folder.path().join("model.safetensors"), |header, data| {
            append(header, data, "lm_head.weight", &shape, head);
        });
        (Source::open(folder.path()).unwrap(), folder)
    };
    let (tied, _folder) = open(&embedding);
    assert!(tied.spec().head.tied && !tied.has("lm_head.weight"));
    let mut other = embedding.clone();
    other[100] ^= 1;
    let (own, _folder) = open(&other);
    assert!(!own.spec().head.tied);
    assert_eq!(own.read("lm_head.weight").unwrap().to_bytes(), other);
    let config = &own.hf_files().unwrap().config;
    assert_eq!(config["tie_word_embeddings"], json!(false));
}

#[test]
fn tensors_that_the_configuration_does_not_have_are_refused_by_name() {
    let refused = |name: &str, shape: &[usize], sentence: &str| {
        let folder = with_tensor(name, shape, HALF);
        let found = error(folder.path(), folder.path());
        let found = found.replace(&folder.path().display().to_string(), "FOLDER");
        let expected = format!("FOLDER: tensor {name} is no part of the model{sentence}");
        assert_eq!(found, expected);
    };
    let no_bias = ": config.json says that it has no bias there";
    refused("model.layers.0.self_attn.q_proj.bias", &[32], no_bias);
    refused("model.layers.0.self_attn.q_norm.weight", &[8], "");
    refused(
        "model.layers.2.input_layernorm.weight",
        &[32],
        ": config.json says that it has 2 blocks",
    );
    refused("model.embed_positions.weight", &[8, 32], "");
}

#[test]
fn tensors_that_change_nothing_are_ignored() {
    for (name, element) in [
        ("model.layers.0.self_attn.rotary_emb.inv_freq", HALF),
        ("model.layers.1.self_attn.q_proj.bias", [0, 0]),
    ] {
        let folder = with_tensor(name, &[4], element);
        let source = Source::open(folder.path()).unwrap();
        assert!(!source.has(name), "{name}");
    }
}

#[test]
fn tensors_that_share_bytes_are_refused() {
    let folder = copy_of("gqa-tied");
    edit_weights(&folder.path().join("model.safetensors"), |header, _| {
        header["model.norm.weight"]["data_offsets"] = json!([0, 64]);
    });
    assert_eq!(
        error(folder.path(), folder.path()),
        "model.safetensors: tensors model.norm.weight and model.embed_tokens.weight share bytes"
    );
}

/// Splits the weights into two shards; the first has stale copies of the second's tensors.
fn in_shards(folder: &Path) -> Value {
    let single = folder.join("model.safetensors");
    let mut map = json!({});
    for (idx, shard) in ["a.safetensors", "b.safetensors"].iter().enumerate() {
        fs::copy(&single, folder.join(shard)).unwrap();
        edit_weights(&folder.join(shard), |header, data| {
            if idx == 0 {
                data.fill(0);
            }
            for name in header.as_object().unwrap().keys() {
                map_insert(&mut map, name, "b.safetensors");
            }
        });
    }
    fs::remove_file(single).unwrap();
    json!({"metadata": {"total_size": 1.0}, "weight_map": map})
}

fn map_insert(map: &mut Value, name: &str, shard: &str) {
    if name != "__metadata__" {
        map[name] = json!(shard);
    }
}

#[test]
fn an_index_says_which_copy_counts() {
    let plain = Source::open(&models().join("gqa-tied")).unwrap();
    let folder = copy_of("gqa-tied");
    let index = std::cell::RefCell::new(json!({}));
    let write = |index: &Value| {
        let file = folder.path().join("model.safetensors.index.json");
        fs::write(file, format!("\u{FEFF}{index}")).unwrap();
    };
    *index.borrow_mut() = in_shards(folder.path());
    // The norm stays in the shard that has old copies of everything else.
    index.borrow_mut()["weight_map"]["model.norm.weight"] = json!("a.safetensors");
    write(&index.borrow());
    let sharded = Source::open(folder.path()).unwrap();
    for tensor in plain.tensors() {
        let found = floats(&sharded.read(&tensor.name).unwrap());
        match tensor.name.as_str() {
            "model.norm.weight" => assert!(found.iter().all(|it| *it == 0.0)),
            name => assert_eq!(found, floats(&plain.read(name).unwrap()), "{name}"),
        }
    }
    // A tensor that the index does not list is not the model's, wherever it is.
    let weights = |change: &dyn Fn(&mut Value)| {
        let mut index = index.borrow().clone();
        change(&mut index["weight_map"]);
        write(&index);
        error(folder.path(), folder.path()).replace(&folder.path().display().to_string(), "FOLDER")
    };
    assert_eq!(
        weights(&|map| {
            map.as_object_mut().unwrap().remove("model.norm.weight");
        }),
        "FOLDER: tensor model.norm.weight of shape [32] is missing"
    );
    assert_eq!(
        weights(&|map| map["lm_head.weight"] = json!("a.safetensors")),
        "model.safetensors.index.json: tensor lm_head.weight is not in a.safetensors, where the index has it"
    );
}

#[test]
fn configurations_are_read_as_python_reads_them() {
    let plain = Source::open(&models().join("gqa-tied")).unwrap();
    let check = |change: &dyn Fn(&str) -> String| {
        let folder = copy_of("gqa-tied");
        let file = folder.path().join("config.json");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, change(&text)).unwrap();
        let source = Source::open(folder.path()).unwrap();
        assert_eq!(source.spec(), plain.spec());
        source.notes().unwrap()
    };
    let add =
        |fields: &'static str| move |text: &str| text.replacen('{', &format!("{{{fields}, "), 1);
    let nothing = Vec::<String>::new();
    assert_eq!(check(&|text| format!("\u{FEFF}{text}")), nothing);
    assert_eq!(check(&add(r#""quantization_config": null"#)), nothing);
    assert_eq!(
        check(&add(r#""hidden_size": 1"#)),
        nothing,
        "the last one counts"
    );
    assert_eq!(check(&add(r#""attention_bias": null"#)), nothing);
    let float = |text: &str| text.replace("\"hidden_size\": 32", "\"hidden_size\": 32.0");
    assert_eq!(check(&float), nothing);
    let notes = check(&add(r#""unused": NaN, "other": {"x": -Infinity}"#));
    assert_eq!(notes.len(), 1);
    assert!(
        notes[0].ends_with("config.json: the artifact goes without fields whose numbers are not finite: unused, other.x"),
        "{notes:?}"
    );
}

#[test]
fn a_number_that_is_read_must_be_finite() {
    let folder = copy_of("gqa-tied");
    let file = folder.path().join("config.json");
    edit(folder.path(), |config| {
        config["rms_norm_eps"] = json!("MARK")
    });
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("\"MARK\"", "NaN");
    fs::write(&file, text).unwrap();
    assert_eq!(
        error(folder.path(), folder.path()),
        "config.json: rms_norm_eps: invalid type: string \"NaN\", expected a number"
    );
}

#[test]
fn token_ids_that_are_none_are_left_out() {
    let ids = |pad: i64, eos: Value| {
        let folder = copy_of("gqa-tied");
        edit(folder.path(), |config| {
            config["pad_token_id"] = json!(pad);
            config["eos_token_id"] = eos.clone();
        });
        let source = Source::open(folder.path()).unwrap();
        let spec = source.spec();
        let found = (spec.pad_token_id, spec.eos_token_ids.clone());
        (found, source.notes().unwrap())
    };
    assert_eq!(ids(-1, json!([2, -1])), ((None, vec![2]), vec![]));
    let (found, notes) = ids(32_000, json!(null));
    assert_eq!(found, (None, vec![]));
    assert_eq!(notes.len(), 1);
    assert!(
        notes[0].ends_with(
            "the padding token 32000 is not among the model's 288 tokens and is left out"
        ),
        "{notes:?}"
    );
}

#[test]
fn small_files_that_decide_nothing_are_read_as_far_as_they_go() {
    let files = |text: &str| {
        let folder = copy_of("gqa-tied");
        fs::write(folder.path().join("generation_config.json"), text).unwrap();
        let source = Source::open(folder.path()).unwrap();
        let files = source.hf_files().unwrap();
        (files.generation_config.clone(), files.notes.clone())
    };
    let (config, notes) = files("\u{FEFF}{\"temperature\": Infinity, \"top_k\": 50}");
    assert_eq!(Value::Object(config), json!({"top_k": 50}));
    assert!(notes[0].ends_with("generation_config.json: the artifact goes without fields whose numbers are not finite: temperature"));
    for text in ["", "{", "[]"] {
        let (_, notes) = files(text);
        assert_eq!(notes.len(), 1, "{text:?}");
        assert!(
            notes[0].ends_with("; the artifact goes without this file"),
            "{notes:?}"
        );
    }
}

#[test]
fn lists_with_an_entry_a_block_are_as_long_as_there_are_blocks() {
    let folder = copy_of("gqa-tied");
    edit(folder.path(), |config| {
        config["layer_types"] = json!(["full_attention"])
    });
    assert_eq!(
        error(folder.path(), folder.path()),
        "config.json: layer_types has 1 entries, num_hidden_layers is 2"
    );
}

#[test]
fn a_pointer_of_git_lfs_says_what_to_do() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n";
    let sentence = "a git-lfs pointer: fetch the file with `git lfs pull`";
    for name in ["config.json", "model.safetensors"] {
        let folder = copy_of("gqa-tied");
        fs::write(folder.path().join(name), pointer).unwrap();
        let found = error(folder.path(), folder.path());
        assert_eq!(found, format!("{name}: {sentence}"));
    }
    let folder = copy_of("gqa-tied");
    fs::write(folder.path().join("tokenizer.json"), pointer).unwrap();
    let error = Source::open(folder.path())
        .unwrap()
        .tokenizer()
        .unwrap_err();
    assert!(error.to_string().ends_with(sentence), "{error}");
    let file = folder.path().join("model.gguf");
    fs::write(&file, pointer).unwrap();
    assert_eq!(
        super::error(&file, folder.path()),
        format!("model.gguf: {sentence}")
    );
}

/// What other programs cannot read of a folder is not handed on.
#[test]
fn artifacts_name_no_code_of_the_source_and_begin_without_a_mark() {
    let folder = fixture::changed("experts/olmoe", |config| {
        config.insert("auto_map".into(), json!({"AutoConfig": "missing.Config"}));
    });
    let tokenizer = folder.path().join("tokenizer.json");
    let marked = format!("\u{feff}{}", fs::read_to_string(&tokenizer).unwrap());
    fs::write(&tokenizer, marked).unwrap();
    let source = Source::open(folder.path()).unwrap();
    let files = source.hf_files().unwrap();
    assert!(!files.config.contains_key("auto_map"));
    assert!(files.tokenizer.starts_with('{'));
}
