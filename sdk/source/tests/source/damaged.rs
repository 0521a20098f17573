//! Files that were cut off or changed: an error or other numbers, never a panic.

use proptest::prelude::*;

use super::wrong_gguf::small_gguf;
use super::*;

/// Opens and reads everything; whatever happens must not be a panic.
fn read_all(path: &Path) {
    if let Ok(source) = Source::open(path) {
        let _ = source.tokenizer();
        let _ = source.hf_files();
        for tensor in source.tensors() {
            drop(source.read(&tensor.name).unwrap().to_bytes());
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    let good = small_gguf().bytes();
    // The last tensor is followed by nothing but its own padding.
    for length in (0..good.len() - 32).step_by(7) {
        std::fs::write(&file, &good[..length]).unwrap();
        assert!(
            Source::open(&file).is_err(),
            "{length} of {} bytes",
            good.len()
        );
    }
    let copy = copy_of("gqa-tied");
    let shard = copy.path().join("model.safetensors");
    let good = std::fs::read(&shard).unwrap();
    for length in (0..good.len()).step_by(211) {
        std::fs::write(&shard, &good[..length]).unwrap();
        assert!(
            Source::open(copy.path()).is_err(),
            "{length} of {} bytes",
            good.len()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_gguf_files_never_panic(
        changes in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..6),
        which in 0..3_usize,
    ) {
        let name = ["quants/quants.gguf", "tokenizers/smollm.gguf", "tokenizers/sentence-piece.gguf"][which];
        let mut bytes = std::fs::read(fixtures::folder().join(name)).unwrap();
        // The header, where lengths and types are.
        let header = bytes.len().min(6000) as f64;
        for (at, value) in changes {
            bytes[(at * header) as usize] = value;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.gguf");
        std::fs::write(&file, bytes).unwrap();
        read_all(&file);
    }

    #[test]
    fn damaged_quantized_files_never_panic(
        changes in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..6),
        which in 0..6_usize,
    ) {
        let name = ["awq", "fp8-blocks", "gptq-act-order", "int-quantized", "pack-act-order", "pack-mixed"][which];
        let folder = copy_of(&format!("../quantized/{name}"));
        let file = folder.path().join("model.safetensors");
        let mut bytes = std::fs::read(&file).unwrap();
        let header = 8 + bytes[0] as usize + 256 * bytes[1] as usize;
        for (at, value) in changes {
            bytes[(at * header as f64) as usize] = value;
        }
        std::fs::write(&file, bytes).unwrap();
        read_all(folder.path());
    }

    #[test]
    fn damaged_safetensors_files_never_panic(changes in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..6)) {
        let folder = copy_of("gqa-tied");
        let file = folder.path().join("model.safetensors");
        let mut bytes = std::fs::read(&file).unwrap();
        for (at, value) in changes {
            bytes[(at * 2060.0) as usize] = value;
        }
        std::fs::write(&file, bytes).unwrap();
        read_all(folder.path());
    }
}
