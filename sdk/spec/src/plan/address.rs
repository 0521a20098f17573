//! Addresses of models that are somewhere else: a registry and what of it, in one text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::words::clip;

/// Where a model is, when it is not on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// `hf://ORGANIZATION/NAME[@REVISION][/PATH/FILE.gguf]`: a repository of the Hugging Face Hub.
    Hub {
        /// `ORGANIZATION/NAME`.
        repository: String,
        /// A branch, a tag or a commit.
        revision: String,
        /// The one file that is the model; `None` where the repository is.
        file: Option<String>,
    },
    /// `s3://BUCKET/PREFIX` or `s3://BUCKET/PATH/FILE.gguf`: objects of S3, or of a service that
    /// speaks S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// What the names of the model's objects begin with, or the name of the one that is the
        /// model; without a `/` at either end, empty for the whole bucket.
        key: String,
    },
    /// `oci://HOST[:PORT]/PATH[:TAG]` or `oci://HOST[:PORT]/PATH@sha256:…`: an artifact of an OCI
    /// registry.
    Oci {
        /// `HOST[:PORT]/PATH`.
        repository: String,
        /// A tag, or a digest: `sha256:…`.
        reference: String,
    },
    /// `mlflow:models:/NAME/VERSION` or `mlflow:models:/NAME@ALIAS`: a version of a registered
    /// model of MLflow.
    Mlflow {
        /// The registered model.
        name: String,
        /// The version.
        version: ModelVersion,
    },
}

/// A version of a registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelVersion {
    /// The newest.
    Latest,
    /// This one.
    Number(u64),
    /// The one that an alias names.
    Alias(String),
}

/// What an address may look like, for sentences.
pub(crate) const FORMS: &str = "hf://ORGANIZATION/NAME[@REVISION], s3://BUCKET/PREFIX, oci://HOST/PATH[:TAG] or \
                                mlflow:models:/NAME/VERSION";

const HUB: &str = "hf://ORGANIZATION/NAME[@REVISION][/FILE.gguf]";
const S3: &str = "s3://BUCKET/PREFIX or s3://BUCKET/FILE.gguf";
const OCI: &str = "oci://HOST[:PORT]/PATH[:TAG] or oci://HOST[:PORT]/PATH@sha256:DIGEST, with a path in lower case";
const MLFLOW: &str =
    "mlflow:models:/NAME/VERSION, mlflow:models:/NAME@ALIAS or mlflow:models:/NAME";
const NEWEST: &str = "latest";

impl Address {
    /// The address in a text; `None` for a path. A text that is neither gets a sentence.
    pub fn read(text: &str) -> Option<Result<Self, String>> {
        let registered = text
            .strip_prefix("mlflow:")
            .unwrap_or(text)
            .strip_prefix("models:/");
        if let Some(rest) = registered {
            return Some(mlflow(rest).ok_or_else(|| wrong(text, MLFLOW)));
        }
        let (scheme, rest) = match text.split_once("://") {
            Some(found) => found,
            None if text.starts_with("mlflow:") => return Some(Err(wrong(text, MLFLOW))),
            None => return None,
        };
        let host = rest.split('/').next().unwrap_or_default();
        if host.contains('@') {
            // Not shown again: what stands before the @ may be a password.
            let message = format!(
                "found a user name or a password in an address that begins with {}://: they belong into `username`, \
                 `password` or `token`",
                clip(scheme)
            );
            return Some(Err(message));
        }
        let (read, form) = match scheme {
            "hf" => (hub(rest), HUB),
            "s3" => (s3(rest), S3),
            "oci" => (oci(rest), OCI),
            _ => {
                let (text, scheme) = (clip(text), clip(scheme));
                return Some(Err(format!(
                    "found `{text}`: no model comes from {scheme}://, expected a path, {FORMS}"
                )));
            }
        };
        Some(read.ok_or_else(|| wrong(text, form)))
    }

