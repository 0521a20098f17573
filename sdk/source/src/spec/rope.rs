//! Rotary position embedding: its settings and the frequencies that follow from them.
//!
//! The rules and their numbers are those of transformers' `modeling_rope_utils`.

use std::f64::consts::PI;

/// Rotary position embedding. Pair `i` of a head turns by `position · inverse_frequency[i]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of wavelengths.
    pub theta: f64,
    /// How the frequencies are stretched for longer contexts.
    pub scaling: RopeScaling,
    /// How many numbers of a head turn, the first ones of it; even. The others stay as they are.
    pub width: i64,
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
    /// YaRN (arXiv 2309.00071): low frequencies by a factor, high ones not, a ramp over the
    /// indices of pairs between.
    Yarn {
        /// Divides the low frequencies.
        factor: f64,
        /// At least so many turns within the original context: high.
        beta_fast: f64,
        /// At most so many turns within the original context: low.
        beta_slow: f64,
        /// Context of the pre-training, in tokens.
        original_max_position_embeddings: f64,
        /// What rotated queries and keys are multiplied with.
        attention_factor: f64,
        /// Whether the ramp begins and ends at whole indices.
        is_truncated: bool,
    },
    /// LongRoPE (arXiv 2402.13753): each frequency by its own factor, of two sets.
    LongRope {
        /// `[width / 2]` divisors for sequences within the original context.
        short_factors: Vec<f64>,
        /// `[width / 2]` divisors for longer sequences.
        long_factors: Vec<f64>,
        /// Context of the pre-training, in tokens.
        original_max_position_embeddings: f64,
        /// What rotated queries and keys are multiplied with.
        attention_factor: f64,
    },
    /// Each frequency by its own factor.
    Factors {
        /// `[width / 2]` divisors.
        factors: Vec<f64>,
    },
}

/// Rotary factors that a file may have: some times more than any model has.
const MAX_FACTORS: usize = 1 << 11;

/// What there is to say about so many rotary factors, if they are too many. Every block has a copy
/// of them.
pub(crate) fn too_many_factors(count: usize) -> Option<String> {
    let is_wrong = count > MAX_FACTORS;
    is_wrong.then(|| format!("{count} rope factors, allowed: {MAX_FACTORS}"))
}

impl Rope {
    /// `[width / 2]`: turn per position, in radians, of each pair `(i, i + width / 2)` of a head,
    /// in sequences of `length` tokens.
    pub fn inverse_frequencies(&self, length: i64) -> Vec<f64> {
        let frequencies = self.plain_frequencies().into_iter();
        let divisors = self.divisors(length);
        frequencies
            .zip(divisors)
            .map(|(frequency, divisor)| frequency / divisor)
            .collect()
    }

    /// `[width / 2]`: what each pair's frequency is divided by in sequences of `length` tokens.
    pub fn divisors(&self, length: i64) -> Vec<f64> {
        let pairs = self.plain_frequencies().into_iter().enumerate();
        pairs
            .map(|(pair_idx, frequency)| self.divisor(pair_idx, frequency, length))
            .collect()
    }

    /// Whether sequences of `length` tokens turn by the frequencies for long ones, where there are
    /// such.
    pub fn is_long(&self, length: i64) -> bool {
        match self.scaling {
            RopeScaling::LongRope {
                original_max_position_embeddings,
                ..
            } => length as f64 > original_max_position_embeddings,
            _ => false,
        }
    }

    /// The context of the pre-training in tokens, where the frequencies are stretched by it.
    pub(crate) fn original_context(&self) -> Option<f64> {
        match self.scaling {
            RopeScaling::Llama3 {
                original_max_position_embeddings: original,
                ..
            }
            | RopeScaling::Yarn {
                original_max_position_embeddings: original,
                ..
            }
            | RopeScaling::LongRope {
                original_max_position_embeddings: original,
                ..
            } => Some(original),
            RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Factors { .. } => None,
        }
    }

