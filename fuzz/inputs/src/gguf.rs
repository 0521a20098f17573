//! A GGUF file: metadata and the list of tensors.

use std::path::Path;

use evopress_source::fixtures::GgufBuilder;

use crate::model::{describe, open_and_read, use_tokenizer};
use crate::scratch::{Scratch, append, append_zeros};
use crate::{written, zeros};

/// More than the tensors of any model of the corpus.
const ALL_TENSORS: u64 = 1 << 20;
/// Numbers that are 1 in f32, of which divisors of frequencies may be.
const NUM_ONES: usize = 1 << 10;
/// Named so that a file may say that it is the first of two.
const NAME: &str = "model-00001-of-00002.gguf";

/// Opens this file, which may be the first part of a model whose second holds the head. It is
/// opened once more with ones and zeros behind it, so that a header alone is enough.
pub fn gguf(input: &[u8]) {
    thread_local! {
        static FOLDER: Scratch = with_second_part();
    }
    FOLDER.with(|folder| {
        let file = folder.write(NAME, input);
        open_and_use(&file, folder);
        append(&file, &1_f32.to_le_bytes().repeat(NUM_ONES));
        append_zeros(&file, ALL_TENSORS);
        open_and_use(&file, folder);
    });
}

fn open_and_use(file: &Path, folder: &Scratch) {
    if let Some(source) = open_and_read(file) {
        describe(&source);
        use_tokenizer(&source);
        written::check(&source, folder);
    }
}

fn with_second_part() -> Scratch {
    let folder = Scratch::new();
    let second = GgufBuilder::new()
        .number("split.no", 1)
        .number("split.count", 2)
        .tensor("output.weight", &[4, 8], 0, 4 * 8 * 4);
    folder.write("model-00002-of-00002.gguf", &second.bytes());
    zeros::write(None, &folder);
    folder
}
