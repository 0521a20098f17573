//! `evopressd validate`: every mistake of every spec, and what a run would need.

use std::path::Path;

use evopress_spec::{Delivered, Mistake, Publish, Secret, SequenceStart};
use evopressd::config::{Tools, default_state};
use evopressd::intake::{Checked, read_spec, validate as check};
use evopressd::progress::megabytes;
use evopressd::state_dir::StateDir;
use evopressd::worker_process::{Needs, Worker};
use serde_json::{Value, json};

use super::{Exit, show, usage};
use crate::cli::ValidateFlags;

pub(crate) async fn validate(flags: ValidateFlags) -> anyhow::Result<Exit> {
    let mut tools = Tools::resolve(flags.tools).map_err(usage)?;
    tools.resources = flags.resources;
    let state = StateDir::existing(&flags.state.unwrap_or_else(default_state));
    tools.cache = state.ok().map(|state| state.cache());
    let worker = Worker::new(tools)?;
    let mut answers = Vec::new();
    let mut exit = Exit::Done;
    for spec in &flags.specs {
        let text = read_spec(spec)
            .map_err(|error| usage(format!("cannot read {}: {error}", spec.display())))?;
        let result = check(spec, &text, &worker).await;
        if result.is_err() {
            exit = Exit::BadSpec;
        }
        if flags.json {
            answers.push(as_json(spec, &result));
        } else {
            match &result {
                Ok(checked) => show::print(&good(spec, checked))?,
                Err(mistakes) => show::mistakes(mistakes, spec, &text),
            }
        }
    }
    if flags.json {
        show::json(&answers)?;
    }
    Ok(exit)
}

fn as_json(spec: &Path, result: &Result<Checked, Vec<Mistake>>) -> Value {
    let (mistakes, reply) = match result {
        Ok(checked) => (&[][..], Some(&checked.reply)),
        Err(mistakes) => (mistakes.as_slice(), None),
    };
    let needs = reply.and_then(|reply| reply.needs.as_ref());
    let delivered = reply.and_then(|reply| reply.delivered.as_ref());
    let publishes: Vec<String> = match result {
        Ok(checked) => checked
            .plan
            .publish
            .iter()
            .map(ToString::to_string)
            .collect(),
        Err(_) => Vec::new(),
    };
    let warnings = match result {
        Ok(checked) => checked.warnings.as_slice(),
        Err(_) => &[],
    };
    json!({
        "spec": spec, "valid": result.is_ok(), "mistakes": mistakes, "warnings": warnings, "needs": needs,
        "sequences": reply.map_or(&[][..], |reply| &reply.sequences),
        "delivered": delivered,
        "publishes": publishes,
    })
}

fn good(spec: &Path, checked: &Checked) -> String {
    let needs = checked
        .reply
        .needs
        .as_ref()
        .map_or_else(String::new, describe);
    format!(
        "{}: good{needs}\n{}{}{}{}{}",
        spec.display(),
        warnings(checked),
        sequences(checked),
        origin(checked),
        delivered(checked),
        places(&checked.plan.publish)
    )
}

/// A line on how sequences begin.
fn sequences(checked: &Checked) -> String {
    match SequenceStart::summary(&checked.reply.sequences) {
        Some(starts) => format!("  sequences begin with BOS: {starts}\n"),
        None => String::new(),
    }
}

/// A line for each warning.
fn warnings(checked: &Checked) -> String {
    let lines = checked.warnings.iter();
    lines
        .map(|it| format!("  warning: {}: {}\n", it.path, it.message))
        .collect()
}

/// A line for a model that a run would fetch.
fn origin(checked: &Checked) -> String {
    let Some(origin) = checked.plan.model.location.origin() else {
        return String::new();
    };
    let secrets = origin.secrets().into_iter();
    let missing: String = secrets
        .filter(|secret| !is_there(secret))
        .map(|secret| format!("; {secret} is not there"))
        .collect();
    let address = &origin.address;
    format!(
        "  fetches the model from {address} ({}), which this check does not contact{missing}\n",
        address.kind()
    )
}

/// A line for a model whose weights were quantized before they came.
fn delivered(checked: &Checked) -> String {
    let line = |it: &Delivered| {
        let size = megabytes(it.size_bytes);
        format!("  dense means as delivered: the weights of the model come as {it}, {size}\n")
    };
    checked
        .reply
        .delivered
        .as_ref()
        .map_or_else(String::new, line)
}

/// A line for each place that a result would go to, and whose secrets are not there.
fn places(publish: &[Publish]) -> String {
    let line = |to: &Publish| {
        let missing = to.secrets().into_iter().filter(|secret| !is_there(secret));
        let missing: String = missing
            .map(|secret| format!("; {secret} is not there"))
            .collect();
        format!("  publishes to {to} ({}){missing}\n", to.kind())
    };
    publish.iter().map(line).collect()
}

fn is_there(secret: &Secret) -> bool {
    match secret {
        Secret::Env(name) => std::env::var_os(name).is_some(),
        Secret::File(path) => path.is_file(),
    }
}

fn describe(needs: &Needs) -> String {
    let mut parts = Vec::new();
    if let Some(seconds) = needs.seconds {
        parts.push(format!("about {:.0} min", (seconds / 60.0).max(1.0)));
    }
    for (bytes, what) in [
        (needs.memory_bytes, "memory"),
        (
            needs.device_memory_bytes.filter(|bytes| *bytes > 0),
            "GPU memory",
        ),
        (needs.disk_bytes, "disk"),
    ] {
        if let Some(bytes) = bytes {
            parts.push(format!("{} {what}", megabytes(bytes)));
        }
    }
    if let (Some(bytes), Some(by)) = (needs.granted_bytes, &needs.granted_by) {
        let least = needs.least_bytes.map_or_else(String::new, |least| {
            format!("; it could do with {}, slower", megabytes(least))
        });
        parts.push(format!("with {} {by}{least}", megabytes(bytes)));
    }
    if parts.is_empty() {
        String::new()
    } else {
        format!("; a run needs {}", parts.join(", "))
    }
}
