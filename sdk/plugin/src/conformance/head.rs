//! The host's operations in plain Rust: small, slow and right, with f64 sums.

use crate::{DType, Expectation, HeadOps, OwnedTensor, PluginError, TensorView};

/// A head `W` of shape `[V, D]` in f32, whose logits may be capped.
#[derive(Debug, Clone)]
pub struct ReferenceHead {
    weight: Vec<f32>,
    vocab_size: usize,
    hidden_size: usize,
    cap: Option<f64>,
}

impl ReferenceHead {
    /// The head whose rows lie one after another in `weight`.
    ///
    /// # Panics
    /// When `weight` does not hold `vocab_size * hidden_size` values.
    pub fn new(weight: Vec<f32>, vocab_size: usize, hidden_size: usize) -> Self {
        assert_eq!(
            weight.len(),
            vocab_size * hidden_size,
            "a head of [{vocab_size}, {hidden_size}]"
        );
        ReferenceHead {
            weight,
            vocab_size,
            hidden_size,
            cap: None,
        }
    }

    /// The head with logits capped by `c · tanh(z / c)`, where a cap is given.
    #[must_use]
    pub fn with_cap(self, cap: Option<f64>) -> Self {
        Self { cap, ..self }
    }

    /// A head of values in -1..1.
    pub fn random(vocab_size: usize, hidden_size: usize, seed: u64) -> Self {
        ReferenceHead::new(
            random_values(vocab_size * hidden_size, seed),
            vocab_size,
            hidden_size,
        )
    }

    /// Rows of `W`.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Columns of `W`.
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
    }

    /// The logits of every row of `hidden`, in f64.
    ///
    /// # Errors
    /// When `hidden` is not `[T, D]`, a float, and on the CPU.
    pub fn logits_f64(&self, hidden: &TensorView<'_>) -> Result<Vec<Vec<f64>>, PluginError> {
        let rows = self.rows(hidden)?;
        Ok(rows
            .iter()
            .map(|row| {
                self.weight
                    .chunks(self.hidden_size)
                    .map(|w| self.capped(dot(row, w)))
                    .collect()
            })
            .collect())
    }

    fn capped(&self, logit: f64) -> f64 {
        match self.cap {
            Some(cap) => cap * (logit / cap).tanh(),
            None => logit,
        }
    }

    /// The derivative of a capped logit with respect to the plain one.
    fn slope(&self, capped: f64) -> f64 {
        match self.cap {
            Some(cap) => 1.0 - (capped / cap).powi(2),
            None => 1.0,
        }
    }

    /// `Σ_v p_v ∂z_v/∂h` of each row of `hidden`, `[T, D]`, with `p = softmax(of)`.
    fn mean_gradient(
        &self,
        hidden: &TensorView<'_>,
        of: &[Vec<f64>],
    ) -> Result<OwnedTensor, PluginError> {
        let logits = self.logits_f64(hidden)?;
        let mut gradients = Vec::with_capacity(logits.len() * self.hidden_size);
        for (logits, of) in logits.iter().zip(of) {
            let log_sum_exp = log_sum_exp(of);
            let mut sum = vec![0.0; self.hidden_size];
            let weights = logits.iter().zip(of);
            for ((logit, of), w) in weights.zip(self.weight.chunks(self.hidden_size)) {
                let factor = (of - log_sum_exp).exp() * self.slope(*logit);
                for (sum, w) in sum.iter_mut().zip(w) {
                    *sum += factor * f64::from(*w);
                }
            }
            gradients.extend(sum.iter().map(|sum| *sum as f32));
        }
        let shape = [logits.len() as i64, self.hidden_size as i64];
        Ok(OwnedTensor::from_vec(gradients, &shape)?)
    }

    fn rows(&self, hidden: &TensorView<'_>) -> Result<Vec<Vec<f32>>, PluginError> {
        match hidden.shape() {
            [_, columns] if *columns == self.hidden_size as i64 => rows(hidden),
            found => Err(format!(
                "expected hidden states of shape [T, {}], found {found:?}",
                self.hidden_size
            )
            .into()),
        }
    }
}

