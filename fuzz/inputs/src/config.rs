//! `config.json` of a folder.

use evopress_source::fixtures;

use crate::model::{describe, open_and_read};
use crate::scratch::Scratch;
use crate::sentence::checked;
use crate::{written, zeros};

/// A small tokenizer that both formats can hold.
const TOKENIZER: &[u8] = br#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": null, "decoder": null, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}"#;

/// Opens a folder with this `config.json`, a tokenizer, and the weights that the configuration asks
/// for.
pub fn config(input: &[u8]) {
    thread_local! {
        static FOLDER: Scratch = with_tokenizer();
    }
    FOLDER.with(|folder| {
        folder.write("config.json", input);
        zeros::write(None, folder);
        if let Some(spec) = checked(fixtures::spec_of_folder(folder.path())) {
            zeros::write(Some(&spec), folder);
            if let Some(source) = open_and_read(folder.path()) {
                describe(&source);
                written::check(&source, folder);
            }
        }
    });
}

fn with_tokenizer() -> Scratch {
    let folder = Scratch::new();
    folder.write("tokenizer.json", TOKENIZER);
    folder
}
