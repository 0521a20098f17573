//! Rotary position embedding: its settings and the frequencies that follow from them.

use std::f64::consts::PI;

/// Rotary position embedding. Pair `i` of a head turns by `position · inverse_frequency[i]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of wavelengths.
    pub theta: f64,
    /// How the frequencies are stretched for longer contexts.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are stretched.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All by one factor.
    Linear {
        /// Divides every frequency.
        factor: f64,
    },
    /// Llama 3: low frequencies by a factor, high ones not, a ramp between.
    Llama3 {
        /// Divides the low frequencies.
        factor: f64,
        /// Fewer turns than this within the original context: low.
        low_freq_factor: f64,
        /// More turns than this within the original context: high.
        high_freq_factor: f64,
        /// Context of the pre-training, in tokens.
        original_max_position_embeddings: f64,
    },
    /// Each frequency by its own factor.
    Factors {
        /// `[head_dim / 2]` divisors.
        factors: Vec<f64>,
    },
}

impl Rope {
    /// `[head_dim / 2]`: turn per position, in radians, of each pair `(i, i + head_dim / 2)` of a
    /// head.
    pub fn inverse_frequencies(&self, head_dim: i64) -> Vec<f64> {
        (0..head_dim / 2)
            .map(|pair_idx| {
                let frequency = self.theta.powf(-(2.0 * pair_idx as f64) / head_dim as f64);
                frequency / self.divisor(pair_idx as usize, frequency)
            })
            .collect()
    }

    /// `[head_dim / 2]`: what each pair's frequency is divided by.
    pub fn divisors(&self, head_dim: i64) -> Vec<f64> {
        let plain = Self {
            theta: self.theta,
            scaling: RopeScaling::None,
        };
        let frequencies = plain.inverse_frequencies(head_dim);
        let pairs = frequencies.into_iter().enumerate();
        pairs
            .map(|(pair_idx, frequency)| self.divisor(pair_idx, frequency))
            .collect()
    }

    fn divisor(&self, pair_idx: usize, frequency: f64) -> f64 {
        match &self.scaling {
            RopeScaling::None => 1.0,
            RopeScaling::Linear { factor } => *factor,
            RopeScaling::Factors { factors } => factors[pair_idx],
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let turns = original_max_position_embeddings * frequency / (2.0 * PI);
                let unscaled = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor))
                    .clamp(0.0, 1.0);
                1.0 / ((1.0 - unscaled) / factor + unscaled)
            }
        }
    }

    /// What is wrong with the settings for heads of this width, if anything.
    pub(crate) fn mistake(&self, head_dim: i64) -> Option<String> {
        let not_positive = |name: &str, value: f64| {
            let is_positive = value.is_finite() && value > 0.0;
            (!is_positive).then(|| format!("rope {name} is {value}, expected a positive number"))
        };
        let of_scaling = || match &self.scaling {
            RopeScaling::None => None,
            RopeScaling::Linear { factor } => not_positive("factor", *factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let numbers = [
                    ("factor", *factor),
                    ("low_freq_factor", *low_freq_factor),
                    (
                        "high_freq_factor above low_freq_factor",
                        high_freq_factor - low_freq_factor,
                    ),
                    (
                        "original_max_position_embeddings",
                        *original_max_position_embeddings,
                    ),
                ];
                let mut mistakes = numbers.into_iter();
                mistakes.find_map(|(name, value)| not_positive(name, value))
            }
            RopeScaling::Factors { factors } if factors.len() as i64 != head_dim / 2 => {
                Some(format!(
                    "{} rope factors, expected {} (half a head)",
                    factors.len(),
                    head_dim / 2
                ))
            }
            RopeScaling::Factors { factors } => factors
                .iter()
                .find_map(|&factor| not_positive("factor", factor)),
        };
        not_positive("theta", self.theta).or_else(of_scaling)
    }
}
