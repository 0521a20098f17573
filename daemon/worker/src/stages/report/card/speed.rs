//! Which runtimes are faster with a model that lacks some of its depth: a paragraph of the model
//! card.

use std::fmt::Write;

use evopress::export::Depth;
use evopress_spec::ArtifactFormat;

/// The paragraph; empty where no depth was dropped. `gguf_goes_without` is whether a GGUF file of
/// this model has no tensors for dropped sub-blocks.
pub(super) fn text(depth: Depth, formats: &[ArtifactFormat], gguf_goes_without: bool) -> String {
    let mut sentences = Vec::new();
    if depth.num_blocks > 0 {
        sentences.push(format!(
            "{} left out whole: every runtime is faster for it.",
            are(depth.num_blocks, "block")
        ));
    }
    if depth.num_alone > 0 {
        sentences.push(format!(
            "{} dropped alone: {}.",
            are(depth.num_alone, "sub-block"),
            by_format(formats, gguf_goes_without)
        ));
        if depth.num_omissible < depth.num_alone {
            sentences.push("The attention of the first block is there in all of them, with zeros, because vLLM and llama.cpp need one.".into());
        }
        if !formats.contains(&ArtifactFormat::NemotronNas) {
            sentences.push("The artifact format `nemotron-nas` goes without them in vLLM.".into());
        }
    }
    let mut text = sentences.join(" ");
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text
}

/// What became of the sub-blocks in each format.
fn by_format(formats: &[ArtifactFormat], gguf_goes_without: bool) -> String {
    let mut text = String::new();
    if formats.contains(&ArtifactFormat::NemotronNas) {
        text.push_str(
            "not there in `nemotron-nas`, so vLLM and transformers skip them and are faster; ",
        );
    }
    if formats.contains(&ArtifactFormat::Gguf) && gguf_goes_without {
        text.push_str(
            "in the GGUF file, whose architecture is `deci`, an attention is not there and an MLP is 32 wide, so llama.cpp is faster; ",
        );
    }
    let has_zeros = |format: &ArtifactFormat| match format {
        ArtifactFormat::NemotronNas => false,
        ArtifactFormat::Gguf => !gguf_goes_without,
        _ => true,
    };
    let with_zeros: Vec<ArtifactFormat> = formats.iter().copied().filter(has_zeros).collect();
    for (idx, format) in with_zeros.iter().enumerate() {
        let before = if idx == 0 { "in " } else { ", " };
        let _ = write!(text, "{before}`{format}`");
    }
    if !with_zeros.is_empty() {
        text.push_str(
            " zeros are in their place, with which a runtime multiplies, so none is faster",
        );
    }
    text.trim_end_matches("; ").to_owned()
}

/// `1 block is`, `2 blocks are`.
fn are(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what} is"),
        _ => format!("{count} {what}s are"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_claims_speed_only_where_there_is_some() {
        use ArtifactFormat::{Gguf, Gptq, Huggingface, NemotronNas};
        let depth = |num_blocks, num_alone, num_omissible| Depth {
            num_blocks,
            num_alone,
            num_omissible,
        };
        assert_eq!(text(depth(0, 0, 0), &[Huggingface, Gguf], true), "");
        assert_eq!(
            text(depth(2, 0, 0), &[Huggingface], true),
            "2 blocks are left out whole: every runtime is faster for it.\n\n"
        );
        let zeros = text(depth(1, 3, 3), &[Huggingface, Gptq], true);
        assert!(
            zeros.starts_with("1 block is left out whole")
                && zeros.contains("3 sub-blocks are dropped alone: in `huggingface`, `gptq` zeros")
        );
        assert!(
            !zeros.contains("llama.cpp") && zeros.contains("format `nemotron-nas` goes without")
        );
        let all = text(depth(0, 3, 2), &[Huggingface, NemotronNas, Gguf], true);
        assert!(
            all.contains("not there in `nemotron-nas`") && all.contains("llama.cpp is faster"),
            "{all}"
        );
        assert!(
            all.contains("in `huggingface` zeros") && all.contains("attention of the first block"),
            "{all}"
        );
        let biased = text(depth(0, 1, 1), &[Gguf], false);
        assert!(
            biased.contains("in `gguf` zeros") && !biased.contains("llama.cpp is faster"),
            "{biased}"
        );
    }
}
