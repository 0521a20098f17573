//! Products of how tokens respond to level changes, over all gradient passes at an origin.
//!
//! `G_mn` is twice what changes `m` and `n` do together in second order. All pairs of tens of
//! thousands of changes would be gigabytes; what is kept is the responses of tokens, linear in
//! changes, and products are computed when they are asked for. Where even the responses take too
//! much memory a sketch of them stands in: columns are added up, with random signs, into a fixed
//! number of buckets (Charikar et al. 2002), which leaves products unbiased with an error of about
//! `|r_m| |r_n| / √buckets`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::prediction::Responses;
use crate::responses::dot;

/// The least number of columns of a sketch.
const MIN_COLUMNS: usize = 64;
/// The least number of rows of products that are kept.
const MIN_ROWS: usize = 32;

/// Responses of all passes at an origin, `[changes, columns]` each.
pub(super) struct Curvature {
    num_changes: usize,
    num_passes: usize,
    /// Of the passes, or one that stands in for all of them.
    parts: Vec<Part>,
    /// Columns of all parts together, at most.
    max_columns: usize,
    /// By change: its product with itself.
    squares: Vec<f64>,
    /// Rows of products that were asked for, by change.
    rows: RefCell<HashMap<usize, Rc<[f64]>>>,
    max_rows: usize,
}

/// Responses, and what products of their rows count.
struct Part {
    responses: Responses,
    /// Of a dot product of two rows.
    weight: f64,
    is_sketch: bool,
}

impl Curvature {
    /// Of no pass yet. `response_bytes` limit the responses, `product_bytes` the rows of products
    /// that are kept.
    pub(super) fn new(num_changes: usize, response_bytes: usize, product_bytes: usize) -> Self {
        let per_change = |bytes: usize, size: usize| bytes / (size * num_changes.max(1));
        Self {
            num_changes,
            num_passes: 0,
            parts: Vec::new(),
            max_columns: per_change(response_bytes, size_of::<f32>()).max(MIN_COLUMNS),
            squares: vec![0.0; num_changes],
            rows: RefCell::default(),
            max_rows: per_change(product_bytes, size_of::<f64>()).max(MIN_ROWS),
        }
    }

    /// Adds a pass.
    pub(super) fn add(&mut self, responses: Responses) {
        self.rows.get_mut().clear();
        self.num_passes += 1;
        let count = self.num_passes as f64;
        for (idx, mean) in self.squares.iter_mut().enumerate() {
            *mean += (responses.product(idx, idx) - *mean) / count;
        }
        let part = Part {
            weight: 1.0 / responses.num_columns().max(1) as f64,
            responses,
            is_sketch: false,
        };
        let columns = self.parts.iter().map(|part| part.responses.num_columns());
        let num_columns = columns.sum::<usize>() + part.responses.num_columns();
        self.parts.push(part);
        if num_columns > self.max_columns {
            self.sketch();
        }
    }

    /// `G_mm`.
    pub(super) fn square(&self, change_idx: usize) -> f64 {
        self.squares[change_idx]
    }

    /// `G_mn`.
    pub(super) fn product(&self, a: usize, b: usize) -> f64 {
        let of_part = |part: &Part| part.weight * dot(part.responses.row(a), part.responses.row(b));
        self.mean(self.parts.iter().map(of_part).sum())
    }

    /// `G_mn` of a change and every other, in the order of the changes.
    pub(super) fn row(&self, change_idx: usize) -> Rc<[f64]> {
        let mut rows = self.rows.borrow_mut();
        if let Some(row) = rows.get(&change_idx) {
            return Rc::clone(row);
        }
        if rows.len() >= self.max_rows {
            rows.clear();
        }
        let row = (0..self.num_changes).map(|other| self.product(change_idx, other));
        let row: Rc<[f64]> = row.collect();
        rows.insert(change_idx, Rc::clone(&row));
        row
    }

    /// By change: the sum of its products with some changes.
    pub(super) fn products_with_sum(&self, changes: &[usize]) -> Vec<f64> {
        let mut products = vec![0.0; self.num_changes];
        if changes.is_empty() {
            return products;
        }
        for part in &self.parts {
            let sum = part.sum(changes);
            let sum: Vec<f32> = sum.into_iter().map(|value| value as f32).collect();
            for (idx, product) in products.iter_mut().enumerate() {
                *product += part.weight * dot(part.responses.row(idx), &sum);
            }
        }
        products.iter().map(|&product| self.mean(product)).collect()
    }

