//! What the artifacts of a model say of it.

use evopress_source::{Source, fixtures};
use serde_json::Value;

use crate::scratch::Scratch;
use crate::sentence::checked;

/// Writes the configuration of a model's artifacts into a folder, which has a file of weights.
///
/// # Panics
/// When it says something else than the model's own files.
pub(crate) fn check(source: &Source, folder: &Scratch) {
    let Some(files) = checked(source.hf_files()) else {
        return;
    };
    let written = Value::Object(files.config.clone()).to_string();
    folder.write("config.json", written.as_bytes());
    match fixtures::spec_of_folder(folder.path()) {
        Ok(spec) => assert!(
            spec == *source.spec(),
            "what is written is another model: {written}\n{spec:?}\n{:?}",
            source.spec()
        ),
        Err(error) => panic!("what is written is not read: {error}\n{written}"),
    }
}
