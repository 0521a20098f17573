//! Made-up inputs of a layer.

use super::super::random_values;

/// Tokens of made-up inputs for each feature.
const TOKENS_PER_FEATURE: usize = 4;

/// Statistics of made-up inputs, neighbouring features of which have much in common.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Number of tokens.
    pub num_tokens: usize,
    /// `mean(x xᵀ)`, `[K, K]`.
    pub hessian: Vec<f32>,
    /// Root mean square of each feature, `[K]`.
    pub norms: Vec<f32>,
}

impl Inputs {
    /// Inputs of `num_features` features.
    pub fn random(num_features: usize, seed: u64) -> Self {
        let num_tokens = TOKENS_PER_FEATURE * num_features;
        let noise = random_values(num_tokens * num_features, seed);
        let sizes = random_values(num_features, seed + 1);
        let mut inputs = noise.clone();
        for (inputs, noise) in (inputs.chunks_mut(num_features)).zip(noise.chunks(num_features)) {
            for feature in 0..num_features {
                let before = if feature == 0 {
                    0.0
                } else {
                    inputs[feature - 1]
                };
                inputs[feature] = 0.8 * before + noise[feature];
            }
            for (input, size) in inputs.iter_mut().zip(&sizes) {
                *input *= size.exp2();
            }
        }
        let mut hessian = vec![0_f64; num_features * num_features];
        for input in inputs.chunks(num_features) {
            for (row, &left) in hessian.chunks_mut(num_features).zip(input) {
                for (sum, &right) in row.iter_mut().zip(input) {
                    *sum += f64::from(left) * f64::from(right);
                }
            }
        }
        let mean = |sum: &f64| (sum / num_tokens as f64) as f32;
        let hessian: Vec<f32> = hessian.iter().map(mean).collect();
        let diagonal = hessian.iter().step_by(num_features + 1);
        Inputs {
            num_tokens,
            norms: diagonal.map(|square| square.sqrt()).collect(),
            hessian,
        }
    }

    /// The share of the outputs' energy that is wrong when a weight `W` is replaced by `V`:
    /// `tr((W − V) H (W − V)ᵀ) / tr(W H Wᵀ)`.
    pub fn output_error(&self, weight: &[f32], replaced_by: &[f32]) -> f64 {
        let difference: Vec<f32> = weight.iter().zip(replaced_by).map(|(w, v)| w - v).collect();
        self.energy(&difference) / self.energy(weight)
    }

    fn energy(&self, weight: &[f32]) -> f64 {
        let num_features = self.norms.len();
        let rows = weight.chunks(num_features).map(|row| {
            let products = self
                .hessian
                .chunks(num_features)
                .zip(row)
                .map(|(moments, &left)| {
                    let product = moments
                        .iter()
                        .zip(row)
                        .map(|(m, w)| f64::from(*m) * f64::from(*w));
                    f64::from(left) * product.sum::<f64>()
                });
            products.sum::<f64>()
        });
        rows.sum()
    }
}
