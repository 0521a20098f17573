//! How every token responds to every level change: what second-order terms are made of.

/// Partial sums of a product, so that it can be computed several entries at a time.
const LANES: usize = 16;

/// Responses `r_m[t]` of tokens `t` to level changes `m`, `[changes, columns]` in f32. Memory is
/// linear in changes; products of pairs are computed when they are asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Responses {
    num_columns: usize,
    /// Row by row.
    values: Vec<f32>,
}

impl Responses {
    /// Takes a matrix `[num_changes, columns]`, row by row.
    ///
    /// # Panics
    /// If the values do not divide evenly into rows.
    pub fn new(num_changes: usize, values: Vec<f32>) -> Self {
        let num_columns = values.len() / num_changes.max(1);
        assert_eq!(
            num_changes * num_columns,
            values.len(),
            "rows of one length"
        );
        Self {
            num_columns,
            values,
        }
    }

    /// Entries of a row: tokens, times sampled tokens at each.
    pub fn num_columns(&self) -> usize {
        self.num_columns
    }

    /// How all tokens respond to one level change.
    pub fn row(&self, change_idx: usize) -> &[f32] {
        &self.values[change_idx * self.num_columns..][..self.num_columns]
    }

    /// `mean_t r_a[t] r_b[t]`: twice the second-order change of two level changes together, beyond
    /// that of each.
    pub fn product(&self, a: usize, b: usize) -> f64 {
        dot(self.row(a), self.row(b)) / self.num_columns.max(1) as f64
    }

    /// Whether no entry is infinite or not a number.
    pub fn is_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }

    /// Bytes of memory.
    pub fn num_bytes(&self) -> usize {
        size_of_val(self.values.as_slice())
    }
}

/// `⟨a, b⟩`.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0_f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f64 = rest.map(|(a, b)| f64::from(a * b)).sum();
    for (a, b) in a.zip(b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_means_over_columns() {
        let values: Vec<f32> = (0..3 * 37).map(|idx| (idx % 11) as f32 - 5.0).collect();
        let responses = Responses::new(3, values.clone());
        for (a, b) in [(0, 0), (0, 1), (2, 1)] {
            let columns = (0..37).map(|t| f64::from(values[a * 37 + t] * values[b * 37 + t]));
            let expected = columns.sum::<f64>() / 37.0;
            assert!((responses.product(a, b) - expected).abs() < 1e-6);
        }
        assert!(responses.is_finite());
        assert!(!Responses::new(1, vec![1.0, f32::NAN]).is_finite());
        assert_eq!(Responses::new(0, vec![]).num_columns(), 0);
    }
}
