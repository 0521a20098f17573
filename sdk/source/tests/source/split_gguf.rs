//! GGUF models that are spread over several files, as llama.cpp's `gguf-split` does it.

use super::wrong_gguf::{LAYERS, metadata, small_gguf, weights};
use super::*;

/// What a part says of itself; its number is counted from 0.
fn numbered(builder: GgufBuilder, no: u16, count: u16, tensors: u32) -> GgufBuilder {
    builder
        .entry("split.no", 2, &no.to_le_bytes())
        .entry("split.count", 2, &count.to_le_bytes())
        .entry("split.tensors.count", 5, &tensors.to_le_bytes())
}

fn first(tensors: u32) -> GgufBuilder {
    let metadata = metadata(GgufBuilder::new().string("general.architecture", "llama"));
    numbered(metadata, 0, 3, tensors)
}

/// A model of three parts, the first of which has no tensor, by name of file.
fn parts() -> [(&'static str, GgufBuilder); 3] {
    let norms = ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"];
    let mut second = numbered(GgufBuilder::new(), 1, 3, 11);
    for norm in norms {
        second = second.tensor(&format!("{norm}.weight"), &[32], 0, 128);
    }
    let mut third =
        numbered(GgufBuilder::new(), 2, 3, 11).tensor("token_embd.weight", &[8, 32], 0, 1024);
    for layer in LAYERS {
        third = third.tensor(&format!("blk.0.{layer}.weight"), &[32, 32], 2, 32 * 18);
    }
    [
        ("m-00001-of-00003.gguf", first(11)),
        ("m-00002-of-00003.gguf", second),
        ("m-00003-of-00003.gguf", third),
    ]
}

#[test]
fn parts_are_one_model() {
    let folder = tempfile::tempdir().unwrap();
    for (name, part) in parts() {
        // Tensors are zeros but for a mark at each part's end, in the last of its tensors.
        let mut bytes = part.bytes();
        *bytes.last_mut().unwrap() = 0x3f;
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let files = parts().map(|(name, _)| folder.path().join(name));
    let split = Source::open(&files[0]).unwrap();
    let whole = folder.path().join("whole.gguf");
    std::fs::write(&whole, small_gguf().bytes()).unwrap();
    let whole = Source::open(&whole).unwrap();

    assert_eq!(split.spec(), whole.spec());
    assert_eq!(split.path(), files[0]);
    assert_eq!(split.digest_files(), files);
    let is_marked = |name: &str| {
        let (_, bytes) = split.gguf_tensor(name).unwrap().unwrap();
        bytes.last() == Some(&0x3f)
    };
    let names = split.tensors().iter().map(|it| it.name.as_str());
    let marked: Vec<&str> = names.filter(|name| is_marked(name)).collect();
    let (norm, down) = (
        "model.layers.0.post_attention_layernorm.weight",
        "model.layers.0.mlp.down_proj.weight",
    );
    assert_eq!(marked, [norm, down]);
    let weights = floats(&split.read(norm).unwrap());
    assert_eq!(
        (weights[30], weights[31]),
        (0.0, f32::from_bits(0x3f00_0000))
    );
    // What another GGUF file is made of says nothing of this one's parts.
    assert_eq!(
        split.gguf_entries().unwrap().to_bytes(),
        whole.gguf_entries().unwrap().to_bytes()
    );
}

#[test]
fn wrong_parts() {
    let check = |named: &str, change: &dyn Fn(&Path), expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        for (name, part) in parts() {
            std::fs::write(folder.path().join(name), part.bytes()).unwrap();
        }
        change(folder.path());
        assert_eq!(error(&folder.path().join(named), folder.path()), expected);
    };
    let (one, two, three) = (parts()[0].0, parts()[1].0, parts()[2].0);
    let write = |name: &'static str, builder: fn() -> GgufBuilder| {
        move |folder: &Path| std::fs::write(folder.join(name), builder().bytes()).unwrap()
    };
    check(
        two,
        &|_| {},
        "m-00002-of-00003.gguf: this is part 2 of 3 of a split model, name its first part: m-00001-of-00003.gguf",
    );
    check(
        one,
        &|folder| std::fs::remove_file(folder.join(three)).unwrap(),
        "m-00001-of-00003.gguf: part 3 of 3 is missing: m-00003-of-00003.gguf is not there",
    );
    check(
        "renamed.gguf",
        &|folder| std::fs::rename(folder.join(one), folder.join("renamed.gguf")).unwrap(),
        "renamed.gguf: this is part 1 of 3 of a split model, but its name does not end in -00001-of-00003.gguf, so the \
         other parts cannot be found",
    );
    check(
        one,
        &|folder| assert!(std::fs::copy(folder.join(two), folder.join(three)).is_ok()),
        "m-00003-of-00003.gguf: split.no is 1 and split.count 3, expected 2 and 3 by the file's name",
    );
    check(
        one,
        &write(three, small_gguf),
        "m-00003-of-00003.gguf: split.no is absent and split.count absent, expected 2 and 3 by the file's name",
    );
    check(
        one,
        &write(one, || first(12)),
        "m-00001-of-00003.gguf: the 3 parts of the model have 11 tensors, split.tensors.count is 12",
    );
    check(
        one,
        &write(one, || weights(first(22))),
        "m-00002-of-00003.gguf: tensor blk.0.attn_norm.weight is also in m-00001-of-00003.gguf",
    );
    check(
        one,
        &write(three, || numbered(GgufBuilder::new(), 2, 3, 11)),
        "m-00001-of-00003.gguf: the 3 parts of the model have 3 tensors, split.tensors.count is 11",
    );
    check(
        one,
        &|folder| std::fs::write(folder.join(two), b"version https://git-lfs").unwrap(),
        "m-00002-of-00003.gguf: not a GGUF file: begins with \"vers\", expected \"GGUF\"",
    );
}
