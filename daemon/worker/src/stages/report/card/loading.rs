//! How the artifacts are loaded, and by which runtimes: a section of the model card.

use std::collections::BTreeSet;

use evopress::export::packed::{self, PackedFormat, Summary};
use evopress::export::{self, Depth};
use evopress::genotype::{Genotype, SearchSpace};
use evopress::source::Source;
use evopress_spec::ArtifactFormat;

use super::{snippets, speed};
use crate::artifact_layout::{self, ArtifactLayout};

/// What is to be said of loading each artifact, in the order of the spec.
pub(crate) struct Loading {
    artifacts: Vec<Artifact>,
    depth: Depth,
    /// Whether a GGUF file has no tensors for dropped sub-blocks.
    gguf_goes_without: bool,
    /// Whether blocks have different numbers of experts.
    differs_in_experts: bool,
}

struct Artifact {
    format: ArtifactFormat,
    /// Where it is; `PATH` is the place that all artifacts are at.
    place: String,
    packed: Option<(PackedFormat, Summary)>,
}

impl Loading {
    /// Of the artifacts of `genotype`. The card does not know where a reader has them: they are
    /// under `PATH`.
    pub(crate) fn of(
        layout: &ArtifactLayout,
        source: &Source,
        space: &SearchSpace,
        genotype: &Genotype,
    ) -> Self {
        let candidate = space.candidate(genotype);
        let layout = layout.under("PATH".as_ref());
        let artifacts = layout.formats().map(|format| {
            let path = layout.path(format);
            let packed = artifact_layout::packed(format).map(|packed| {
                let summary = packed::summary(source, space, &candidate, packed);
                (packed, summary)
            });
            Artifact {
                format,
                place: path.display().to_string(),
                packed,
            }
        });
        Self {
            artifacts: artifacts.collect(),
            depth: Depth::of(&candidate),
            gguf_goes_without: export::gguf::goes_without(source),
            differs_in_experts: export::differs_in_experts(source, &candidate),
        }
    }

    /// Hugging Face's `library_name`.
    pub(crate) fn library(&self) -> &'static str {
        let mut formats = self.artifacts.iter().map(|artifact| artifact.format);
        match formats.any(ArtifactFormat::is_folder) {
            true => "transformers",
            false => "gguf",
        }
    }

    /// What a user of vLLM would not expect, in sentences.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let packed = self
            .artifacts
            .iter()
            .filter_map(|artifact| artifact.packed.as_ref());
        let untied = packed.filter(|(_, summary)| summary.num_untied_blocks > 0);
        untied
            .map(|(format, summary)| format!("artifact `{format}`: {}", untied_sentence(summary)))
            .collect()
    }

    /// The section's text.
    pub(crate) fn text(&self) -> String {
        let sections = self
            .artifacts
            .iter()
            .map(|it| match (&it.packed, it.format) {
                (Some((PackedFormat::CompressedTensors, summary)), _) => {
                    compressed_tensors(&it.place, summary)
                }
                (Some((PackedFormat::Gptq, summary)), _) => gptq(&it.place, summary),
                (None, ArtifactFormat::Gguf) => llama_cpp(&it.place),
                (None, ArtifactFormat::NemotronNas) => nemotron_nas(&it.place),
                (None, _) if self.differs_in_experts => experts_by_layer(&it.place),
                (None, _) => snippets::transformers(&it.place, "", "", ""),
            });
        let formats: Vec<ArtifactFormat> = self.artifacts.iter().map(|it| it.format).collect();
        let speed = speed::text(self.depth, &formats, self.gguf_goes_without);
        sections.chain([speed]).collect()
    }
}

fn nemotron_nas(place: &str) -> String {
    let trust = ", trust_remote_code=True";
    format!(
        "In the layout of Nemotron-NAS (DeciLM), without the tensors of dropped sub-blocks. `trust_remote_code` lets the folder's own \
         `configuration_decilm.py` and `modeling_decilm.py` run, of a few lines each: neither runtime has a config for the layout.\n\n\
         {}With transformers:\n\n{}",
        snippets::vllm(place, trust),
        snippets::transformers(place, "", "", trust)
    )
}

fn experts_by_layer(place: &str) -> String {
    format!(
        "The blocks have different numbers of experts (`num_experts_by_layer`), for which no runtime has a setting: `trust_remote_code` lets the \
         folder's own `modeling_experts_by_layer.py` run, which gives each of transformers' blocks as many as it has.\n\n{}",
        snippets::transformers(place, "", "", ", trust_remote_code=True")
    )
}

fn llama_cpp(place: &str) -> String {
    snippets::llama_cpp(place)
        + "In the GGUF file, layers at a level of ggml's formats (`Q4_K`) are byte for byte those of the search's level database. Layers of other methods have \
         the searched weights exactly too: as `Q4_0`, `Q5_0` or `Q8_0` where their grids fit into one, else decoded. Tensors that no level \
         changes are stored as in the source.\n\n"
}

fn compressed_tensors(place: &str, summary: &Summary) -> String {
    let is_dense_packed = summary.bits.iter().any(|bits| 32 % bits != 0);
    let version = if is_dense_packed { "0.18" } else { "0.15" };
    let loads = match summary.is_symmetric {
        true => format!(
            "With transformers and compressed-tensors {version} or later, which decompress it when it is first used:\n\n{}",
            snippets::transformers(place, "import torch\n", ", dtype=torch.float32", "")
        ),
        false => format!(
            "compressed-tensors {version} or later decompresses it. transformers 5.23 does not load it: it expects zero points that are \
             not packed (with the method's `symmetric: true` there are none).\n\n"
        ),
    };
    let text = loads + &about_packed("compressed-tensors' `pack-quantized`", summary);
    text + &on_vllm(place, summary, &[4, 8], "")
}

