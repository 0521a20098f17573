//! Metadata on its way into a GGUF file: keys with values in the file's own bytes, so that what is
//! carried over stays as it is.

/// ggml's numbers of value types.
const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Keys and values in the order of the file; each key once.
#[derive(Debug, Clone, Default)]
pub struct Entries(Vec<(String, Vec<u8>)>);

impl Entries {
    /// A value as a file has it: its type, then its bytes.
    pub fn raw(&mut self, key: &str, value: Vec<u8>) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, place)) => *place = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// A 32-bit unsigned number.
    pub fn u32(&mut self, key: &str, number: u32) {
        self.typed(key, U32, &number.to_le_bytes());
    }

    /// A 32-bit float.
    pub fn f32(&mut self, key: &str, number: f32) {
        self.typed(key, F32, &number.to_le_bytes());
    }

    /// A flag.
    pub fn bool(&mut self, key: &str, flag: bool) {
        self.typed(key, BOOL, &[u8::from(flag)]);
    }

    /// A text.
    pub fn string(&mut self, key: &str, text: &str) {
        let mut bytes = Vec::new();
        push_string(&mut bytes, text);
        self.typed(key, STRING, &bytes);
    }

    /// An array of texts.
    pub fn strings<'a>(&mut self, key: &str, texts: impl ExactSizeIterator<Item = &'a str>) {
        let mut bytes = array_head(STRING, texts.len());
        texts.for_each(|text| push_string(&mut bytes, text));
        self.typed(key, ARRAY, &bytes);
    }

    /// An array of 32-bit signed numbers.
    pub fn i32s(&mut self, key: &str, numbers: &[i32]) {
        let mut bytes = array_head(I32, numbers.len());
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self.typed(key, ARRAY, &bytes);
    }

    /// An array of flags.
    pub fn bools(&mut self, key: &str, flags: &[bool]) {
        let mut bytes = array_head(BOOL, flags.len());
        bytes.extend(flags.iter().map(|flag| u8::from(*flag)));
        self.typed(key, ARRAY, &bytes);
    }

    fn typed(&mut self, key: &str, type_id: u32, bytes: &[u8]) {
        self.raw(key, [&type_id.to_le_bytes(), bytes].concat());
    }

    /// Lets keys that begin with `old` begin with `new`.
    pub fn rename(&mut self, old: &str, new: &str) {
        for (key, _) in &mut self.0 {
            if let Some(rest) = key.strip_prefix(old) {
                *key = format!("{new}{rest}");
            }
        }
    }

    /// Leaves only the `kept` ones of arrays that have an entry for each of the model's blocks.
    pub fn keep_blocks(&mut self, prefix: &str, num_blocks: usize, kept: &[usize]) {
        for (key, value) in &mut self.0 {
            if key.starts_with(prefix)
                && let Some(fewer) = entries_of_blocks(value, num_blocks, kept)
            {
                *value = fewer;
            }
        }
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All entries as a file has them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in &self.0 {
            push_string(&mut bytes, key);
            bytes.extend(value);
        }
        bytes
    }
}

/// A length and the text, as names in a GGUF file are.
pub fn push_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn array_head(element: u32, count: usize) -> Vec<u8> {
    [
        element.to_le_bytes().as_slice(),
        &(count as u64).to_le_bytes(),
    ]
    .concat()
}

/// The array without the blocks that are gone; none where it is not one number or flag for each
/// block.
fn entries_of_blocks(value: &[u8], num_blocks: usize, kept: &[usize]) -> Option<Vec<u8>> {
    let number = |at: usize| Some(u32::from_le_bytes(value.get(at..at + 4)?.try_into().ok()?));
    let count = u64::from_le_bytes(value.get(8..16)?.try_into().ok()?);
    if number(0)? != ARRAY || count != num_blocks as u64 {
        return None;
    }
    let element = number(4)?;
    let width = match element {
        0 | 1 | BOOL => 1,
        2 | 3 => 2,
        U32 | I32 | F32 => 4,
        10..=12 => 8,
        _ => return None,
    };
    let mut fewer = [
        &ARRAY.to_le_bytes(),
        array_head(element, kept.len()).as_slice(),
    ]
    .concat();
    for &idx in kept {
        fewer.extend(value.get(16 + idx * width..16 + (idx + 1) * width)?);
    }
    Some(fewer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_blocks_follow_the_blocks() {
        let mut entries = Entries::default();
        entries.i32s("llama.attention.head_count_kv", &[4, 2, 8]);
        entries.i32s("tokenizer.ggml.token_type", &[1, 2, 3]);
        entries.i32s("llama.rope.dimension_sections", &[1, 2, 3, 4]);
        entries.u32("llama.block_count", 3);
        entries.keep_blocks("llama.", 3, &[0, 2]);
        let mut expected = Entries::default();
        expected.i32s("llama.attention.head_count_kv", &[4, 8]);
        expected.i32s("tokenizer.ggml.token_type", &[1, 2, 3]);
        expected.i32s("llama.rope.dimension_sections", &[1, 2, 3, 4]);
        expected.u32("llama.block_count", 3);
        assert_eq!(entries.to_bytes(), expected.to_bytes());
        assert_eq!(entries.len(), 4);
    }
}
