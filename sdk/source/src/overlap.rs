//! Tensors that share bytes of a file: no program writes such, and one of them is not what its name
//! says.

/// Where a tensor begins and ends, and its name.
pub(crate) type Span<'a> = ((u64, u64), &'a str);

/// Two tensors of which one begins before the other ends.
pub(crate) fn overlap<'a>(spans: impl Iterator<Item = Span<'a>>) -> Option<(&'a str, &'a str)> {
    let mut spans: Vec<_> = spans.filter(|((start, end), _)| start < end).collect();
    spans.sort_unstable();
    let mut pairs = spans.windows(2);
    pairs.find_map(|pair| {
        let [((_, end), one), ((start, _), other)] = *pair else {
            return None;
        };
        (start < end).then_some((one, other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_do_not_overlap() {
        let check = |spans: &[Span<'static>], expected| {
            assert_eq!(overlap(spans.iter().copied()), expected);
        };
        check(&[((4, 8), "b"), ((0, 4), "a"), ((4, 4), "empty")], None);
        check(&[((4, 8), "b"), ((0, 5), "a")], Some(("a", "b")));
        check(&[((0, 9), "a"), ((2, 3), "b")], Some(("a", "b")));
    }
}
