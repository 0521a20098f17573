//! Rules between the fields of a spec, which no schema can say.

use std::collections::HashMap;
use std::path::Path;

use crate::resolve::Resolver;
use crate::typed::Spec;
use crate::{Evaluation, Grouping, Mode, Plan};

/// Reports every rule that the plan breaks.
pub(crate) fn check(spec: &Spec, plan: &Plan, resolver: &mut Resolver<'_>) {
    mode(spec, plan, resolver);
    grouping(plan, resolver);
    methods(plan, resolver);
    calibration(plan, resolver);
    database(plan, resolver);
    initial(spec, plan, resolver);
    stages(plan, resolver);
    for (idx, set) in plan.evaluation.iter().enumerate() {
        evaluation(idx, set, plan, resolver);
    }
    twice(plan, resolver);
}

/// The paper's search and the fast one have settings of their own; those of the other are mistakes.
fn mode(spec: &Spec, plan: &Plan, resolver: &mut Resolver<'_>) {
    let (of_paper, of_fast) = (spec.search.of_paper(), spec.search.of_fast());
    let (foreign, other): (&[(&str, bool)], Mode) = match plan.search.mode {
        Mode::Fast => (&of_paper, Mode::Paper),
        Mode::Paper => (&of_fast, Mode::Fast),
    };
    for (field, _) in foreign.iter().filter(|(_, is_given)| *is_given) {
        let message = format!(
            "found `{field}`, which belongs to `mode: {other}`, but the mode is `{}`: expected another mode, or no `{field}`",
            plan.search.mode
        );
        resolver.fault(&[&format!("/search/{field}")], &message);
    }
}

/// A budget for each group of layers, by size or name, needs a target in the method's measure: the
/// bytes of one level differ from layer to layer and from method to method.
fn grouping(plan: &Plan, resolver: &mut Resolver<'_>) {
    let own = plan
        .search
        .grouping
        .filter(|grouping| matches!(grouping, Grouping::Size | Grouping::Name));
    if let Some(grouping) = own.filter(|_| plan.target.is_in_bytes()) {
        let measure = plan.target.measure();
        let message = format!(
            "found `{grouping}`, which gives each group of layers a budget of its own, but `{measure}` is one budget over all \
             layers: expected `none`, `tied`, `expert` or `block`"
        );
        resolver.fault(&["/search/grouping", &target_at(plan)], &message);
    }
}

fn methods(plan: &Plan, resolver: &mut Resolver<'_>) {
    if plan.methods.len() > 1 && !plan.target.is_in_bytes() {
        let message = format!(
            "found `{}` for {} methods, but several methods compete for one byte budget: expected `size_bytes` or \
             `compression`, or a single method",
            plan.target.measure(),
            plan.methods.len()
        );
        resolver.fault(&[&target_at(plan), "/methods"], &message);
    }
}

fn target_at(plan: &Plan) -> String {
    format!("/target/{}", plan.target.measure())
}

const CALIBRATION_TOKENS: &str = "/calibration/tokens";
const SEQUENCE_LENGTH: &str = "/calibration/sequence_length";

fn calibration(plan: &Plan, resolver: &mut Resolver<'_>) {
    let calibration = &plan.calibration;
    if let Some(message) = parts_of_sequences(calibration.tokens, calibration.sequence_length) {
        resolver.fault(&[CALIBRATION_TOKENS, SEQUENCE_LENGTH], &message);
    }
}

fn database(plan: &Plan, resolver: &mut Resolver<'_>) {
    let database = &plan.database;
    if let Some(message) = parts_of_sequences(database.tokens, database.sequence_length) {
        let places = [
            "/database/tokens",
            "/database/sequence_length",
            SEQUENCE_LENGTH,
        ];
        resolver.fault(&places, &message);
    }
}

fn initial(spec: &Spec, plan: &Plan, resolver: &mut Resolver<'_>) {
    if spec.search.initial.tokens.is_some() {
        search_tokens(
            "/search/initial/tokens",
            plan.search.initial.tokens,
            plan,
            resolver,
        );
    }
}

