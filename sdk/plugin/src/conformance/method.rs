//! Rules for methods.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Findings, Library, compress::check_compress, llama_outline, mixture_outline};
use crate::{GroupBudget, Method, ModelOutline, Unit};

/// What to try a method with.
#[derive(Debug, Clone, Default)]
pub struct MethodSuite {
    /// Options that it takes, with targets.
    pub cases: Vec<MethodCase>,
    /// Options that it must refuse, beside unknown ones.
    pub bad_options: Vec<Value>,
}

/// Options and targets in the method's measure.
#[derive(Debug, Clone)]
pub struct MethodCase {
    /// The options.
    pub options: Value,
    /// Targets in rising order that models of 12 and 30 blocks can meet.
    pub targets: Vec<f64>,
    /// Targets that make no sense.
    pub bad_targets: Vec<f64>,
}

/// Which rules a method breaks. It is tried with the outlines of Llama models and of a mixture of
/// experts.
///
/// - There are units, with unique names and levels of falling cost.
/// - Budgets name the units' groups, can be met, ask for something, and move in one direction with
///   the target.
/// - Layers come back in the parts that their encoding has, and are not far off at the level of
///   highest cost.
/// - The same question gets the same answer, and bad input is refused with a message.
///
/// A method that cannot choose its levels without a target may say so. It then has to have units
/// for every target of the case.
pub fn check_method(library: &Library, suite: &MethodSuite) -> Findings {
    let mut findings = Findings::default();
    library.check_options_refused(&mut findings, &suite.bad_options);
    for case in &suite.cases {
        match library.method(&case.options) {
            Ok(method) => {
                for model in [llama_outline(12), llama_outline(30), mixture_outline(12, 3)] {
                    check_case(&mut findings, method.as_ref(), case, &model);
                }
            }
            Err(error) => {
                findings.add(format!("the options {} are refused: {error}", case.options))
            }
        }
    }
    if library.method(&json!(null)).is_err()
        && suite.cases.iter().any(|case| case.options == json!({}))
    {
        findings.add("no options are refused, an empty object is not");
    }
    findings
}

fn check_case(
    findings: &mut Findings,
    method: &dyn Method,
    case: &MethodCase,
    model: &ModelOutline,
) {
    let has_experts = model.layers.iter().any(|layer| layer.expert_idx.is_some());
    let experts = if has_experts { " with experts" } else { "" };
    let place = format!(
        "options {}, {} blocks{experts}",
        case.options, model.num_blocks
    );
    // The host's side refuses units that break the rules for them.
    let without_target = method.units(model, None);
    if let Err(error) = &without_target {
        let is_panic = error.message.contains(" panicked: ");
        findings.require(!is_panic && !case.targets.is_empty(), || {
            format!("{place}: {error}")
        });
    }
    findings.require(!method.measure().is_empty(), || {
        format!("{place}: the measure has no name")
    });
    let mut units = without_target.as_ref().ok().cloned();
    let mut budgets = Vec::new();
    for target in &case.targets {
        let place = format!("{place}, target {target}");
        let chosen = match method.units(model, Some(*target)) {
            Ok(chosen) => chosen,
            Err(error) => {
                findings.add(format!("{place}: {error}"));
                continue;
            }
        };
        let again = method.units(model, Some(*target));
        findings.require(again.as_ref() == Ok(&chosen), || {
            format!("{place}: other units the second time")
        });
        let is_other = without_target.as_ref().is_ok_and(|units| *units != chosen);
        if is_other {
            budget_of(findings, &place, method, model, &chosen, *target);
        }
        let of_all = without_target.as_ref().unwrap_or(&chosen);
        budgets.extend(budget_of(findings, &place, method, model, of_all, *target));
        units.get_or_insert(chosen);
    }
    let Some(units) = units else { return };
    check_compress(findings, &place, method, model, &units);
    check_monotone(findings, &place, &budgets);
    for target in case.bad_targets.iter().chain(&[f64::NAN]) {
        match method.budget(model, &units, *target) {
            Ok(_) => findings.add(format!("{place}: the target {target} is accepted")),
            Err(error) => findings.require(!error.message.contains(" panicked: "), || {
                format!("{place}: the target {target} makes the plugin panic: {error}")
            }),
        }
    }
}

/// The budget of some units, if there is one.
fn budget_of(
    findings: &mut Findings,
    place: &str,
    method: &dyn Method,
    model: &ModelOutline,
    units: &[Unit],
    target: f64,
) -> Option<Vec<GroupBudget>> {
    match method.budget(model, units, target) {
        Ok(budget) => {
            let again = method.budget(model, units, target);
            findings.require(again.as_ref() == Ok(&budget), || {
                format!("{place}: another budget the second time")
            });
            check_budget(findings, place, units, &budget);
            Some(budget)
        }
        Err(error) => {
            findings.add(format!("{place}: {error}"));
            None
        }
    }
}

/// Every group has one budget, which its levels of lowest cost meet and those of highest cost do
/// not.
fn check_budget(findings: &mut Findings, place: &str, units: &[Unit], budget: &[GroupBudget]) {
    let mut costs: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for unit in units {
        let (least, most) = costs.entry(&unit.group).or_default();
        *least += unit
            .levels
            .iter()
            .map(|level| level.cost)
            .min()
            .unwrap_or_default();
        *most += unit
            .levels
            .iter()
            .map(|level| level.cost)
            .max()
            .unwrap_or_default();
    }
    for (group, (least, most)) in costs {
        let mut of_group = budget.iter().filter(|budget| budget.group == group);
        match (of_group.next(), of_group.next()) {
            (Some(GroupBudget { max_cost, .. }), None) => {
                findings.require(*max_cost >= least, || {
                    format!("{place}: group `{group}` cannot cost less than {least}, its budget is {max_cost}")
                });
                findings.require(*max_cost < most, || {
                    format!("{place}: group `{group}` costs {most} at most, its budget of {max_cost} asks for nothing")
                });
            }
            (None, _) => findings.add(format!("{place}: group `{group}` has no budget")),
            (Some(_), Some(_)) => findings.add(format!("{place}: group `{group}` has two budgets")),
        }
    }
    for GroupBudget { group, .. } in budget {
        findings.require(units.iter().any(|unit| unit.group == *group), || {
            format!("{place}: there is a budget for `{group}`, but no unit of that group")
        });
    }
}

/// As targets rise, a group's budgets all rise or all fall.
fn check_monotone(findings: &mut Findings, place: &str, budgets: &[Vec<GroupBudget>]) {
    let groups = budgets
        .first()
        .into_iter()
        .flatten()
        .map(|budget| &budget.group);
    for group in groups {
        let max_costs: Vec<u64> = budgets
            .iter()
            .filter_map(|budget| budget.iter().find(|budget| budget.group == *group))
            .map(|budget| budget.max_cost)
            .collect();
        let is_monotone = max_costs.is_sorted() || max_costs.iter().rev().is_sorted();
        findings.require(is_monotone, || {
            format!("{place}: the budgets of `{group}` go up and down: {max_costs:?}")
        });
    }
}
