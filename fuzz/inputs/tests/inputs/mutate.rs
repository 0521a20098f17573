//! Small changes of an input: of its bytes, of numbers and of words that stand in it.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// Longer inputs are cut.
const MAX_BYTES: usize = 1 << 15;
/// Changes of one input, at most.
const MAX_CHANGES: usize = 4;

/// Numbers at which code goes wrong, as they stand in a text.
const NUMBERS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "3",
    "255",
    "65536",
    "2147483647",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "1e400",
    "0.5",
    "1e-320",
    "NaN",
    "-Infinity",
];
/// Values of JSON that stand where others are expected.
const VALUES: [&str; 8] = [
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "[[]]",
    "{\"a\":{}}",
    "\"\\ud800\"",
];
/// What long texts are made of.
const LETTERS: [&str; 3] = ["x", "\u{1}", "ä"];
/// Letters of a text that no message may show whole.
const LONG: usize = 12_000;
const BYTES: [u8; 7] = [0, 1, 0x7F, 0x80, 0xFF, b'"', b'{'];

/// What inputs of one kind are made from.
pub(crate) struct Material {
    /// Inputs that are kept.
    pub(crate) inputs: Vec<Vec<u8>>,
    /// Words of the format.
    pub(crate) words: Vec<Vec<u8>>,
}

impl Material {
    /// One of the inputs with some changes.
    pub(crate) fn changed(&self, random: &mut ChaCha8Rng) -> Vec<u8> {
        let mut bytes = self.inputs.choose(random).cloned().unwrap_or_default();
        for _ in 0..random.random_range(1..=MAX_CHANGES) {
            self.change(&mut bytes, random);
            bytes.truncate(MAX_BYTES);
        }
        bytes
    }

    fn change(&self, bytes: &mut Vec<u8>, random: &mut ChaCha8Rng) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..12) {
            0 => replace(bytes, at, 1, &[random.random()]),
            1 => replace(bytes, at, 1, &[pick(&BYTES, random)]),
            2 => flip(bytes, at, 1 << random.random_range(0..8)),
            3 => replace(bytes, at, random.random_range(1..64), &[]),
            4 => {
                let end = bytes.len().min(at + random.random_range(1..64));
                let piece = bytes[at..end].repeat(random.random_range(1..4));
                replace(bytes, at, 0, &piece);
            }
            5 => {
                let value = random.random::<u64>() >> random.random_range(0..64);
                let width = 1 << random.random_range(0..4);
                replace(bytes, at, width, &value.to_le_bytes()[..width]);
            }
            6 | 7 => {
                let (start, length) = number_at(bytes, at);
                replace(bytes, start, length, pick(&NUMBERS, random).as_bytes());
            }
            8 => {
                let (start, length) = value_at(bytes, at);
                replace(bytes, start, length, pick(&VALUES, random).as_bytes());
            }
            11 => {
                let (start, length) = value_at(bytes, at);
                let text = pick(&LETTERS, random).repeat(LONG);
                replace(bytes, start, length, format!("\"{text}\"").as_bytes());
            }
            9 => {
                if let Some(word) = self.words.choose(random) {
                    let covered = if random.random() { word.len() } else { 0 };
                    replace(bytes, at, covered, word);
                }
            }
            _ => {
                if let Some(other) = self.inputs.choose(random) {
                    let from = random.random_range(0..=other.len());
                    bytes.truncate(at);
                    bytes.extend(&other[from..]);
                }
            }
        }
    }
}

fn pick<T: Copy>(items: &[T], random: &mut ChaCha8Rng) -> T {
    items[random.random_range(0..items.len())]
}

fn replace(bytes: &mut Vec<u8>, at: usize, length: usize, with: &[u8]) {
    let end = bytes.len().min(at + length);
    bytes.splice(at..end, with.iter().copied());
}

fn flip(bytes: &mut [u8], at: usize, bit: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= bit;
    }
}

/// Start and length of the first number at or after a place.
fn number_at(bytes: &[u8], at: usize) -> (usize, usize) {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let digit = bytes[at..].iter().position(u8::is_ascii_digit);
    let start = digit.map_or(at, |digit| at + digit);
    let rest = bytes[start..].iter();
    (start, rest.take_while(|byte| is_part(byte)).count())
}

/// Start and length of the value of JSON or YAML after the next colon.
fn value_at(bytes: &[u8], at: usize) -> (usize, usize) {
    let colon = bytes[at..].iter().position(|byte| *byte == b':');
    let start = colon.map_or(at, |colon| at + colon + 1);
    let rest = bytes[start..].iter();
    (
        start,
        rest.take_while(|byte| !b",}\n".contains(byte)).count(),
    )
}
