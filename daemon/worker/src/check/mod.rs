//! What only the plugins and the model's own files can tell about a plan, before it runs.

mod estimate;

use anyhow::{Context, Result};
use evopress::genotype::SearchSpace;
use evopress::source::Source;
use evopress_plugin::PluginKind;
use evopress_plugin::host::PluginDir;
use evopress_spec::{Plan, PluginUse};
use serde::Serialize;

use self::estimate::Needs;
use crate::cli::CheckOptions;
use crate::setup::{self, UsedMethod};

/// The answer: mistakes, and what the run would need if there are none.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    mistakes: Vec<Mistake>,
    needs: Option<Needs>,
}

/// A mistake at a JSON pointer into the spec.
#[derive(Debug, Serialize)]
struct Mistake {
    pointer: String,
    message: String,
}

/// Checks the plan in `options.plan`.
pub(crate) fn check(options: &CheckOptions) -> Result<Answer> {
    let text = std::fs::read(&options.plan).with_context(|| options.plan.display().to_string())?;
    let plan: Plan =
        serde_json::from_slice(&text).with_context(|| options.plan.display().to_string())?;
    let plugins = PluginDir::open(&options.plugins)?;
    let mut mistakes = Vec::new();
    for (idx, method) in plan.methods.iter().enumerate() {
        mistakes.extend(plugin_mistakes(
            &plugins,
            method,
            PluginKind::Method,
            &format!("/methods/{idx}"),
        ));
    }
    mistakes.extend(plugin_mistakes(
        &plugins,
        &plan.search.fitness,
        PluginKind::Fitness,
        "/search/fitness",
    ));
    mistakes.extend(device_mistake(&plan));
    mistakes.extend(text_mistakes(&plan));
    let Some(model) = plan.model.location.path() else {
        // It is in a registry. Whoever fetches it has the plan checked again.
        return Ok(Answer {
            mistakes,
            needs: None,
        });
    };
    let source = Source::open(model);
    let unreadable = match &source {
        Ok(source) => source.tokenizer().err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    mistakes.extend(unreadable.map(|message| Mistake {
        pointer: "/model/source".into(),
        message,
    }));
    if let Ok(source) = &source
        && let Some((idx, message)) = setup::unwritable(&plan, source)
    {
        mistakes.push(Mistake {
            pointer: format!("/artifacts/{idx}/format"),
            message,
        });
    }
    let mut needs = None;
    if let (true, Ok(source)) = (mistakes.is_empty(), &source) {
        match space_or_mistakes(&plan, &plugins, source) {
            Ok(space) => needs = Some(Needs::estimate(&plan, source, &space)),
            Err(found) => mistakes = found,
        }
    }
    Ok(Answer { mistakes, needs })
}

/// The search space, or what the methods have against the model or the target.
fn space_or_mistakes(
    plan: &Plan,
    plugins: &PluginDir,
    source: &Source,
) -> Result<SearchSpace, Vec<Mistake>> {
    let target = format!("/target/{}", plan.target.measure());
    let at = |pointer: &str, error: &dyn std::fmt::Display| Mistake {
        pointer: pointer.to_owned(),
        message: format!("{error:#}"),
    };
    let mut mistakes = Vec::new();
    let mut methods = Vec::new();
    for (idx, used) in plan.methods.iter().enumerate() {
        match UsedMethod::load(used, plugins) {
            Ok(method) => {
                let message = method.wrong_measure(plan.target);
                mistakes.extend(message.map(|message| at(&target, &message)));
                methods.push(method);
            }
            Err(error) => mistakes.push(at(&format!("/methods/{idx}/options"), &error)),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let mut units = Vec::new();
    for (idx, method) in methods.iter().enumerate() {
        match setup::units(plan, method, source) {
            Ok(of_method) => units.push(of_method),
            Err(error) => mistakes.push(at(&format!("/methods/{idx}"), &error)),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let space =
        setup::search_space(plan, &units, source).map_err(|error| vec![at(&target, &error)])?;
    match setup::misplaced(plan, source, &space) {
        Some((idx, message)) => Err(vec![at(&format!("/artifacts/{idx}/format"), &message)]),
        None => Ok(space),
    }
}

fn plugin_mistakes(
    plugins: &PluginDir,
    used: &PluginUse,
    kind: PluginKind,
    pointer: &str,
) -> Vec<Mistake> {
    match plugins.check_options(&used.plugin, kind, &used.options) {
        Ok(mistakes) => mistakes
            .into_iter()
            .map(|mistake| Mistake {
                pointer: format!("{pointer}/options{}", mistake.pointer),
                message: mistake.message,
            })
            .collect(),
        Err(error) => vec![Mistake {
            pointer: format!("{pointer}/plugin"),
            message: error.to_string(),
        }],
    }
}

fn device_mistake(plan: &Plan) -> Option<Mistake> {
    let error = evopress::device::resolve(&plan.model.device.to_string()).err()?;
    Some(Mistake {
        pointer: "/model/device".into(),
        message: error.to_string(),
    })
}

/// Texts with fewer bytes than tokens are asked of them. A text that is a little too short is found
/// when it is read.
fn text_mistakes(plan: &Plan) -> Vec<Mistake> {
    let calibration = (
        "/calibration/tokens".to_owned(),
        &plan.calibration.source,
        plan.calibration.tokens,
    );
    let database = (
        "/database/tokens".to_owned(),
        &plan.database.source,
        plan.database.tokens,
    );
    let sets = plan
        .evaluation
        .iter()
        .enumerate()
        .map(|(idx, set)| (format!("/evaluation/{idx}/tokens"), &set.source, set.tokens));
    let is_apart = plan.database.source != plan.calibration.source
        || plan.database.tokens > plan.calibration.tokens;
    [calibration]
        .into_iter()
        .chain(is_apart.then_some(database))
        .chain(sets)
        .filter_map(|(pointer, path, tokens)| {
            let bytes = std::fs::metadata(path).ok()?.len();
            (bytes < tokens).then(|| Mistake {
                pointer,
                message: format!(
                    "found {tokens} tokens asked of {}, which has only {bytes} bytes",
                    path.display()
                ),
            })
        })
        .collect()
}
