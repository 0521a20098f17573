//! The model card: what was done to the model, how good it still is, and how to load it.

mod front_matter;
mod levels;
mod loading;
mod snippets;
mod speed;

use std::fmt::Write;

use anyhow::Result;
use evopress::source::Source;
use evopress_core::atomic_write;
use evopress_spec::{Metric, Report};

use self::front_matter::{front_matter, in_markdown};
use crate::artifact_layout::ArtifactLayout;
use crate::names::Meaning;

pub(crate) use loading::Loading;

/// Writes `README.md` into the folder of each artifact.
pub(crate) fn write(
    layout: &ArtifactLayout,
    source: &Source,
    report: &Report,
    loading: &Loading,
) -> Result<()> {
    let files = source.hf_files()?;
    let text = render(
        report,
        loading,
        files.name.as_deref(),
        files.license.as_deref(),
    );
    for folder in layout.card_folders() {
        atomic_write(&folder.join("README.md"), text.as_bytes())?;
    }
    Ok(())
}

fn render(report: &Report, loading: &Loading, base: Option<&str>, license: Option<&str>) -> String {
    let mut card = front_matter(loading.library(), license, &tags(report));
    let base = base.map_or_else(|| "A language model".to_owned(), in_markdown);
    let achieved = &report.achieved;
    let _ = writeln!(
        card,
        "# {}\n\n{} compressed by evopressd (EvoPress search): {}, {} {:.4} of the budget `{}`.\n",
        report.name,
        base,
        how_small(report),
        achieved.measure,
        achieved.value,
        report.target,
    );
    quality(&mut card, report);
    card.push_str(&levels::section(report));
    card.push_str("\n## Loading\n\n`PATH` is the folder that this model is in.\n\n");
    card.push_str(&loading.text());
    let _ = writeln!(
        card,
        "Spec SHA-256 `{}`, run `{}`.",
        report.spec_digest, report.run
    );
    card
}

/// Each set and metric, a row; the dense model, this one and the baselines, a column.
fn quality(card: &mut String, report: &Report) {
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
    if let Some(delivered) = &report.delivered {
        let size_bytes = delivered.size_bytes;
        let _ = writeln!(
            card,
            "\nDense means as delivered: the weights of the model came as {delivered}, {size_bytes} bytes."
        );
    }
    for name in &report.beaten_by {
        let _ = writeln!(
            card,
            "\nThe one-shot baseline `{name}` has a lower perplexity on the first set."
        );
    }
}

fn tags(report: &Report) -> String {
    let mut tags = String::from("evopress, compressed");
    if levels::meanings(report).any(|it| matches!(it, Meaning::Dropped | Meaning::Sparsity(_))) {
        tags.push_str(", pruned");
    }
    if levels::meanings(report).any(|it| matches!(it, Meaning::Bits(_))) {
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

#[cfg(test)]
mod tests {
    use evopress_spec::ArtifactFormat;

    use super::loading::examples::loading;
    use super::*;
    use crate::example_reports::{dropped, joint, quantized};

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
        has(
            "\n\nDense means as delivered: the weights of the model came as gguf (Q4_1, Q8_0), 144811616 bytes.\n",
        );
        let rows = card.lines().filter(|line| line.contains("bit |"));
        assert_eq!(rows.count(), 30);
    }

    #[test]
    fn dropped_experts_of_a_block_are_one_line() {
        let mut report = dropped();
        let levels = (0..2).flat_map(|block_idx| {
            (0..4).map(move |expert| {
                let unit = format!("model.layers.{block_idx}.mlp.experts.{expert}");
                let level = if expert % 3 == block_idx {
                    "drop"
                } else {
                    "keep"
                };
                (unit, level.to_owned())
            })
        });
        report.genotype = levels.collect();
        let card = render(&report, &folder(), None, None);
        let lines = "\n- experts of block 0: 0, 3\n- experts of block 1: 1\n";
        assert!(
            card.contains(lines) && card.contains("have moved up"),
            "{card}"
        );
    }

    #[test]
    fn a_card_of_dropped_units_lists_them_and_one_of_several_methods_has_all() {
        let card = render(&dropped(), &folder(), None, None);
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