fn stages(plan: &Plan, resolver: &mut Resolver<'_>) {
    let search = &plan.search;
    let last = search.stages.len().saturating_sub(1);
    let (mut before, mut before_at) = (search.offspring, "/search/offspring".to_owned());
    for (idx, stage) in search.stages.iter().enumerate() {
        search_tokens(
            &format!("/search/stages/{idx}/tokens"),
            stage.tokens,
            plan,
            resolver,
        );
        let survivors = stage.survivors;
        let at = format!("/search/stages/{idx}/survivors");
        if idx == last && survivors != 1 {
            let message = format!(
                "found {survivors} survivors of the last stage, expected 1: the next parent"
            );
            resolver.fault(&[&at], &message);
        } else if survivors > before {
            let of = if idx == 0 {
                "offspring"
            } else {
                "that are left"
            };
            let message =
                format!("found {survivors} survivors of {before} {of}, expected at most {before}");
            resolver.fault(&[&at, &before_at], &message);
        }
        (before, before_at) = (survivors, at);
    }
}

/// Tokens that the search draws: whole sequences of the calibration set, and no more than it has.
fn search_tokens(pointer: &str, tokens: u64, plan: &Plan, resolver: &mut Resolver<'_>) {
    let calibration = &plan.calibration;
    if let Some(message) = parts_of_sequences(tokens, calibration.sequence_length) {
        resolver.fault(&[pointer, SEQUENCE_LENGTH], &message);
    } else if tokens > calibration.tokens {
        let message = format!(
            "found {tokens} tokens, expected at most the calibration's {}",
            calibration.tokens
        );
        resolver.fault(&[pointer, CALIBRATION_TOKENS, SEQUENCE_LENGTH], &message);
    }
}

fn evaluation(idx: usize, set: &Evaluation, plan: &Plan, resolver: &mut Resolver<'_>) {
    let tokens = format!("/evaluation/{idx}/tokens");
    if let Some(message) = parts_of_sequences(set.tokens, set.sequence_length) {
        let sequence_length = format!("/evaluation/{idx}/sequence_length");
        resolver.fault(&[&tokens, &sequence_length, SEQUENCE_LENGTH], &message);
    }
    if same_file(&set.source, &plan.calibration.source) {
        let message = "this is the calibration's own text, expected another: the search has seen it, so it measures nothing";
        resolver.fault(
            &[&format!("/evaluation/{idx}/source"), "/calibration/source"],
            message,
        );
    } else if same_file(&set.source, &plan.database.source) {
        let message = "this is the level databases' own text, expected another: the layers were compressed on it, so it measures nothing";
        resolver.fault(
            &[&format!("/evaluation/{idx}/source"), "/database/source"],
            message,
        );
    }
}

fn twice(plan: &Plan, resolver: &mut Resolver<'_>) {
    let plugins = plan.methods.iter().map(|method| method.plugin.clone());
    each_once(plugins, "methods", "/plugin", "method is", resolver);
    let names = plan.evaluation.iter().map(|set| set.name.clone());
    each_once(names, "evaluation", "/name", "set is named", resolver);
    let formats = plan
        .artifacts
        .iter()
        .map(|artifact| artifact.format.to_string());
    each_once(
        formats,
        "artifacts",
        "/format",
        "artifact has the format",
        resolver,
    );
    let places = plan.publish.iter().map(ToString::to_string);
    each_once(places, "publish", "", "entry publishes to", resolver);
}

fn each_once(
    names: impl Iterator<Item = String>,
    list: &str,
    field: &str,
    what: &str,
    resolver: &mut Resolver<'_>,
) {
    let mut first: HashMap<String, usize> = HashMap::new();
    for (idx, name) in names.enumerate() {
        if let Some(earlier) = first.get(&name) {
            let message = format!("another {what} `{name}` already: each may be there once");
            let (this, other) = (
                format!("/{list}/{idx}{field}"),
                format!("/{list}/{earlier}{field}"),
            );
            resolver.fault(&[&this, &other], &message);
        } else {
            first.insert(name, idx);
        }
    }
}

fn parts_of_sequences(tokens: u64, sequence_length: u32) -> Option<String> {
    let length = u64::from(sequence_length);
    if tokens.is_multiple_of(length) {
        return None;
    }
    let above = tokens.next_multiple_of(length);
    let near = if tokens > length {
        format!("{} or {above}", above - length)
    } else {
        above.to_string()
    };
    Some(format!(
        "found {tokens} tokens, expected whole sequences of {length} tokens: {near}"
    ))
}

/// Whether two paths lead to the same file.
fn same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}
