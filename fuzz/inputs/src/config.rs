//! `config.json` of a folder.

use evopress_source::fixtures;

use crate::model::open_and_use;
use crate::scratch::Scratch;
use crate::sentence::checked;
use crate::zeros;

/// Opens a folder with this `config.json`, a tokenizer, and the weights that the configuration asks
/// for.
pub fn config(input: &[u8]) {
    thread_local! {
        static FOLDER: Scratch = Scratch::with_files_of("models/gqa-tied", &["tokenizer.json"]);
    }
    FOLDER.with(|folder| {
        folder.write("config.json", input);
        zeros::write(None, folder);
        if let Some(spec) = checked(fixtures::spec_of_folder(folder.path())) {
            zeros::write(Some(&spec), folder);
            open_and_use(folder.path());
        }
    });
}
