//! Bit streams as the int32 words of packed formats.

use std::fmt::Display;

/// A little-endian word.
pub(super) type Word = [u8; 4];

/// Rows of bytes as rows of whole words, zeros behind.
pub(super) fn words(bytes: &[u8], num_rows: usize) -> Vec<Word> {
    let row_bytes = bytes.len() / num_rows;
    let mut words = Vec::with_capacity(num_rows * row_bytes.div_ceil(4));
    for row in bytes.chunks_exact(row_bytes) {
        words.extend(row.chunks(4).map(|part| {
            let mut word = [0; 4];
            word[..part.len()].copy_from_slice(part);
            word
        }));
    }
    words
}

/// The columns of a matrix as rows.
pub(super) fn transposed<T: Copy>(matrix: &[T], num_rows: usize) -> Vec<T> {
    let columns = matrix.len() / num_rows;
    let by_column = (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns));
    by_column.copied().collect()
}

/// `2, 3 or 4`.
pub(super) fn and<T: Display>(items: impl IntoIterator<Item = T>, last: &str) -> String {
    let mut items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match (items.pop(), items.is_empty()) {
        (Some(end), false) => format!("{} {last} {end}", items.join(", ")),
        (end, _) => end.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_filled_to_whole_words() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        let expected = [[1, 2, 3, 4], [5, 0, 0, 0], [6, 7, 8, 9], [10, 0, 0, 0]];
        assert_eq!(words(&bytes, 2), expected);
    }

    #[test]
    fn columns_become_rows() {
        assert_eq!(transposed(&[1, 2, 3, 4, 5, 6], 2), [1, 4, 2, 5, 3, 6]);
        assert_eq!(transposed(&[1, 2, 3], 3), [1, 2, 3]);
    }

    #[test]
    fn lists_are_sentences() {
        assert_eq!(and([2, 3, 4, 8], "or"), "2, 3, 4 or 8");
        assert_eq!(and([5], "and"), "5");
    }
}