    /// The word for the kind of place: `huggingface`, as in `publish`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hub { .. } => "huggingface",
            Self::S3 { .. } => "s3",
            Self::Oci { .. } => "oci",
            Self::Mlflow { .. } => "mlflow",
        }
    }
}

fn wrong(text: &str, form: &str) -> String {
    format!("found `{}`, expected {form}", clip(text))
}

fn hub(rest: &str) -> Option<Address> {
    let (organization, rest) = rest.split_once('/')?;
    let (name, rest) = split_before(rest, ['@', '/']);
    let (revision, file) = match rest.strip_prefix('@') {
        None => ("main", rest.strip_prefix('/')),
        Some(rest) if is_gguf(rest) => {
            // `refs/pr/7` has slashes of its own.
            let parts = if rest.starts_with("refs/") { 3 } else { 1 };
            let end = rest.match_indices('/').nth(parts - 1)?.0;
            (&rest[..end], Some(&rest[end + 1..]))
        }
        Some(revision) => (revision, None),
    };
    let good = is_part(organization)
        && is_part(name)
        && are_parts(revision)
        && file.is_none_or(|file| are_parts(file) && is_gguf(file));
    good.then(|| Address::Hub {
        repository: format!("{organization}/{name}"),
        revision: revision.to_owned(),
        file: file.map(str::to_owned),
    })
}

fn s3(rest: &str) -> Option<Address> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let key = key.trim_end_matches('/');
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_bucket = (3..=63).contains(&bucket.len())
        && bucket.starts_with(is_letter)
        && bucket
            .chars()
            .all(|c| is_letter(c) || matches!(c, '.' | '_' | '-'));
    let is_name =
        |part: &str| !matches!(part, "" | "." | "..") && !part.contains(|c: char| c.is_control());
    let good = is_bucket && (key.is_empty() || key.split('/').all(is_name));
    good.then(|| Address::S3 {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    })
}

fn oci(rest: &str) -> Option<Address> {
    let (host, path) = rest.split_once('/')?;
    let (path, reference) = match path.split_once('@') {
        Some((path, digest)) => {
            let hex = digest.strip_prefix("sha256:")?;
            let is_hex = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
            if hex.len() != 64 || !hex.chars().all(is_hex) {
                return None;
            }
            (path, digest)
        }
        None => match path.split_once(':') {
            Some((_, tag)) if tag.contains(':') => return None,
            tagged => tagged.unwrap_or((path, "latest")),
        },
    };
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "443"));
    let is_tag = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | ':');
    let good = is_part(name)
        && port.parse::<u16>().is_ok()
        && are_parts(path)
        && !path.contains(|c: char| c.is_ascii_uppercase())
        && !reference.is_empty()
        && reference.len() <= 128
        && reference.chars().all(is_tag);
    good.then(|| Address::Oci {
        repository: format!("{host}/{path}"),
        reference: reference.to_owned(),
    })
}

fn mlflow(rest: &str) -> Option<Address> {
    let (name, rest) = split_before(rest, ['@', '/']);
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | ' ');
    let is_good = |text: &str| !text.is_empty() && text.len() <= 250 && text.chars().all(is_name);
    let version = if let Some(alias) = rest.strip_prefix('@') {
        ModelVersion::Alias(alias.to_owned())
    } else {
        match rest.strip_prefix('/').unwrap_or(NEWEST) {
            NEWEST => ModelVersion::Latest,
            number if number.starts_with(|c: char| c.is_ascii_digit()) => {
                ModelVersion::Number(number.parse().ok()?)
            }
            alias => ModelVersion::Alias(alias.to_owned()),
        }
    };
    let is_alias = match &version {
        ModelVersion::Alias(alias) => is_good(alias),
        _ => true,
    };
    (is_good(name) && is_alias).then(|| Address::Mlflow {
        name: name.to_owned(),
        version,
    })
}

/// The text before the first of these characters, and the rest with it.
fn split_before(text: &str, ends: [char; 2]) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