fn gptq(place: &str, summary: &Summary) -> String {
    let text =
        snippets::gptqmodel(place) + &about_packed("the layout of GPTQ checkpoints", summary);
    // The faster kernels that vLLM takes of itself have 4 and 8 bits only.
    let kernels = match summary.bits.iter().all(|bits| [4, 8].contains(bits)) {
        true => "",
        false => ", quantization=\"gptq\"",
    };
    text + &on_vllm(place, summary, &[2, 3, 4, 8], kernels)
}

fn about_packed(layout: &str, summary: &Summary) -> String {
    let Summary {
        num_packed,
        num_dense,
        ..
    } = summary;
    format!(
        "{num_packed} of the {} linear layers are stored in {layout}, with exactly the codes, scales and \
         zeros that were searched; everything else is in the dtype of the run. Scales are f16: loaded in float16 or float32 they are what was measured, in bfloat16 they are \
         rounded to 8 significant bits.\n\n",
        num_packed + num_dense
    )
}

/// The snippet for vLLM, or why it does not load this one.
fn on_vllm(place: &str, summary: &Summary, bits: &[u8], kernels: &str) -> String {
    let bits: BTreeSet<u8> = bits.iter().copied().collect();
    let foreign: Vec<String> = summary
        .bits
        .difference(&bits)
        .map(ToString::to_string)
        .collect();
    let mut reasons = Vec::new();
    if !foreign.is_empty() {
        reasons.push(format!(
            "its kernels for this format have no layers of {} bits",
            foreign.join(", ")
        ));
    }
    if summary.num_untied_blocks > 0 {
        reasons.push(untied_sentence(summary));
    }
    match reasons.is_empty() {
        true => snippets::vllm(place, &format!(", dtype=\"float16\"{kernels}")),
        false => format!("vLLM does not load it: {}.\n\n", reasons.join("; ")),
    }
}

fn untied_sentence(summary: &Summary) -> String {
    format!(
        "vLLM fuses q, k and v into one layer, gate and up into another, and in {} blocks these have different levels \
         (`search.grouping: tied` lets them share one)",
        summary.num_untied_blocks
    )
}

#[cfg(test)]
pub(super) mod examples {
    use super::*;

    /// Artifacts in these formats, the packed ones with these bits. They have zeros if the bits are
    /// 3 and 4.
    pub(crate) fn loading(
        formats: &[ArtifactFormat],
        bits: &[u8],
        num_untied_blocks: usize,
    ) -> Loading {
        let summary = Summary {
            bits: bits.iter().copied().collect(),
            is_symmetric: bits != [3, 4],
            num_packed: 200,
            num_dense: 10,
            num_untied_blocks,
        };
        let artifact = |&format: &ArtifactFormat| Artifact {
            format,
            place: match format {
                ArtifactFormat::Gguf => "PATH/smollm2-depth.gguf".into(),
                _ => "PATH".into(),
            },
            packed: artifact_layout::packed(format).map(|packed| (packed, summary.clone())),
        };
        Loading {
            artifacts: formats.iter().map(artifact).collect(),
            depth: Depth::default(),
            gguf_goes_without: true,
            differs_in_experts: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::examples::loading;
    use super::*;

    #[test]
    fn each_format_says_who_loads_it() {
        let text = |format, bits: &[u8], untied| loading(&[format], bits, untied).text();
        let compressed = ArtifactFormat::CompressedTensors;
        let tied = text(compressed, &[4, 8], 0);
        assert!(tied.contains("compressed-tensors 0.15 or later") && tied.contains("LLM(\"PATH\""));
        assert!(tied.contains("200 of the 210 linear layers"), "{tied}");
        let untied = text(compressed, &[3, 4], 7);
        assert!(untied.contains("compressed-tensors 0.18 or later decompresses it"));
        assert!(!untied.contains("from_pretrained") && tied.contains("from_pretrained"));
        assert!(
            untied.contains("vLLM does not load it: its kernels for this format have no layers of 3 bits; vLLM fuses")
                && untied.contains("in 7 blocks"),
            "{untied}"
        );
        let gptq = text(ArtifactFormat::Gptq, &[3, 4], 0);
        assert!(
            gptq.contains("GPTQModel.load(\"PATH\")") && gptq.contains("quantization=\"gptq\"")
        );
    }

    #[test]
    fn a_layout_that_runtimes_have_no_config_for_asks_for_trust() {
        let text = loading(&[ArtifactFormat::NemotronNas], &[], 0).text();
        assert!(
            text.contains("LLM(\"PATH\", trust_remote_code=True)"),
            "{text}"
        );
        assert!(
            text.contains("from_pretrained(\"PATH\", trust_remote_code=True)"),
            "{text}"
        );
    }

    #[test]
    fn a_result_that_vllm_cannot_fuse_is_warned_of() {
        let formats = [
            ArtifactFormat::Huggingface,
            ArtifactFormat::CompressedTensors,
        ];
        assert!(loading(&formats, &[4], 0).warnings().is_empty());
        let warnings = loading(&formats, &[4], 3).warnings();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("artifact `compressed-tensors`: vLLM fuses"));
    }
}
