//! What a search may spend, and the sentences that say why a budget leaves no search.

use super::space::{Group, SearchSpace};
use crate::error::{Result, SearchError};

/// The target of a search.
#[derive(Debug, Clone, PartialEq)]
pub enum Budget {
    /// In the measure of the only method; the method turns it into costs.
    Measure {
        /// The measure's name: `drop`, `sparsity`, `bits_per_weight`.
        name: String,
        /// The target in it.
        value: f64,
    },
    /// Highest number of bytes of all weights, packed.
    SizeBytes(u64),
    /// Least ratio of the dense model's bytes to those of the compressed one.
    Compression(f64),
}

impl Budget {
    /// The target as a method of `measure` gets it: none where the budget is in another one.
    pub fn target_for(&self, measure: &str) -> Option<f64> {
        match self {
            Budget::Measure { name, value } if name == measure => Some(*value),
            _ => None,
        }
    }

    /// Highest number of bytes, where the budget is in bytes.
    pub(super) fn max_bytes(&self, dense_bytes: u64) -> Result<Option<u64>> {
        match *self {
            Budget::Measure { .. } => Ok(None),
            Budget::SizeBytes(bytes) => Ok(Some(bytes)),
            Budget::Compression(ratio) if ratio.is_finite() && ratio > 1.0 => {
                Ok(Some((dense_bytes as f64 / ratio).floor() as u64))
            }
            Budget::Compression(ratio) => Err(SearchError::Budget(format!(
                "a compression of {ratio} is out of range; it is the dense model's bytes over the compressed model's, above 1"
            ))),
        }
    }
}

impl SearchSpace {
    /// Refuses a budget that no genotype meets, and one that every genotype meets.
    pub(super) fn check_budget(&self) -> Result<()> {
        let min_cost = self.min_cost_genotype();
        let max_cost = self.max_cost_genotype();
        for group in self.groups() {
            let least = self.cost(&min_cost, group);
            if least > group.max_cost {
                let most = self.cost(&max_cost, group);
                return Err(SearchError::Budget(format!(
                    "no genotype meets the budget of {}: {} asked for, but the cheapest levels come to {} (the most costly to {})",
                    self.place(group),
                    self.show(group, group.max_cost),
                    self.show(group, least),
                    self.show(group, most),
                )));
            }
        }
        if self.meets_budget(&max_cost) {
            let group = &self.groups()[0];
            return Err(SearchError::Budget(format!(
                "the budget leaves nothing to search: {} asked for, and even the most costly levels come to {} (the cheapest to {})",
                self.show(group, group.max_cost),
                self.show(group, self.cost(&max_cost, group)),
                self.show(group, self.cost(&min_cost, group)),
            )));
        }
        Ok(())
    }

    fn place(&self, group: &Group) -> String {
        match self.groups().len() {
            1 => "the run".into(),
            _ => format!("group `{}`", group.name),
        }
    }

    /// A cost in words, in the measure of the target.
    fn show(&self, group: &Group, cost: u64) -> String {
        let weights = self.num_weights(&group.unit_idxs);
        match self.measure() {
            "size_bytes" => format!("{cost} bytes"),
            "compression" => format!(
                "a compression of {:.4} ({cost} bytes)",
                self.dense_bytes() as f64 / cost as f64
            ),
            "bits_per_weight" if weights > 0 => {
                format!("{} bits per weight", rounded(cost as f64 / weights as f64))
            }
            "sparsity" if weights > 0 => {
                format!(
                    "a sparsity of {}",
                    rounded(1.0 - cost as f64 / weights as f64)
                )
            }
            _ => format!("a cost of {cost}"),
        }
    }
}

/// At most four decimals, none where there are none.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
