//! Files that are text, and what messages show of them.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::Path;

/// Why a file is no text.
#[derive(Debug)]
pub enum TextError {
    /// The file system refused.
    Read(io::Error),
    /// What it holds is no text: a sentence without the file's name.
    Content(String),
}

/// How the file begins that Git LFS leaves in place of one that it has not fetched.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";

/// The text of a file.
///
/// # Errors
/// The file cannot be read, is not UTF-8, or is a pointer of Git LFS.
pub fn read(path: &Path) -> Result<String, TextError> {
    let bytes = fs::read(path).map_err(TextError::Read)?;
    decode(bytes).map_err(TextError::Content)
}

/// The text that bytes are.
///
/// # Errors
/// As [`read`]: a sentence without the file's name.
pub fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if let Some(sentence) = lfs_pointer(&bytes) {
        return Err(sentence.to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        not_utf8(error.as_bytes(), valid)
    })
}

/// What to do about a file that begins with these bytes, where they are a pointer of Git LFS.
pub fn lfs_pointer(bytes: &[u8]) -> Option<&'static str> {
    let is_pointer = bytes.starts_with(LFS_POINTER);
    is_pointer.then_some("a git-lfs pointer: fetch the file with `git lfs pull`")
}

/// Bytes that a message shows of a text, at most.
const MAX_SHOWN: usize = 2000;
/// Bytes that it shows of the end of a longer one.
const END_SHOWN: usize = 400;

/// A text of which a long one lacks its middle. What a file holds may be of any length.
pub fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_SHOWN {
        return Cow::Borrowed(text);
    }
    let start = boundary_before(text, MAX_SHOWN - END_SHOWN);
    let end = boundary_before(text, text.len() - END_SHOWN);
    Cow::Owned(format!(
        "{} … ({} bytes left out) … {}",
        &text[..start],
        end - start,
        &text[end..]
    ))
}

/// A text as a message may show it: shortened, and with control characters escaped, but for line
/// ends and tabs.
pub fn shown(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let short = shortened(text);
    if short.chars().all(is_plain) {
        return short;
    }
    let parts = short.chars().map(|c| match is_plain(c) {
        true => c.to_string(),
        false => c.escape_default().to_string(),
    });
    Cow::Owned(parts.collect())
}

/// Line and column of a byte of a text, counted from 1, the column in characters.
pub fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..boundary_before(text, byte)];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    (line, before[start..].chars().count() + 1)
}

/// Where the character begins that a byte is in; the text's end for bytes beyond it.
fn boundary_before(text: &str, byte: usize) -> usize {
    let mut start = byte.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    start
}

fn not_utf8(bytes: &[u8], valid: usize) -> String {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return "it is UTF-16: save it as UTF-8".to_owned();
    }
    let text = String::from_utf8_lossy(&bytes[..valid]);
    let (line, column) = place(&text, valid);
    format!(
        "the byte 0x{:02X} at line {line}, column {column} is not UTF-8: save the file as UTF-8",
        bytes[valid]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_told_with_its_place() {
        let sentence = |bytes: &[u8]| decode(bytes.to_vec()).unwrap_err();
        assert_eq!(
            sentence(b"one\ntw\xC3\xB6 \xFF three"),
            "the byte 0xFF at line 2, column 5 is not UTF-8: save the file as UTF-8"
        );
        assert!(sentence(b"\xFF\xFEa\0").contains("UTF-16"));
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
        assert_eq!(
            sentence(pointer),
            "a git-lfs pointer: fetch the file with `git lfs pull`"
        );
        assert_eq!(decode(b"text".to_vec()), Ok("text".to_owned()));
    }

    #[test]
    fn messages_show_the_start_and_the_end_of_a_long_text() {
        assert_eq!(shown("ä\n\tb"), "ä\n\tb");
        assert_eq!(shown("a\0\u{1b}[31m"), "a\\u{0}\\u{1b}[31m");
        let long = format!("<{}>", "ä".repeat(5000));
        let message = shown(&long);
        assert!(message.len() < MAX_SHOWN + 100, "{}", message.len());
        let (start, rest) = message.split_once(" … (").unwrap();
        let (left_out, end) = rest.split_once(" bytes left out) … ").unwrap();
        let left_out: usize = left_out.parse().unwrap();
        assert_eq!(start.len() + left_out + end.len(), long.len());
        assert!(start.starts_with("<ä") && end.ends_with("ä>"));
    }

    #[test]
    fn places_are_counted_in_characters() {
        let check = |byte, expected| assert_eq!(place("äb\ncd", byte), expected);
        check(0, (1, 1));
        check(2, (1, 2));
        check(4, (2, 1));
        check(99, (2, 3));
    }
}
