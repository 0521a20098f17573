//! What a source has of a model: its version and its files, and which of them are needed.

use evopress_core::PartName;
use evopress_spec::is_gguf;
use serde_json::Value;

use super::FetchError;
use super::error::ErrorContext;
use crate::bundle::MANIFEST;

/// A manifest is never larger.
const SMALL_BYTES: u64 = 16 << 20;

/// A model at one moment.
#[derive(Debug)]
pub(super) struct Listing {
    /// A name that always means these files: a commit, a digest.
    pub(super) version: String,
    /// Its files.
    pub(super) files: Vec<RemoteFile>,
}

impl Listing {
    /// The manifest that evopressd has published beside the files, if there is one that small.
    pub(super) fn manifest(&self) -> Option<&RemoteFile> {
        let mut files = self.files.iter();
        files.find(|file| file.name == MANIFEST && file.size_bytes <= SMALL_BYTES)
    }

    /// Takes the digests from a manifest. Returns whether evopressd has written it.
    pub(super) fn adopt_digests(&mut self, manifest: &[u8]) -> bool {
        let manifest: Value = serde_json::from_slice(manifest).unwrap_or_default();
        let (Some(listed), true) = (manifest["files"].as_array(), manifest["run"].is_string())
        else {
            return false;
        };
        for entry in listed {
            let (name, sha256) = (entry["path"].as_str(), entry["sha256"].as_str());
            let mut files = self.files.iter_mut();
            let file = files.find(|file| Some(file.name.as_str()) == name);
            if let (Some(file), Some(sha256)) = (file, sha256) {
                file.digest = Some(FileDigest::Sha256(sha256.to_owned()));
            }
        }
        true
    }
}

/// A file in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// Its name, without folders.
    pub(super) name: String,
    /// Its name in the source.
    pub(super) at: String,
    pub(super) size_bytes: u64,
    /// Its digest, where the source tells it.
    pub(super) digest: Option<FileDigest>,
    /// The state of the object, where the source tells it.
    pub(super) etag: Option<String>,
}

/// A digest, hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileDigest {
    Sha256(String),
    /// What Git calls the content: SHA-1 over a header and the content.
    GitSha1(String),
}

/// The files that make a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Needed {
    Folder(Vec<RemoteFile>),
    /// The file, or all parts of a split one in their order.
    Gguf(Vec<RemoteFile>),
}

/// Picks the files that a model needs; small ones come first.
///
/// # Errors
/// They are no model.
pub(super) fn needed(files: Vec<RemoteFile>, context: &ErrorContext) -> Result<Needed, FetchError> {
    let has = |end: &str| files.iter().any(|file| file.name.ends_with(end));
    let is_folder = files.iter().any(|file| file.name == "config.json") && has(".safetensors");
    if is_folder {
        let mut needed: Vec<_> = files
            .into_iter()
            .filter(|file| is_needed(&file.name))
            .collect();
        needed.sort_by(|a, b| (a.size_bytes, &a.name).cmp(&(b.size_bytes, &b.name)));
        return Ok(Needed::Folder(needed));
    }
    let found = |found: String| FetchError::NoModel {
        address: context.address.clone(),
        found,
    };
    let gguf: Vec<_> = files.iter().filter(|file| is_gguf(&file.name)).collect();
    if let Some(parts) = parts(&gguf) {
        return parts.map(Needed::Gguf).map_err(found);
    }
    match gguf[..] {
        [file] => Ok(Needed::Gguf(vec![file.clone()])),
        [_, _, ..] => Err(found(format!(
            "it has {} .gguf files, of which the address must name one",
            gguf.len()
        ))),
        [] if files.is_empty() => Err(found("it has no files".to_owned())),
        [] => {
            let names: Vec<&str> = files
                .iter()
                .take(5)
                .map(|file| file.name.as_str())
                .collect();
            let more = if files.len() > names.len() {
                ", …"
            } else {
                ""
            };
            Err(found(format!("it has {}{more}", names.join(", "))))
        }
    }
}

