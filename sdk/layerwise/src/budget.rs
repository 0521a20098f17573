//! Budgets of groups of linear layers, in bits or in kept weights.

use evopress_plugin::{GroupBudget, ModelOutline, PluginError, Unit};

/// A product that is meant to be whole may fall short of that in binary by this much.
const ROUNDING: f64 = 1e-12;

/// The budget for a target in bits per weight: `⌊target · weights⌋` bits for each group.
///
/// # Errors
/// When a group's levels cannot go so low, or nothing would have to be given up.
pub fn bits_budget(
    model: &ModelOutline,
    units: &[Unit],
    target: f64,
) -> Result<Vec<GroupBudget>, PluginError> {
    budgets(
        model,
        units,
        target,
        |weights| target * weights,
        |group| {
            let of = |cost: u64| short(cost as f64 / group.num_weights as f64);
            format!(
                "{target} bits per weight are out of range; the levels {}allow {} up to, but not including, {}",
                group.place(),
                of(group.least),
                of(group.most),
            )
        },
    )
}

/// The budget for a target sparsity: `⌊(1 − target) · weights⌋` kept weights for each group.
///
/// # Errors
/// When a group's levels do not become so sparse, or nothing would have to be given up.
pub fn sparsity_budget(
    model: &ModelOutline,
    units: &[Unit],
    target: f64,
) -> Result<Vec<GroupBudget>, PluginError> {
    // Not `(1 − target) · weights`, which rounds once more.
    budgets(
        model,
        units,
        target,
        |weights| weights - target * weights,
        |group| {
            let of = |cost: u64| short(1.0 - cost as f64 / group.num_weights as f64);
            format!(
                "a sparsity of {target} is out of range; the levels {}allow more than {} and at most {}",
                group.place(),
                of(group.most),
                of(group.least),
            )
        },
    )
}

/// What the units of a group weigh and cost.
struct Group {
    name: String,
    num_weights: u64,
    least: u64,
    most: u64,
}

impl Group {
    fn place(&self) -> String {
        match self.name.as_str() {
            "" => String::new(),
            name => format!("of group `{name}` "),
        }
    }
}

fn budgets(
    model: &ModelOutline,
    units: &[Unit],
    target: f64,
    cost: impl Fn(f64) -> f64,
    out_of_range: impl Fn(&Group) -> String,
) -> Result<Vec<GroupBudget>, PluginError> {
    let groups = groups(model, units);
    let budgets = groups.iter().map(|group| {
        let cost = cost(group.num_weights as f64) + group.num_weights as f64 * ROUNDING;
        // Comparisons with NaN are false.
        let is_in_range = target.is_finite() && cost >= group.least as f64;
        let max_cost = if is_in_range { cost.floor() as u64 } else { 0 };
        if !is_in_range || max_cost >= group.most {
            return Err(PluginError::new(out_of_range(group)));
        }
        Ok(GroupBudget {
            group: group.name.clone(),
            max_cost,
        })
    });
    budgets.collect()
}

/// The groups in the order in which they appear.
fn groups(model: &ModelOutline, units: &[Unit]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for unit in units {
        let idx = match groups.iter().position(|group| group.name == unit.group) {
            Some(idx) => idx,
            None => {
                groups.push(Group {
                    name: unit.group.clone(),
                    num_weights: 0,
                    least: 0,
                    most: 0,
                });
                groups.len() - 1
            }
        };
        let group = &mut groups[idx];
        let layers = unit.layer_idxs.iter();
        let layers = layers.filter_map(|idx| model.layers.get(*idx as usize));
        group.num_weights += layers.map(|layer| layer.num_weights()).sum::<u64>();
        let costs = || unit.levels.iter().map(|level| level.cost);
        group.least += costs().min().unwrap_or_default();
        group.most += costs().max().unwrap_or_default();
    }
    groups
}

/// A number with up to four decimals.
fn short(number: f64) -> String {
    let text = format!("{number:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
