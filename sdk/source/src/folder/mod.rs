//! Hugging Face folders.

mod beside_weights;
mod in_memory;
mod model_folder;
pub mod nemotron_nas;
mod quantized;
mod safetensors;
mod text;
mod weight_files;

pub(crate) use model_folder::ModelFolder;
