//! `model.safetensors.index.json` of a folder.

use evopress_core::model_files;

use crate::model::open_and_read;
use crate::scratch::Scratch;

/// Opens a folder with two files of weights and this index.
pub fn index(input: &[u8]) {
    thread_local! {
        static FOLDER: Scratch = Scratch::with_files_of(
            "models/multi-query",
            &[
                "config.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
            ],
        );
    }
    FOLDER.with(|folder| {
        folder.write("model.safetensors.index.json", input);
        assert!(!model_files(folder.path()).is_empty(), "no files");
        open_and_read(folder.path());
    });
}
