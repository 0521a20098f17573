//! What can be wrong with a model on disk.

use std::path::{Path, PathBuf};

use evopress_core::text::{TextError, shown};

/// Why a model cannot be opened or a tensor of it cannot be read. What a message quotes of a file
/// goes through [`shown`].
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file system refused.
    #[error("cannot read {}: {cause}", file.display())]
    Read {
        /// The file or folder.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// A file of an exported folder could not be written.
    #[error("cannot write {}: {cause}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// Neither of the two kinds of model.
    #[error("{} is not a model: expected a folder with config.json or a .gguf file, found {found}", path.display())]
    NotAModel {
        /// The path that was opened.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// The file breaks the rules of its own format.
    #[error("{}: {}", file.display(), shown(what))]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong, both sides.
        what: String,
    },
    /// A model of another family.
    #[error("{}: unsupported architecture {:?}; supported: {supported}", file.display(), shown(found))]
    Architecture {
        /// The file that names it.
        file: PathBuf,
        /// The name there.
        found: String,
        /// The names that work.
        supported: String,
    },
    /// A variant of a supported family that the decoder does not compute.
    #[error("{}: unsupported {}: found {}, supported: {supported}", file.display(), shown(what), shown(found))]
    Unsupported {
        /// The file that asks for it.
        file: PathBuf,
        /// The setting.
        what: String,
        /// Its value there.
        found: String,
        /// The values that work.
        supported: String,
    },
    /// The configuration implies a tensor that no file has.
    #[error("{}: tensor {} of shape {expected:?} is missing", file.display(), shown(tensor))]
    MissingTensor {
        /// The file, or the folder of a model in several files.
        file: PathBuf,
        /// Hugging Face name.
        tensor: String,
        /// Shape that the configuration implies.
        expected: Vec<i64>,
    },
    /// The tensor is there, in another shape than the configuration implies.
    #[error("{}: tensor {} has shape {}, expected {expected:?}{by_default}", file.display(), shown(tensor), shown(&format!("{found:?}")))]
    Shape {
        /// The file with the tensor.
        file: PathBuf,
        /// Name in that file.
        tensor: String,
        /// Shape that the configuration implies.
        expected: Vec<i64>,
        /// Shape in the file.
        found: Vec<i64>,
        /// Which sizes are no more than defaults, after a colon; empty where none is.
        by_default: Box<str>,
    },
    /// An encoding of weights that we do not read.
    #[error("{}: tensor {} has type {}; supported: {supported}", file.display(), shown(tensor), shown(found))]
    TensorType {
        /// The file with the tensor.
        file: PathBuf,
        /// Name in that file.
        tensor: String,
        /// Name or number of the type.
        found: String,
        /// The types that work.
        supported: &'static str,
    },
    /// The file ends before the tensor does.
    #[error("{}: truncated: tensor {} ends at byte {end}, the file has {size}", file.display(), shown(tensor))]
    Truncated {
        /// The file with the tensor.
        file: PathBuf,
        /// Name in that file.
        tensor: String,
        /// Where the tensor's last byte should be.
        end: u64,
        /// Size of the file.
        size: u64,
    },
    /// The files have a tensor that the configuration says there is none of.
    #[error("{}: tensor {} is no part of the model{}{}", file.display(), shown(tensor), shown(why), and_more(*num_more))]
    UnexpectedTensor {
        /// The file, or the folder of a model in several files.
        file: PathBuf,
        /// Name in that file.
        tensor: String,
        /// What says so, after a colon; empty where nothing in particular does.
        why: String,
        /// How many more there are.
        num_more: usize,
    },
    /// A weight that is NaN or infinite.
    #[error("{}: tensor {} has {value} {of} {place:?}, expected finite numbers", file.display(), shown(tensor))]
    NotFinite {
        /// The file with the tensor.
        file: PathBuf,
        /// Name in that file.
        tensor: String,
        /// The value.
        value: f32,
        /// What it is, up to the place: `at`, where it is a number of the tensor itself.
        of: &'static str,
        /// The index along each extent of the tensor, in the file's order of rows.
        place: Vec<usize>,
    },
    /// A name that the model does not have.
    #[error("{} has no tensor {}", file.display(), shown(name))]
    UnknownTensor {
        /// The model.
        file: PathBuf,
        /// The name asked for.
        name: String,
    },
    /// Too little text for what was asked.
    #[error("{}: {found} tokens, but {needed} are needed", path.display())]
    TooLittleText {
        /// The text file.
        path: PathBuf,
        /// Tokens in it.
        found: usize,
        /// Tokens asked for.
        needed: usize,
    },
    /// A token of a text that the model has no row in the embedding for.
    #[error("{}: token {id} ({:?}) at line {line}, column {column} is not among the model's {num_embeddings} embeddings", path.display(), shown(token))]
    TokenWithoutEmbedding {
        /// The text file.
        path: PathBuf,
        /// Where the token begins, counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// The token.
        id: i64,
        /// Its text in the vocabulary.
        token: String,
        /// Rows of the embedding.
        num_embeddings: i64,
    },
    /// The tokenizer cannot be built.
    #[error("{}: tokenizer: {}", file.display(), shown(what))]
    Tokenizer {
        /// The file that describes it.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
}

fn and_more(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " (and 1 more is not)".to_owned(),
        _ => format!(" (and {count} more are not)"),
    }
}

impl SourceError {
    /// A file that cannot be read as text.
    pub(crate) fn of_text(error: TextError, file: &Path) -> Self {
        match error {
            TextError::Content(what) => Self::malformed(file, what),
            TextError::Read(cause) => Self::Read {
                file: file.to_path_buf(),
                cause,
            },
        }
    }

    /// A file that breaks the rules of its own format.
    pub(crate) fn malformed(file: &Path, what: impl Into<String>) -> Self {
        Self::Malformed {
            file: file.to_path_buf(),
            what: what.into(),
        }
    }
}