impl HeadOps for ReferenceHead {
    fn log_sum_exp(&self, hidden: &TensorView<'_>) -> Result<Vec<f32>, PluginError> {
        Ok(self
            .logits_f64(hidden)?
            .iter()
            .map(|logits| log_sum_exp(logits) as f32)
            .collect())
    }

    fn expectation(&self, hidden: &TensorView<'_>) -> Result<Expectation, PluginError> {
        let logits = self.logits_f64(hidden)?;
        let negative_entropy = logits.iter().map(|logits| {
            let log_sum_exp = log_sum_exp(logits);
            let terms = logits.iter().map(|logit| logit - log_sum_exp);
            terms.map(|log_p| log_p.exp() * log_p).sum::<f64>() as f32
        });
        let summary = match self.cap {
            None => self.mean_gradient(hidden, &logits)?,
            Some(_) => OwnedTensor::from_vec(hidden.to_f32_vec()?, hidden.shape())?,
        };
        Ok(Expectation {
            negative_entropy: negative_entropy.collect(),
            summary,
        })
    }

    fn expected_logits(
        &self,
        hidden: &TensorView<'_>,
        summary: &TensorView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        same_shape(hidden, summary)?;
        if self.cap.is_none() {
            let pairs = rows(hidden)?.into_iter().zip(rows(summary)?);
            return Ok(pairs.map(|(a, b)| dot(&a, &b) as f32).collect());
        }
        let (of, logits) = (self.logits_f64(summary)?, self.logits_f64(hidden)?);
        let pairs = of.iter().zip(&logits);
        Ok(pairs
            .map(|(of, logits)| {
                let log_sum_exp = log_sum_exp(of);
                let terms = of.iter().zip(logits);
                let terms = terms.map(|(of, logit)| (of - log_sum_exp).exp() * logit);
                terms.sum::<f64>() as f32
            })
            .collect())
    }

    fn expected_gradient(
        &self,
        hidden: &TensorView<'_>,
        summary: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError> {
        same_shape(hidden, summary)?;
        match self.cap {
            None => Ok(OwnedTensor::from_vec(
                summary.to_f32_vec()?,
                summary.shape(),
            )?),
            Some(_) => self.mean_gradient(hidden, &self.logits_f64(summary)?),
        }
    }

    fn token_logits(
        &self,
        hidden: &TensorView<'_>,
        tokens: &[i64],
    ) -> Result<Vec<f32>, PluginError> {
        let rows = self.rows(hidden)?;
        if rows.len() != tokens.len() {
            return Err(format!(
                "expected a token for each of {} hidden states, found {}",
                rows.len(),
                tokens.len()
            )
            .into());
        }
        rows.iter()
            .zip(tokens)
            .map(|(row, token)| self.token_logit(row, *token))
            .collect()
    }

    fn logits(&self, hidden: &TensorView<'_>) -> Result<OwnedTensor, PluginError> {
        let logits = self.logits_f64(hidden)?;
        let shape = [logits.len() as i64, self.vocab_size as i64];
        Ok(OwnedTensor::from_vec(
            logits.iter().flatten().map(|logit| *logit as f32).collect(),
            &shape,
        )?)
    }

    fn difference(
        &self,
        a: &TensorView<'_>,
        b: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError> {
        same_shape(a, b)?;
        let (a_values, b_values) = (a.to_f32_vec()?, b.to_f32_vec()?);
        let difference = a_values.iter().zip(&b_values).map(|(a, b)| a - b).collect();
        Ok(OwnedTensor::from_vec(difference, a.shape())?)
    }

    fn token_gradients(
        &self,
        hidden: &TensorView<'_>,
        tokens: &[i64],
    ) -> Result<OwnedTensor, PluginError> {
        let logits = self.logits_f64(hidden)?;
        let mut gradients = Vec::with_capacity(tokens.len() * self.hidden_size);
        for (logits, &token) in logits.iter().zip(tokens) {
            let row = usize::try_from(token)
                .ok()
                .filter(|row| *row < self.vocab_size);
            let row = row.ok_or_else(|| {
                format!(
                    "token {token} is not in the vocabulary of {}",
                    self.vocab_size
                )
            })?;
            let slope = self.slope(logits[row]);
            let weights = &self.weight[row * self.hidden_size..][..self.hidden_size];
            gradients.extend(weights.iter().map(|w| (slope * f64::from(*w)) as f32));
        }
        let shape = [tokens.len() as i64, self.hidden_size as i64];
        Ok(OwnedTensor::from_vec(gradients, &shape)?)
    }
}

fn same_shape(a: &TensorView<'_>, b: &TensorView<'_>) -> Result<(), PluginError> {
    match a.shape() == b.shape() {
        true => Ok(()),
        false => Err(format!(
            "expected two tensors of one shape, found {:?} and {:?}",
            a.shape(),
            b.shape()
        )
        .into()),
    }
}

impl ReferenceHead {
    fn token_logit(&self, row: &[f32], token: i64) -> Result<f32, PluginError> {
        match usize::try_from(token) {
            Ok(token) if token < self.vocab_size => {
                let weights = &self.weight[token * self.hidden_size..][..self.hidden_size];
                Ok(self.capped(dot(row, weights)) as f32)
            }
            Err(_) if token == -1 => Ok(0.0),
            _ => Err(format!(
                "token {token} is not in the vocabulary of {}",
                self.vocab_size
            )
            .into()),
        }
    }
}

/// Values in -1..1 that depend on nothing but `seed` (splitmix64).
pub fn random_values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) >> 40
    };
    (0..count)
        .map(|_| next() as f32 / (1_u32 << 23) as f32 - 1.0)
        .collect()
}