/// Letters, digits, `.`, `_` and `-`, with a letter or digit first, so that nothing leads
/// elsewhere.
fn is_part(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn are_parts(text: &str) -> bool {
    text.split('/').all(is_part)
}

/// Whether a name is that of a GGUF file.
pub fn is_gguf(name: &str) -> bool {
    let (stem, end) = name.split_at(name.rfind('.').unwrap_or(0));
    !stem.is_empty() && end.eq_ignore_ascii_case(".gguf")
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub {
                repository,
                revision,
                file,
            } => {
                write!(f, "hf://{repository}@{revision}")?;
                file.iter().try_for_each(|file| write!(f, "/{file}"))
            }
            Self::S3 { bucket, key } if key.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Self::Oci {
                repository,
                reference,
            } if reference.starts_with("sha256:") => write!(f, "oci://{repository}@{reference}"),
            Self::Oci {
                repository,
                reference,
            } => write!(f, "oci://{repository}:{reference}"),
            Self::Mlflow { name, version } => match version {
                ModelVersion::Latest => write!(f, "mlflow:models:/{name}/{NEWEST}"),
                ModelVersion::Number(number) => write!(f, "mlflow:models:/{name}/{number}"),
                ModelVersion::Alias(alias) => write!(f, "mlflow:models:/{name}@{alias}"),
            },
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text).unwrap_or_else(|| Err(wrong(text, FORMS)))
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_whole() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let check = |text: &str, shown: &str| {
            let address = Address::read(text).unwrap().unwrap();
            assert_eq!(address.to_string(), shown, "{text}");
            assert_eq!(shown.parse::<Address>().unwrap(), address, "{text}");
        };
        check("hf://acme/tiny", "hf://acme/tiny@main");
        check("hf://acme/tiny@v1.0", "hf://acme/tiny@v1.0");
        check("hf://acme/tiny@refs/pr/7", "hf://acme/tiny@refs/pr/7");
        check("hf://acme/t/q/a.gguf", "hf://acme/t@main/q/a.gguf");
        check("hf://acme/t@v1/q/a.GGUF", "hf://acme/t@v1/q/a.GGUF");
        check("hf://a/t@refs/pr/7/a.gguf", "hf://a/t@refs/pr/7/a.gguf");
        check("s3://models/a/b/", "s3://models/a/b");
        check("s3://models", "s3://models");
        check("oci://example.org/a/b", "oci://example.org/a/b:latest");
        check("oci://localhost:5000/a:v1", "oci://localhost:5000/a:v1");
        let pinned = format!("oci://localhost:5000/a@{digest}");
        check(&pinned, &pinned);
        check("models:/tiny", "mlflow:models:/tiny/latest");
        check("models:/tiny/3", "mlflow:models:/tiny/3");
        check("mlflow:models:/tiny/best", "mlflow:models:/tiny@best");
        check("models:/tiny@best", "mlflow:models:/tiny@best");
    }

    #[test]
    fn other_texts_are_paths_or_wrong() {
        for path in ["models/tiny", "/a/b.gguf", "a@b", "C:/models"] {
            assert_eq!(Address::read(path), None, "{path}");
        }
        for wrong in [
            "hf://tiny",
            "hf://acme/../x",
            "hf://acme/tiny@",
            "hf://acme/tiny/file.bin",
            "s3://No",
            "s3://models/a/../b",
            "s3://models//b",
            "oci://example.org",
            "oci://example.org/Tiny",
            "oci://example.org/tiny@sha256:0",
            "mlflow:tiny",
            "models:/",
            "models:/a'b/1",
            "models:/a/1x",
            "ftp://example.org/tiny",
            "://",
        ] {
            assert!(Address::read(wrong).unwrap().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_shown_again() {
        let sentence = Address::read("oci://ada:s3cr3t@example.org/tiny");
        let sentence = sentence.unwrap().unwrap_err();
        assert!(!sentence.contains("s3cr3t"), "{sentence}");
    }
}
