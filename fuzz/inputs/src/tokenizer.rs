//! The files of a folder that are about its tokenizer.

use evopress_source::Source;

use crate::model::{use_tokenizer, use_written_tokenizers};
use crate::scratch::Scratch;
use crate::sentence::{check, checked};

/// Stands between the files of an input, on a line of its own.
const BETWEEN: &str = "\n%%%\n";
/// The files in the order in which they stand there; later ones may be missing.
const FILES: [&str; 4] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
];

/// Reads the tokenizer of a model that has these files.
pub fn tokenizer(input: &[u8]) {
    thread_local! {
        static MODEL: (Scratch, Source) = model();
    }
    MODEL.with(|(folder, source)| {
        let mut rest = input;
        for name in FILES {
            match split_once(rest, BETWEEN.as_bytes()) {
                _ if rest.is_empty() => folder.remove(name),
                Some((file, after)) => {
                    folder.write(name, file);
                    rest = after;
                }
                None => {
                    folder.write(name, rest);
                    rest = &[];
                }
            }
        }
        use_tokenizer(source);
        use_written_tokenizers(source);
        for note in checked(source.notes()).unwrap_or_default() {
            check(&note);
        }
    });
}

fn model() -> (Scratch, Source) {
    let folder = Scratch::with_files_of("models/gqa-tied", &["config.json", "model.safetensors"]);
    let source = Source::open(folder.path()).expect("the fixture is a model");
    (folder, source)
}

fn split_once<'a>(bytes: &'a [u8], between: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(between.len()).position(|it| it == between)?;
    Some((&bytes[..at], &bytes[at + between.len()..]))
}
