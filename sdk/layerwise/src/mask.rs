//! Which weights go: exact counts, ties by position.

/// Part `idx` of `total` in `num_parts` parts that differ by one at most and sum up to it.
pub fn share_of(total: u64, idx: u64, num_parts: u64) -> u64 {
    let up_to = |idx: u64| (u128::from(total) * u128::from(idx) / u128::from(num_parts)) as u64;
    up_to(idx + 1) - up_to(idx)
}

/// Marks the `count` lowest scores, earlier ones among equals; unmarks the others. Scores are not
/// negative and not NaN.
///
/// # Panics
/// If `scores` and `is_low` differ in length or are shorter than `count`.
pub fn mark_lowest(scores: &[f32], count: usize, is_low: &mut [bool]) {
    assert!(scores.len() == is_low.len() && count <= scores.len());
    if count == 0 {
        return is_low.fill(false);
    }
    // Floats that are not negative are ordered as their bits are.
    let key = |score: f32| score.abs().to_bits();
    let mut keys: Vec<u32> = scores.iter().map(|&score| key(score)).collect();
    let (_, &mut highest, _) = keys.select_nth_unstable(count - 1);
    let num_lower = scores.iter().filter(|&&score| key(score) < highest).count();
    let mut num_equal = count - num_lower;
    for (&score, is_low) in scores.iter().zip(is_low) {
        let is_equal = key(score) == highest && num_equal > 0;
        num_equal -= usize::from(is_equal);
        *is_low = is_equal || key(score) < highest;
    }
}

/// Marks the `count` lowest of each `of` consecutive scores.
///
/// # Panics
/// As [`mark_lowest`], or if `of` does not divide the number of scores.
pub fn mark_lowest_of_each(scores: &[f32], count: usize, of: usize, is_low: &mut [bool]) {
    assert!(scores.len() == is_low.len() && scores.len().is_multiple_of(of) && count <= of);
    for (scores, is_low) in scores.chunks(of).zip(is_low.chunks_mut(of)) {
        for (idx, is_low) in is_low.iter_mut().enumerate() {
            let is_before = |other: usize| (scores[other], other) < (scores[idx], idx);
            *is_low = (0..of).filter(|&other| is_before(other)).count() < count;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equals_go_in_order() {
        let mut is_low = [false; 5];
        mark_lowest(&[1.0, 0.5, 1.0, 2.0, 1.0], 3, &mut is_low);
        assert_eq!(is_low, [true, true, true, false, false]);
        let mut is_low = [false; 8];
        mark_lowest_of_each(&[1.0, 0.5, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0], 2, 4, &mut is_low);
        assert_eq!(is_low, [true, true, false, false, true, true, false, false]);
    }

    proptest! {
        #[test]
        fn shares_sum_up(total in 0_u64..1_000_000, num_parts in 1_u64..50) {
            let shares: Vec<u64> = (0..num_parts).map(|idx| share_of(total, idx, num_parts)).collect();
            prop_assert_eq!(shares.iter().sum::<u64>(), total);
            prop_assert!(shares.iter().all(|share| *share == total / num_parts || *share == total / num_parts + 1));
        }

        #[test]
        fn the_lowest_are_marked(scores in proptest::collection::vec(0_u8..20, 1..60), share in 0.0..=1.0) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let count = (share * scores.len() as f64) as usize;
            let mut is_low = vec![true; scores.len()];
            mark_lowest(&scores, count, &mut is_low);
            prop_assert_eq!(is_low.iter().filter(|low| **low).count(), count);
            let pick = |low| scores.iter().zip(&is_low).filter(move |(_, is_low)| **is_low == low).map(|(score, _)| *score);
            prop_assert!(pick(true).fold(0.0, f32::max) <= pick(false).fold(f32::MAX, f32::min));
            let mut of_one = vec![true; scores.len()];
            mark_lowest_of_each(&scores, count, scores.len(), &mut of_one);
            prop_assert_eq!(is_low, of_one);
        }
    }
}
