//! Work in parts that each fit into memory.

/// Consecutive items in parts whose sizes are at most `limit_bytes` together; an item that is
/// larger is a part of its own.
pub(crate) fn within<T>(
    items: Vec<T>,
    limit_bytes: u64,
    size_bytes: impl Fn(&T) -> u64,
) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let size = size_bytes(&item);
        bytes += size;
        match parts.last_mut() {
            Some(part) if bytes <= limit_bytes => part.push(item),
            _ => {
                parts.push(vec![item]);
                bytes = size;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_large_as_the_limit_allows() {
        let parts = |sizes: &[u64]| within(sizes.to_vec(), 10, |size| *size);
        assert_eq!(parts(&[4, 6, 1, 9, 2]), [vec![4, 6], vec![1, 9], vec![2]]);
        assert_eq!(parts(&[3, 12, 3]), [vec![3], vec![12], vec![3]]);
        assert!(parts(&[]).is_empty());
    }
}