    /// What rotated queries and keys are multiplied with.
    pub fn attention_factor(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn {
                attention_factor, ..
            }
            | RopeScaling::LongRope {
                attention_factor, ..
            } => attention_factor,
            _ => 1.0,
        }
    }

    /// `[width / 2]`: turn per position of each pair where nothing is stretched.
    fn plain_frequencies(&self) -> Vec<f64> {
        let exponents = (0..self.width / 2).map(|pair_idx| -(2.0 * pair_idx as f64));
        exponents
            .map(|exponent| self.theta.powf(exponent / self.width as f64))
            .collect()
    }

    fn divisor(&self, pair_idx: usize, frequency: f64, length: i64) -> f64 {
        // A share of the frequency stays as it is, the rest is divided.
        let between = |unscaled: f64, factor: f64| 1.0 / ((1.0 - unscaled) / factor + unscaled);
        match &self.scaling {
            RopeScaling::None => 1.0,
            RopeScaling::Linear { factor } => *factor,
            RopeScaling::Factors { factors } => factors[pair_idx],
            RopeScaling::LongRope {
                short_factors,
                long_factors,
                ..
            } => match self.is_long(length) {
                true => long_factors[pair_idx],
                false => short_factors[pair_idx],
            },
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let turns = original_max_position_embeddings * frequency / (2.0 * PI);
                let unscaled = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                between(unscaled.clamp(0.0, 1.0), *factor)
            }
            RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings,
                is_truncated,
                ..
            } => {
                let width = self.width as f64;
                // The index of the pair that makes so many turns within the original context.
                let index_of = |turns: f64| {
                    let wavelength = original_max_position_embeddings / (turns * 2.0 * PI);
                    width * wavelength.ln() / (2.0 * self.theta.ln())
                };
                let (low, high) = (index_of(*beta_fast), index_of(*beta_slow));
                let (low, high) = match is_truncated {
                    true => (low.floor(), high.ceil()),
                    false => (low, high),
                };
                let (low, high) = (low.max(0.0), high.min(width - 1.0));
                let high = if low == high { high + 0.001 } else { high };
                let scaled = ((pair_idx as f64 - low) / (high - low)).clamp(0.0, 1.0);
                between(1.0 - scaled, *factor)
            }
        }
    }

    /// What is wrong with the settings for heads of this width, if anything.
    pub(crate) fn mistake(&self, head_dim: i64) -> Option<String> {
        if self.width % 2 != 0 || !(2..=head_dim).contains(&self.width) {
            return Some(format!(
                "{} numbers of a head are rotated, expected an even number from 2 to {head_dim}",
                self.width
            ));
        }
        let positive = |name: &str, value: f64| {
            let is_positive = value.is_finite() && value > 0.0;
            (!is_positive).then(|| format!("rope {name} is {value}, expected a positive number"))
        };
        let all_positive = |numbers: &[(&str, f64)]| {
            let mut numbers = numbers.iter();
            numbers.find_map(|&(name, value)| positive(name, value))
        };
        let of_factors = |factors: &[f64]| {
            if factors.len() as i64 != self.width / 2 {
                return Some(format!(
                    "{} rope factors, expected {} (half of what is rotated of a head)",
                    factors.len(),
                    self.width / 2
                ));
            }
            factors.iter().find_map(|&it| positive("factor", it))
        };
        let of_scaling = || match &self.scaling {
            RopeScaling::None => None,
            RopeScaling::Linear { factor } => positive("factor", *factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => all_positive(&[
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
            ]),
            RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings,
                attention_factor,
                ..
            } => all_positive(&[
                ("factor", *factor),
                ("beta_slow", *beta_slow),
                ("beta_fast above beta_slow", beta_fast - beta_slow),
                (
                    "original_max_position_embeddings",
                    *original_max_position_embeddings,
                ),
                ("attention_factor", *attention_factor),
                ("theta above 1", self.theta - 1.0),
            ]),
            RopeScaling::LongRope {
                short_factors,
                long_factors,
                original_max_position_embeddings,
                attention_factor,
            } => all_positive(&[
                (
                    "original_max_position_embeddings",
                    *original_max_position_embeddings,
                ),
                ("attention_factor", *attention_factor),
            ])
            .or_else(|| of_factors(short_factors))
            .or_else(|| of_factors(long_factors)),
            RopeScaling::Factors { factors } => of_factors(factors),
        };
        positive("theta", self.theta).or_else(of_scaling)
    }
}
