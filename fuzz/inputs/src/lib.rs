//! What is done with one input of each kind: it becomes a file of a model, and the model is opened
//! and read as a run does it. Whatever the bytes are, there comes a model or a sentence.
//!
//! libFuzzer calls these functions with inputs that it thinks up (`make fuzz`), and a test with
//! those that are kept and small changes of them. An input has failed when a function panics, does
//! not come back, or takes more memory than the file explains.

mod config;
mod gguf;
mod gguf_tokenizer;
mod index;
mod model;
mod quantized;
mod safetensors;
mod scratch;
mod sentence;
mod spec;
mod tokenizer;
mod written;
mod zeros;

use std::path::{Path, PathBuf};

pub use config::config;
pub use gguf::gguf;
pub use gguf_tokenizer::gguf_tokenizer;
pub use index::index;
pub use quantized::quantized;
pub use safetensors::safetensors;
pub use spec::spec;
pub use tokenizer::tokenizer;

/// A kind of input.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The name of its folder in `fuzz/corpus` and of its target in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// What is done with one input.
    pub run: fn(&[u8]),
}

/// All kinds.
pub const KINDS: [Kind; 8] = [
    Kind {
        name: "config",
        run: config,
    },
    Kind {
        name: "gguf",
        run: gguf,
    },
    Kind {
        name: "gguf_tokenizer",
        run: gguf_tokenizer,
    },
    Kind {
        name: "index",
        run: index,
    },
    Kind {
        name: "quantized",
        run: quantized,
    },
    Kind {
        name: "safetensors",
        run: safetensors,
    },
    Kind {
        name: "spec",
        run: spec,
    },
    Kind {
        name: "tokenizer",
        run: tokenizer,
    },
];

/// The folder `fuzz` of the repository.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
