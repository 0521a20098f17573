//! The tokenizer of a GGUF file.

use evopress_core::json;
use evopress_source::Source;
use evopress_source::fixtures::GgufBuilder;
use serde_json::{Map, Value};

use crate::model::{use_tokenizer, use_written_tokenizers};
use crate::scratch::Scratch;
use crate::sentence::checked;

// ggml's numbers of types.
const I32: u32 = 5;
const F32: u32 = 6;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Opens a GGUF file of a small model with these entries of metadata, as the fields of a JSON
/// object: `{"tokenizer.ggml.model": "gpt2", …}`. Fuzzing the bytes of the file itself would break
/// most of its lengths.
pub fn gguf_tokenizer(input: &[u8]) {
    thread_local! {
        static FOLDER: Scratch = Scratch::new();
    }
    let text = std::str::from_utf8(input).ok();
    let Some(object) = text.and_then(|text| json::object(text).ok()) else {
        return;
    };
    FOLDER.with(|folder| {
        let file = folder.write("model.gguf", &with_entries(&object.map).bytes());
        if let Some(source) = checked(Source::open(&file)) {
            use_tokenizer(&source);
            use_written_tokenizers(&source);
        }
    });
}

fn with_entries(entries: &Map<String, Value>) -> GgufBuilder {
    let tensor = |file: GgufBuilder, name: &str, shape: &[u64]| {
        let numbers = shape.iter().product::<u64>() as usize;
        file.tensor(name, shape, 0, 4 * numbers)
    };
    let mut file = GgufBuilder::new()
        .string("general.architecture", "llama")
        .number("llama.block_count", 1)
        .number("llama.context_length", 32)
        .number("llama.embedding_length", 4)
        .number("llama.feed_forward_length", 4)
        .number("llama.attention.head_count", 1)
        .number("llama.vocab_size", 32)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5);
    for (key, value) in entries {
        if let Some((type_id, bytes)) = typed(value) {
            file = file.entry(key, type_id, &bytes);
        }
    }
    file = tensor(file, "token_embd.weight", &[32, 4]);
    file = tensor(file, "output_norm.weight", &[4]);
    for name in ["attn_norm", "ffn_norm"] {
        file = tensor(file, &format!("blk.0.{name}.weight"), &[4]);
    }
    for name in [
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ] {
        file = tensor(file, &format!("blk.0.{name}.weight"), &[4, 4]);
    }
    file
}

/// The type and the bytes of a value; none for null and objects.
fn typed(value: &Value) -> Option<(u32, Vec<u8>)> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::Bool(flag) => Some((BOOL, vec![u8::from(*flag)])),
        Value::Number(number) => Some(match number.as_i64() {
            Some(number) => (I32, (number as i32).to_le_bytes().to_vec()),
            None => {
                let float = number.as_f64().unwrap_or_default() as f32;
                (F32, float.to_le_bytes().to_vec())
            }
        }),
        Value::String(text) => {
            let length = (text.len() as u64).to_le_bytes();
            Some((STRING, [&length[..], text.as_bytes()].concat()))
        }
        Value::Array(items) => Some((ARRAY, array(items)?)),
    }
}

/// The elements that have the type of the first one.
fn array(items: &[Value]) -> Option<Vec<u8>> {
    let typed: Vec<(u32, Vec<u8>)> = items.iter().filter_map(typed).collect();
    let element = typed.first().map_or(STRING, |(type_id, _)| *type_id);
    if element == ARRAY {
        return None;
    }
    let alike = typed.iter().filter(|(type_id, _)| *type_id == element);
    let mut bytes = element.to_le_bytes().to_vec();
    bytes.extend((alike.clone().count() as u64).to_le_bytes());
    bytes.extend(alike.flat_map(|(_, bytes)| bytes));
    Some(bytes)
}
