//! The model card: what was done to the model, how good it still is, and how to load it.

use std::fmt::Write;

use anyhow::Result;
use evopress_spec::{Metric, Report};

use crate::run::Run;

/// Writes `README.md` into the artifact.
pub(crate) fn write(run: &Run, report: &Report) -> Result<()> {
    let files = run.source.hf_files()?;
    let text = render(report, files.name.as_deref(), files.license.as_deref());
    Ok(evopress_spec::atomic_write(
        &run.dir.model().join("README.md"),
        text.as_bytes(),
    )?)
}

fn render(report: &Report, base: Option<&str>, license: Option<&str>) -> String {
    let mut card = String::from("---\nlibrary_name: transformers\n");
    if let Some(license) = license {
        let _ = writeln!(card, "license: {license}");
    }
    card.push_str("tags: [evopress, compressed, pruned]\n---\n\n");
    let achieved = &report.achieved;
    let _ = writeln!(
        card,
        "# {}\n\n{} compressed by evopressd (EvoPress search): {} of the {} parameters are left, {} {:.4} of the budget `{}`.\n",
        report.name,
        base.unwrap_or("A language model"),
        achieved.parameters,
        achieved.dense_parameters,
        achieved.measure,
        achieved.value,
        report.target,
    );
    card.push_str("## Quality on held-out text\n\n| set | metric | dense | this model |");
    let names: Vec<&String> = report
        .evaluation
        .first()
        .map(|set| set.baselines.keys().collect())
        .unwrap_or_default();
    for name in &names {
        let _ = write!(card, " {name} |");
    }
    let _ = writeln!(card, "\n|---|---|---|---|{}", "---|".repeat(names.len()));
    for result in &report.evaluation {
        let metric = match result.metric {
            Metric::Perplexity => "perplexity",
            Metric::KlDivergence => "KL divergence",
        };
        let _ = write!(
            card,
            "| {} | {metric} | {:.4} | {:.4} |",
            result.set, result.dense, result.compressed
        );
        for name in &names {
            let _ = write!(
                card,
                " {:.4} |",
                result.baselines.get(*name).copied().unwrap_or(f64::NAN)
            );
        }
        card.push('\n');
    }
    for name in &report.beaten_by {
        let _ = writeln!(
            card,
            "\nThe one-shot baseline `{name}` has a lower perplexity on the first set."
        );
    }
    card.push_str("\n## What was left out\n\n");
    let dropped = report.genotype.iter().filter(|(_, level)| *level != "keep");
    for (unit, level) in dropped {
        let _ = writeln!(card, "- `{unit}`: {level}");
    }
    card.push_str(
        "\nUnits are named as in the dense model. Blocks that are dropped whole are gone and the others renumbered; a sub-block \
         that is dropped alone has an output projection of zeros, so it adds nothing (and still takes its bytes).\n\n\
         ## Loading\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
         model = AutoModelForCausalLM.from_pretrained(\"PATH\")\ntokenizer = AutoTokenizer.from_pretrained(\"PATH\")\n```\n\n",
    );
    let _ = writeln!(
        card,
        "Spec SHA-256 `{}`, run `{}`.",
        report.spec_digest, report.run
    );
    card
}