/// The parts of a split model in their order, where all files are parts of one; else a sentence
/// names a part that is missing.
fn parts(files: &[&RemoteFile]) -> Option<Result<Vec<RemoteFile>, String>> {
    let first = PartName::parse(&files.first()?.name)?;
    let names: Vec<String> = first.all().collect();
    if !files.iter().all(|file| names.contains(&file.name)) {
        return None;
    }
    let part = |name: &String| {
        let mut files = files.iter();
        let found = files.find(|file| file.name == *name);
        let missing = || {
            format!(
                "{name} is missing, one of the {} parts of its model",
                first.count
            )
        };
        found.map(|file| (*file).clone()).ok_or_else(missing)
    };
    Some(names.iter().map(part).collect())
}

/// Configuration, tokenizer, weights in safetensors, licence and card; weights in other formats are
/// left where they are.
fn is_needed(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    let begins = |starts: &[&str]| starts.iter().any(|start| lower.starts_with(start));
    let is_weights = lower.ends_with(".safetensors") || lower.ends_with(".safetensors.index.json");
    let is_text = begins(&["licen", "notice", "readme", "use_policy"]);
    let is_settings = (lower.ends_with(".json") && begins(&["config", "generation_config"]))
        || begins(&[
            "tokenizer",
            "special_tokens_map",
            "added_tokens",
            "chat_template",
        ])
        || matches!(lower.as_str(), "vocab.json" | "vocab.txt" | "merges.txt");
    // Mistral's repositories have all weights a second time under this name.
    is_plain && (is_text || is_settings || (is_weights && !lower.starts_with("consolidated")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> RemoteFile {
        RemoteFile {
            name: name.to_owned(),
            at: name.to_owned(),
            size_bytes: name.len() as u64,
            digest: None,
            etag: None,
        }
    }

    fn pick(names: &[&str]) -> Result<Needed, String> {
        let context = ErrorContext {
            address: "hf://acme/tiny@main".to_owned(),
            hint: String::new(),
        };
        needed(names.iter().map(|name| file(name)).collect(), &context)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_a_model_needs_is_picked() {
        let picked = pick(&[
            ".gitattributes",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
            "model.safetensors",
            "model-q4.gguf",
            "consolidated.safetensors",
            "config.json",
            "config_sentence_transformers.json",
            "tokenizer.json",
            "tokenizer.model",
            "generation_config.json",
            "LICENSE",
            "README.md",
            "tf_model.h5",
            "training args.json",
        ]);
        let Ok(Needed::Folder(files)) = picked else {
            panic!("{picked:?}");
        };
        let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "LICENSE",
                "README.md",
                "config.json",
                "tokenizer.json",
                "tokenizer.model",
                "model.safetensors",
                "generation_config.json",
                "config_sentence_transformers.json",
            ]
        );
        assert_eq!(
            pick(&["README.md", "a.GGUF"]),
            Ok(Needed::Gguf(vec![file("a.GGUF")]))
        );
        let parts = ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"];
        assert_eq!(
            pick(&["README.md", parts[1], parts[0]]),
            Ok(Needed::Gguf(parts.map(file).to_vec()))
        );
    }

    #[test]
    fn what_is_no_model_gets_a_sentence() {
        let check = |names: &[&str], found: &str| {
            let sentence = pick(names).unwrap_err();
            let expected = format!(
                "hf://acme/tiny@main is not a model: {found}, expected config.json and .safetensors files, or one .gguf file"
            );
            assert_eq!(sentence, expected);
        };
        check(&[], "it has no files");
        check(
            &["config.json", "pytorch_model.bin"],
            "it has config.json, pytorch_model.bin",
        );
        check(
            &["a.gguf", "b.gguf"],
            "it has 2 .gguf files, of which the address must name one",
        );
        check(
            &["a-00001-of-00003.gguf", "a-00003-of-00003.gguf"],
            "a-00002-of-00003.gguf is missing, one of the 3 parts of its model",
        );
        check(
            &["a-00001-of-00002.gguf", "b-00002-of-00002.gguf"],
            "it has 2 .gguf files, of which the address must name one",
        );
        check(&["1", "2", "3", "4", "5", "6"], "it has 1, 2, 3, 4, 5, …");
    }
}
