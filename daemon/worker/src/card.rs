//! The model card: what was done to the model, how good it still is, and how to load it.

use std::fmt::Write;

use anyhow::Result;
use evopress_spec::{Metric, Report};

use crate::artifact;
use crate::levels::{self, ByKind, Level, Meaning, kind_words};
use crate::loading::Loading;
use crate::run::Run;

/// Writes `README.md` into the folder of each artifact.
pub(crate) fn write(run: &Run, report: &Report, loading: &Loading) -> Result<()> {
    let files = run.source.hf_files()?;
    let text = render(
        report,
        loading,
        files.name.as_deref(),
        files.license.as_deref(),
    );
    for folder in artifact::folders(run) {
        evopress_spec::atomic_write(&folder.join("README.md"), text.as_bytes())?;
    }
    Ok(())
}

fn render(report: &Report, loading: &Loading, base: Option<&str>, license: Option<&str>) -> String {
    let mut card = format!("---\nlibrary_name: {}\n", loading.library());
    if let Some(license) = license {
        let _ = writeln!(card, "license: {license}");
    }
    let _ = writeln!(card, "tags: [{}]\n---\n", tags(report));
    let achieved = &report.achieved;
    let _ = writeln!(
        card,
        "# {}\n\n{} compressed by evopressd (EvoPress search): {}, {} {:.4} of the budget `{}`.\n",
        report.name,
        base.unwrap_or("A language model"),
        how_small(report),
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
    card.push_str(&if levels::only_drops(&report.genotype) {
        left_out(report)
    } else {
        table(report)
    });
    card.push_str("\n## Loading\n\n`PATH` is the folder that this model is in.\n\n");
    card.push_str(&loading.text());
    let _ = writeln!(
        card,
        "Spec SHA-256 `{}`, run `{}`.",
        report.spec_digest, report.run
    );
    card
}

fn meanings(report: &Report) -> impl Iterator<Item = Meaning> {
    let levels = report.genotype.values();
    levels.map(|level| Level::read(level).meaning)
}

fn tags(report: &Report) -> String {
    let mut tags = String::from("evopress, compressed");
    if meanings(report).any(|it| matches!(it, Meaning::Dropped | Meaning::Sparsity(_))) {
        tags.push_str(", pruned");
    }
    if meanings(report).any(|it| matches!(it, Meaning::Bits(_))) {
        tags.push_str(", quantized");
    }
    tags
}

fn how_small(report: &Report) -> String {
    let achieved = &report.achieved;
    if achieved.measure == "drop" || achieved.packed_bytes == 0 {
        return format!(
            "{} of the {} parameters are left",
            achieved.parameters, achieved.dense_parameters
        );
    }
    format!(
        "{} bytes when its levels are packed, {} when dense (the weights files here take {} bytes)",
        achieved.packed_bytes, achieved.dense_size_bytes, achieved.size_bytes
    )
}

fn left_out(report: &Report) -> String {
    let mut text = String::from("\n## What was left out\n\n");
    let dropped = report.genotype.iter().filter(|(_, level)| *level != "keep");
    for (unit, level) in dropped {
        let _ = writeln!(text, "- `{unit}`: {level}");
    }
    text.push('\n');
    text.push_str(ABOUT_DROPPED);
    text
}

const ABOUT_DROPPED: &str = "Units are named as in the dense model. Blocks that are dropped whole are gone and the others renumbered; a sub-block that \
     is dropped alone adds nothing. [Loading](#loading) says which runtimes are faster for it.\n";

/// A row a block, a column a kind of unit, a cell its level.
fn table(report: &Report) -> String {
    let units = ByKind::of(&report.genotype);
    let mut text = String::from("\n## Levels\n\nThe level of each unit, block by block: ");
    text.push_str(
        match meanings(report).find(|it| !matches!(it, Meaning::Kept | Meaning::Dropped)) {
            Some(Meaning::Bits(_)) => "how many bits a weight has.\n\n",
            Some(Meaning::Sparsity(_)) => "the share of its weights that are zero.\n\n",
            _ => "as the method names it.\n\n",
        },
    );
    text.push_str("| block |");
    for kind in units.kinds.keys() {
        let _ = write!(text, " {} |", kind_words(kind));
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(units.kinds.len()));
    for block_idx in 0..units.num_blocks {
        let _ = write!(text, "| {block_idx} |");
        for row in units.kinds.values() {
            let level = row.get(&block_idx).map_or("", |(_, level)| level);
            let _ = write!(text, " {level} |");
        }
        text.push('\n');
    }
    for (unit, level) in &units.elsewhere {
        let _ = writeln!(text, "\n`{unit}`: {level}");
    }
    if meanings(report).any(|it| matches!(it, Meaning::Sparsity(_))) {
        text.push_str("\nThe zeros are stored as numbers: runtimes multiply with them, so the model is no faster than the dense one.\n");
    }
    if meanings(report).any(|it| it == Meaning::Dropped) {
        text.push('\n');
        text.push_str(ABOUT_DROPPED);
    }
    text
}

#[cfg(test)]
mod tests {
    use evopress_spec::ArtifactFormat;

    use super::*;
    use crate::loading::made_up::loading;
    use crate::report_html::made_up::{joint, made_up, quantized};

    fn folder() -> Loading {
        loading(&[ArtifactFormat::Huggingface], &[], 0)
    }

    #[test]
    fn a_card_says_how_to_load_each_artifact() {
        let loads = |formats: &[ArtifactFormat]| {
            let card = render(&quantized(), &loading(formats, &[], 0), None, None);
            (
                card.contains("library_name: transformers"),
                card.contains("AutoModelForCausalLM.from_pretrained"),
                card.contains("llama-cli -m PATH/smollm2-depth.gguf"),
            )
        };
        let gguf = ArtifactFormat::Gguf;
        assert_eq!(loads(&[ArtifactFormat::Huggingface]), (true, true, false));
        assert_eq!(loads(&[gguf]), (false, false, true));
        assert_eq!(
            loads(&[gguf, ArtifactFormat::Huggingface]),
            (true, true, true)
        );
    }

    #[test]
    fn a_card_has_a_level_for_each_unit() {
        let card = render(&quantized(), &folder(), Some("SmolLM2"), Some("apache-2.0"));
        let has = |text: &str| assert!(card.contains(text), "{text} is not in\n{card}");
        has("tags: [evopress, compressed, quantized]\n---\n\n# smollm2-depth");
        has(
            "SmolLM2 compressed by evopressd (EvoPress search): 96500000 bytes when its levels are packed",
        );
        has("how many bits a weight has");
        has("| block | q_proj | k_proj | v_proj | o_proj | gate_proj | up_proj | down_proj |");
        has("\n| 29 | ");
        assert!(!card.contains("left out") && !card.contains("renumbered"));
        let rows = card.lines().filter(|line| line.contains("bit |"));
        assert_eq!(rows.count(), 30);
    }

    #[test]
    fn a_card_of_dropped_units_lists_them_and_one_of_several_methods_has_all() {
        let card = render(&made_up(), &folder(), None, None);
        assert!(card.contains("105000000 of the 134515008 parameters are left"));
        assert!(
            card.contains("## What was left out\n\n- `model.layers.0.mlp`: drop")
                || card.contains("- `model.layers.3.self_attn`: drop")
        );
        assert!(
            card.contains("tags: [evopress, compressed, pruned]") && card.contains("renumbered")
        );
        let card = render(&joint(), &folder(), None, None);
        assert!(card.contains("tags: [evopress, compressed, pruned, quantized]"));
        assert!(
            card.contains(" gptq:4bit |")
                && card.contains(" sparsegpt:2:4 |")
                && card.contains("renumbered")
        );
    }
}
