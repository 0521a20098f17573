//! What a folder holds beside its weights: the tokenizer, and small files of which most decide no
//! result.

use std::path::Path;

use evopress_core::text::shown;
use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use super::model_folder::ModelFolder;
use super::text;
use crate::bos::{self, BosRule};
use crate::error::SourceError;
use crate::families;
use crate::hf_files::HfFiles;
use crate::spec::ModelSpec;
use crate::tokenizer;

impl ModelFolder {
    pub(crate) fn tokenizer(&self) -> Result<Tokenizer, SourceError> {
        let file = self.path.join("tokenizer.json");
        let text = text::read(&file)?;
        tokenizer::parse(&text).map_err(|what| SourceError::Tokenizer { file, what })
    }

    /// How sequences begin; `bos_token_id` is the configuration's.
    pub(crate) fn bos_rule(
        &self,
        tokenizer: &Tokenizer,
        bos_token_id: Option<u32>,
    ) -> Result<BosRule, SourceError> {
        let config = small_file(&self.path.join("tokenizer_config.json"), &mut Vec::new());
        bos::of_folder(tokenizer, &config, bos_token_id).map_err(|what| SourceError::Tokenizer {
            file: self.path.join("tokenizer.json"),
            what,
        })
    }

    /// What the folder holds beside the weights; `spec` is of the whole model.
    pub(crate) fn hf_files(&self, spec: &ModelSpec) -> Result<HfFiles, SourceError> {
        let tokenizer = self.path.join("tokenizer.json");
        let left_out = without_fields(&self.config_file(), &self.left_out);
        let mut notes: Vec<String> = left_out.into_iter().collect();
        let mut optional = |name: &str| small_file(&self.path.join(name), &mut notes);
        let tokenizer_config = optional("tokenizer_config.json");
        let special_tokens_map = optional("special_tokens_map.json");
        let mut generation_config = optional("generation_config.json");
        if generation_config.is_empty() {
            generation_config = families::generation_config(spec);
        }
        let copies = ["chat_template.jinja", "LICENSE", "LICENSE.txt", "NOTICE"]
            .iter()
            .map(|name| self.path.join(name))
            .filter(|file| file.is_file())
            .collect();
        let mut config = families::to_config(self.family, spec, self.finite.clone());
        // Code of the folder's own is not copied: runtimes know the families.
        config.shift_remove("auto_map");
        let tokenizer = text::read(&tokenizer)?;
        Ok(HfFiles {
            config,
            tokenizer: tokenizer.trim_start_matches('\u{feff}').to_owned(),
            tokenizer_config,
            special_tokens_map,
            generation_config,
            notes,
            name: self
                .config
                .get("_name_or_path")
                .and_then(Value::as_str)
                .filter(|name| !name.is_empty())
                .map(Into::into),
            license: None,
            copies,
        })
    }
}

/// A file that decides no result: of one that is not as it should be nothing is taken, and a note
/// says so.
fn small_file(file: &Path, notes: &mut Vec<String>) -> Map<String, Value> {
    if !file.is_file() {
        return Map::new();
    }
    match text::read(file).and_then(|text| text::object(&text, file)) {
        Ok(object) => {
            notes.extend(without_fields(file, &object.left_out));
            object.finite
        }
        Err(error) => {
            notes.push(format!("{error}; the artifact goes without this file"));
            Map::new()
        }
    }
}

fn without_fields(file: &Path, names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| {
        format!(
            "{}: the artifact goes without fields whose numbers are not finite: {}",
            file.display(),
            shown(&names.join(", "))
        )
    })
}
