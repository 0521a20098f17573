//! The files that a model on disk consists of. Whatever else lies in its folder is none of the
//! model's: a clone with weights in other formats and a download without them are one model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::{Hasher, digest_bytes};
use crate::json;
use crate::split_names::files_of_model;
use crate::text::{self, TextError};

/// Says in which file each tensor of a folder is.
pub const INDEX: &str = "model.safetensors.index.json";
/// The weights of a folder without an index.
pub const WEIGHTS: &str = "model.safetensors";
/// What decides, beside the weights, what a model computes and what its artifacts hold.
const SETTINGS: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
];

/// Which file of a folder each tensor is in, by the tensor's name.
#[derive(Debug, Deserialize)]
pub struct WeightIndex {
    /// File name by tensor name.
    pub weight_map: BTreeMap<String, String>,
}

impl WeightIndex {
    /// Reads the index of a folder; none where there is no such file.
    ///
    /// # Errors
    /// The file cannot be read, or names a file that is not in the folder.
    pub fn read(folder: &Path) -> Result<Option<Self>, TextError> {
        let file = folder.join(INDEX);
        if !file.is_file() {
            return Ok(None);
        }
        let index: Self = json::fields(&text::read(&file)?).map_err(TextError::Content)?;
        for name in index.files() {
            if !is_file_name(name) {
                let what = format!("{name:?} is not the name of a file in the same folder");
                return Err(TextError::Content(what));
            }
        }
        Ok(Some(index))
    }

    /// The names of the files, each once, in order.
    pub fn files(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }
}

/// Bytes of a file's name, at most.
const MAX_NAME: usize = 255;

/// Whether a text is the name of a file in a folder, and nothing else: a path could lead to any
/// file of the machine.
fn is_file_name(name: &str) -> bool {
    let file_name = Path::new(name).file_name();
    file_name.is_some_and(|file_name| file_name == name)
        && name.len() <= MAX_NAME
        && !name.contains(char::is_control)
}

/// The files of a model, in a fixed order: the file itself, all parts of one that is split, or
/// those of its folder that count. A file that is missing is listed only where an index or the name
/// of a part tells of it.
pub fn model_files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return files_of_model(path);
    }
    let index = WeightIndex::read(path);
    let mut files: Vec<PathBuf> = SETTINGS.map(|name| path.join(name)).into();
    files.push(path.join(INDEX));
    if !matches!(index, Ok(Some(_))) {
        files.push(path.join(WEIGHTS));
    }
    files.retain(|file| file.is_file());
    if let Ok(Some(index)) = index {
        files.extend(index.files().into_iter().map(|name| path.join(name)));
    }
    files
}

/// SHA-256 of a model: of its file, of the digests of its parts, or, where it is a folder, of the
/// lines `DIGEST  NAME` of its files in the order of their names. `digest_file` says the digest of
/// each file.
///
/// # Errors
/// `digest_file` fails.
pub fn digest_model<E>(
    path: &Path,
    digest_file: impl Fn(&Path) -> Result<String, E>,
) -> Result<String, E> {
    let mut files = model_files(path);
    if let ([only], false) = (&files[..], path.is_dir()) {
        return digest_file(only);
    }
    if !path.is_dir() {
        let parts = files.iter().map(|file| digest_file(file));
        let parts = parts.collect::<Result<Vec<_>, E>>()?;
        return Ok(digest_bytes(parts.join("\n").as_bytes()));
    }
    files.sort();
    let mut hasher = Hasher::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        hasher.update(format!("{}  {name}\n", digest_file(&file)?));
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::digest_path;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        let files = model_files(folder.path()).into_iter();
        files
            .map(|file| file.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn only_what_counts_is_part_of_a_model() {
        let plain = [("config.json", "{}"), ("model.safetensors", "w")];
        let one = folder(&plain);
        let other = folder(&plain);
        fs::write(other.path().join("README.md"), "text").unwrap();
        fs::create_dir(other.path().join("onnx")).unwrap();
        std::os::unix::fs::symlink("../blobs/0123", other.path().join("pytorch_model.bin"))
            .unwrap();
        assert_eq!(names(&other), ["config.json", "model.safetensors"]);
        let digest = |folder: &tempfile::TempDir| digest_model(folder.path(), digest_path).unwrap();
        assert_eq!(digest(&one), digest(&other));
        // As a digest of the whole folder, where there is nothing else in it.
        assert_eq!(digest(&one), digest_path(one.path()).unwrap());
        fs::write(other.path().join("generation_config.json"), "{}").unwrap();
        assert_ne!(digest(&one), digest(&other));
    }

    #[test]
    fn only_names_of_files_are_in_an_index() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "/etc/passwd",
            "a\\u0000b",
            &"a".repeat(256),
        ] {
            let index = format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#);
            let folder = folder(&[(INDEX, &index)]);
            assert!(WeightIndex::read(folder.path()).is_err(), "{name}");
        }
    }

    #[test]
    fn an_index_says_which_weights_count() {
        let index = r#"{"metadata": {"total_size": 1.0}, "weight_map": {"b": "2.safetensors", "a": "1.safetensors", "c": "2.safetensors"}}"#;
        let sharded = folder(&[
            ("config.json", "{}"),
            ("1.safetensors", "1"),
            ("2.safetensors", "2"),
            ("3.safetensors", "3"),
            ("model.safetensors", "w"),
            (INDEX, index),
        ]);
        let expected = ["config.json", INDEX, "1.safetensors", "2.safetensors"];
        assert_eq!(names(&sharded), expected);
        fs::remove_file(sharded.path().join("2.safetensors")).unwrap();
        assert_eq!(names(&sharded), expected, "what is missing is found so");
    }
}
