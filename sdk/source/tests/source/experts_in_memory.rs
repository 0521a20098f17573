//! Experts whose tensors are stacked as transformers 5 has them in memory.

use std::collections::BTreeMap;

use super::*;

/// A tensor of a file: its type, shape and bytes.
type Stored = (String, Vec<usize>, Vec<u8>);

fn read(file: &Path) -> BTreeMap<String, Stored> {
    let bytes = std::fs::read(file).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
    header.remove("__metadata__");
    let tensors = header.into_iter().map(|(name, info)| {
        let [start, end]: [usize; 2] =
            serde_json::from_value(info["data_offsets"].clone()).unwrap();
        let shape = serde_json::from_value(info["shape"].clone()).unwrap();
        let dtype = info["dtype"].as_str().unwrap().to_owned();
        (name, (dtype, shape, data[start..end].to_vec()))
    });
    tensors.collect()
}

fn write(file: &Path, tensors: &BTreeMap<String, Stored>) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (dtype, shape, bytes)) in tensors {
        let span = [data.len(), data.len() + bytes.len()];
        let info = json!({"dtype": dtype, "shape": shape, "data_offsets": span});
        header.insert(name.clone(), info);
        data.extend(bytes);
    }
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(file, [&length, header.as_bytes(), &data].concat()).unwrap();
}

/// Puts the layers of all experts of each block into two tensors.
fn stack(tensors: &mut BTreeMap<String, Stored>, module: &str, layers: [&str; 3]) {
    let blocks = (0..).take_while(|idx| {
        let block = format!("model.layers.{idx}.");
        tensors.keys().any(|name| name.starts_with(&block))
    });
    for idx in blocks.collect::<Vec<_>>() {
        for (whole, parts) in [("gate_up_proj", &layers[..2]), ("down_proj", &layers[2..])] {
            let mut stacked: Option<Stored> = None;
            for expert in 0.. {
                let name =
                    |layer: &str| format!("model.layers.{idx}.{module}.{expert}.{layer}.weight");
                let Some(found) = parts
                    .iter()
                    .map(|it| tensors.remove(&name(it)))
                    .collect::<Option<Vec<_>>>()
                else {
                    break;
                };
                let (dtype, shape, _) = found[0].clone();
                let all = stacked.get_or_insert((
                    dtype,
                    vec![0, shape[0] * parts.len(), shape[1]],
                    Vec::new(),
                ));
                all.1[0] += 1;
                all.2
                    .extend(found.into_iter().flat_map(|(_, _, bytes)| bytes));
            }
            if let Some(stacked) = stacked {
                tensors.insert(format!("model.layers.{idx}.mlp.experts.{whole}"), stacked);
            }
        }
    }
}

fn rename(tensors: &mut BTreeMap<String, Stored>, from: &str, to: &str) {
    let names: Vec<String> = tensors
        .keys()
        .filter(|name| name.contains(from))
        .cloned()
        .collect();
    assert!(!names.is_empty(), "{from}");
    for name in names {
        let tensor = tensors.remove(&name).unwrap();
        tensors.insert(name.replace(from, to), tensor);
    }
}

fn in_memory(name: &str, change: impl Fn(&mut BTreeMap<String, Stored>)) -> tempfile::TempDir {
    let folder = copy_of(&format!("../experts/{name}"));
    let file = folder.path().join("model.safetensors");
    let mut tensors = read(&file);
    match name {
        "mixtral" => {
            stack(&mut tensors, "block_sparse_moe.experts", ["w1", "w3", "w2"]);
            rename(&mut tensors, "block_sparse_moe.gate", "mlp.gate");
        }
        "granitemoe" => {
            let module = "block_sparse_moe";
            for (from, to) in [
                ("input_linear.weight", "experts.gate_up_proj"),
                ("output_linear.weight", "experts.down_proj"),
                ("router.layer", "router"),
            ] {
                rename(
                    &mut tensors,
                    &format!("{module}.{from}"),
                    &format!("{module}.{to}"),
                );
            }
        }
        _ => stack(
            &mut tensors,
            "mlp.experts",
            ["gate_proj", "up_proj", "down_proj"],
        ),
    }
    change(&mut tensors);
    write(&file, &tensors);
    folder
}

#[test]
fn they_are_the_model_that_they_were() {
    for name in [
        "mixtral",
        "granitemoe",
        "olmoe",
        "qwen2-moe",
        "qwen3-moe",
        "qwen3-moe-all",
    ] {
        let original = Source::open(&models().join("../experts").join(name)).unwrap();
        let folder = in_memory(name, |tensors| {
            let is_bare = |it: &String| it.ends_with("experts.gate_up_proj");
            assert!(tensors.keys().any(is_bare), "{name}");
        });
        let source = Source::open(folder.path()).unwrap();
        assert_eq!(source.spec(), original.spec(), "{name}");
        for tensor in original.tensors() {
            let bytes = |source: &Source| source.read(&tensor.name).unwrap().to_bytes();
            assert_eq!(bytes(&source), bytes(&original), "{name}: {}", tensor.name);
        }
        assert!(source.check_numbers(None).unwrap());
    }
}

/// Whoever puts a model together from parts mixes forms.
#[test]
fn a_router_may_have_its_name_in_memory_alone() {
    for (name, from, to) in [
        ("mixtral", "block_sparse_moe.gate", "mlp.gate"),
        ("granitemoe", "router.layer", "router"),
    ] {
        let original = Source::open(&models().join("../experts").join(name)).unwrap();
        let folder = copy_of(&format!("../experts/{name}"));
        let file = folder.path().join("model.safetensors");
        let mut tensors = read(&file);
        rename(&mut tensors, from, to);
        write(&file, &tensors);
        let source = Source::open(folder.path()).unwrap();
        for tensor in original.tensors() {
            let bytes = |source: &Source| source.read(&tensor.name).unwrap().to_bytes();
            assert_eq!(bytes(&source), bytes(&original), "{name}: {}", tensor.name);
        }
    }
}

#[test]
fn what_is_wrong_with_them_is_told_by_their_names() {
    let check = |change: &dyn Fn(&mut BTreeMap<String, Stored>), expected: &str| {
        let folder = in_memory("mixtral", change);
        let found = error(folder.path(), folder.path());
        let found = found.replace(&folder.path().display().to_string(), "FOLDER");
        assert_eq!(found, expected);
    };
    let down = "model.layers.1.mlp.experts.down_proj";
    let original = Source::open(&models().join("../experts/mixtral")).unwrap();
    let mlp = original.spec().first_mlp().unwrap();
    let num_experts = i64::from(mlp.experts.as_ref().unwrap().num_experts);
    let shape = [
        num_experts,
        original.spec().hidden_size,
        mlp.intermediate_size,
    ];
    check(
        &|tensors| drop(tensors.remove(down)),
        &format!("FOLDER: tensor {down} of shape {shape:?} is missing"),
    );
    let more = [shape[0] + 1, shape[1], shape[2]];
    check(
        &|tensors| {
            let (_, shape, bytes) = tensors.get_mut(down).unwrap();
            bytes.extend(vec![0; bytes.len() / shape[0]]);
            shape[0] += 1;
        },
        &format!("model.safetensors: tensor {down} has shape {more:?}, expected {shape:?}"),
    );
    let one = "model.layers.0.mlp.experts.gate_up_proj_bias";
    check(
        &|tensors| {
            let tensor = ("BF16".to_owned(), vec![1], vec![1, 1]);
            tensors.insert(one.to_owned(), tensor);
        },
        &format!("FOLDER: tensor {one} is no part of the model"),
    );
}