    /// `Σ_{m≠n} G_mn` over some changes.
    pub(super) fn sum_over_pairs(&self, changes: &[usize]) -> f64 {
        let of_part = |part: &Part| {
            let all = part
                .sum(changes)
                .iter()
                .map(|value| value * value)
                .sum::<f64>();
            let own = changes.iter().map(|&idx| {
                let row = part.responses.row(idx);
                dot(row, row)
            });
            part.weight * (all - own.sum::<f64>())
        };
        self.mean(self.parts.iter().map(of_part).sum())
    }

    fn mean(&self, sum: f64) -> f64 {
        sum / self.num_passes.max(1) as f64
    }

    /// All parts become one of `max_columns`.
    fn sketch(&mut self) {
        let width = self.max_columns;
        let mut values = vec![0.0_f32; self.num_changes * width];
        let pass = self.num_passes as u64;
        for (part_idx, part) in self.parts.iter().enumerate() {
            let scale = part.weight.sqrt() as f32;
            let buckets: Vec<(usize, f32)> = (0..part.responses.num_columns() as u64)
                .map(|column| match part.is_sketch {
                    true => (column as usize, scale),
                    false => {
                        let key = (pass << 40) | ((part_idx as u64) << 32) | column;
                        let hash = mixed(key);
                        let sign = if hash & 1 == 0 { scale } else { -scale };
                        ((hash >> 1) as usize % width, sign)
                    }
                })
                .collect();
            for (change_idx, row) in values.chunks_exact_mut(width).enumerate() {
                for (&(bucket, sign), value) in buckets.iter().zip(part.responses.row(change_idx)) {
                    row[bucket] += sign * value;
                }
            }
        }
        self.parts = vec![Part {
            responses: Responses::new(self.num_changes, values),
            weight: 1.0,
            is_sketch: true,
        }];
    }
}

impl Part {
    /// Some rows, added up.
    fn sum(&self, changes: &[usize]) -> Vec<f64> {
        let mut sum = vec![0.0; self.responses.num_columns()];
        for &idx in changes {
            for (sum, &value) in sum.iter_mut().zip(self.responses.row(idx)) {
                *sum += f64::from(value);
            }
        }
        sum
    }
}

/// Bits that look random (splitmix64).
fn mixed(key: u64) -> u64 {
    let mut z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const NUM_CHANGES: usize = 20;

    fn pass(seed: u64, num_columns: usize) -> Responses {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Rows have something in common, so that products are not all about 0.
        let common: Vec<f32> = (0..num_columns)
            .map(|_| rng.random::<f32>() - 0.5)
            .collect();
        let values = (0..NUM_CHANGES).flat_map(|idx| {
            let share = idx as f32 / NUM_CHANGES as f32;
            let row = common
                .iter()
                .map(|value| share * value + rng.random::<f32>() - 0.5);
            row.collect::<Vec<f32>>()
        });
        Responses::new(NUM_CHANGES, values.collect())
    }

    fn check(max_columns: usize, tolerance: f64) {
        let bytes = max_columns * NUM_CHANGES * size_of::<f32>();
        let mut curvature = Curvature::new(NUM_CHANGES, bytes, 1 << 20);
        let passes = [pass(1, 400), pass(2, 600), pass(3, 100)];
        for pass in &passes {
            curvature.add(pass.clone());
        }
        let expected = |a, b| passes.iter().map(|pass| pass.product(a, b)).sum::<f64>() / 3.0;
        for a in 0..NUM_CHANGES {
            assert!((curvature.square(a) - expected(a, a)).abs() < 1e-9);
            let row = curvature.row(a);
            for b in 0..NUM_CHANGES {
                assert_eq!(row[b], curvature.product(a, b));
                if a != b {
                    let error = (row[b] - expected(a, b)).abs();
                    assert!(error < tolerance * 0.1, "{a} {b}: {error}");
                }
            }
        }
        let some = [2, 7, 11];
        let pairs = [(2, 7), (2, 11), (7, 11)];
        let sum = pairs
            .iter()
            .map(|&(a, b)| 2.0 * curvature.product(a, b))
            .sum::<f64>();
        assert!((curvature.sum_over_pairs(&some) - sum).abs() < 1e-6);
        let with_sum = curvature.products_with_sum(&some);
        let by_hand: f64 = some.iter().map(|&b| curvature.product(4, b)).sum();
        assert!((with_sum[4] - by_hand).abs() < 1e-6);
    }

    #[test]
    fn products_are_means_over_passes() {
        check(1100, 1e-5);
    }

    /// The error of a product is about 0.1 / √512.
    #[test]
    fn a_sketch_stands_in_where_memory_is_short() {
        check(512, 0.25);
    }
}