/// The rows of a matrix of floats.
fn rows(matrix: &TensorView<'_>) -> Result<Vec<Vec<f32>>, PluginError> {
    let (_, columns) = matrix.matrix_shape()?;
    if !matches!(matrix.dtype(), DType::F32 | DType::F16 | DType::Bf16) {
        return Err(format!("expected a tensor of floats, found {}", matrix.dtype()).into());
    }
    let values = matrix.to_f32_vec()?;
    Ok(values.chunks(columns.max(1)).map(<[f32]>::to_vec).collect())
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

fn log_sum_exp(logits: &[f64]) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + logits
        .iter()
        .map(|logit| (logit - max).exp())
        .sum::<f64>()
        .ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_agree_with_a_distribution_written_out() {
        // Logits of the one hidden state are (ln 1, ln 3), so p = (1/4, 3/4).
        let head = ReferenceHead::new(vec![0.0, 5.0, 3_f32.ln(), -2.0], 2, 2);
        let hidden = [1.0_f32, 0.0];
        let hidden = TensorView::from_slice(&hidden, &[1, 2]).unwrap();
        let near = |found: f32, expected: f32| {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}")
        };
        near(head.log_sum_exp(&hidden).unwrap()[0], 4_f32.ln());
        near(head.token_logits(&hidden, &[1]).unwrap()[0], 3_f32.ln());
        assert_eq!(head.token_logits(&hidden, &[-1]).unwrap(), [0.0]);
        let expectation = head.expectation(&hidden).unwrap();
        near(
            expectation.negative_entropy[0],
            0.25 * 0.25_f32.ln() + 0.75 * 0.75_f32.ln(),
        );
        let weighted_head = expectation.summary.view().to_f32_vec().unwrap();
        near(weighted_head[0], 0.75 * 3_f32.ln());
        near(weighted_head[1], 0.25 * 5.0 - 0.75 * 2.0);
        assert_eq!(
            head.token_logits(&hidden, &[2]).unwrap_err().message,
            "token 2 is not in the vocabulary of 2"
        );
    }

    #[test]
    fn random_values_are_spread() {
        let values = random_values(10_000, 7);
        let mean = values.iter().sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.02 && values.iter().all(|value| (-1.0..1.0).contains(value)));
        assert_ne!(values, random_values(10_000, 8));
    }
}
