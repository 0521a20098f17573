//! The page of the documentation that says which models are supported.

use super::family::Family;
use super::registry::FAMILIES;
use crate::gguf::GgufWindows;

const HEAD: &str = "\
# Supported models

<!-- Generated from the families' declarations in sdk/source/src/families:
EVOPRESS_UPDATE_DOCS=1 cargo test -p evopress-source --test source supported -->

A model is read by its `model_type`, as a Hugging Face folder or a GGUF file. What differs anywhere
from what is computed is refused by the name of the field, and nothing else of a family is known by
its name: searches, methods and artifacts work for all of them.

## Families

| `model_type` | models | what differs from Llama |
|---|---|---|
";

const PROVEN: &str = "
## What was proven how

Each family has small random models whose configurations exercise every switch of it
([`make_families.py`](../tests/fixtures/make_families.py), with experts
[`make_experts.py`](../tests/fixtures/make_experts.py)). transformers 5.23 in f32 is the judge:

- *logits*: ours differ by less than 1e-4 of the largest one, in sequences longer than windows and
  original contexts, and for LongRoPE in short ones too.
- *folder*: transformers loads what we write, and computes the same.
- *GGUF*: llama.cpp loads what we write, and computes the same but for its 16-bit keys and values;
  we read the file again and find the same specification.
- *real weights*: tests compute with a released model of the family.

| `model_type` | logits | folder | GGUF, as llama.cpp's | real weights |
|---|---|---|---|---|
";

const NOTES: &str = "
A GGUF file says less than a folder in some cases:

- llama.cpp knows no windows in its `llama`, `phi3` and `qwen2`. The file's context length is that
  of the window then, up to which it is the same model.
- A rotation, bias, scale or cap that llama.cpp would leave out is refused before any work. So is
  YaRN with settings of its own, for which only `mistral3` has keys, and dropping whole blocks where
  it counts them (SmolLM3).
- A `mistral3` without a growth of queries, such as Mistral Small 3.1, becomes a folder of a
  `ministral3` whose growth is 0.
- q, k and v of Phi-3 are one tensor, gate and up another, in GGUF files as in packed folders
  (`compressed-tensors`, `gptq`). Each has one level: `search.grouping: tied` is needed.
- The layers of all experts of a block are three tensors in GGUF files, each of which has one level:
  `search.grouping: block` is needed. Blocks with a dense MLP among blocks of experts are refused
  there, and so are a `norm_topk_prob` that llama.cpp does not compute, a Qwen2-MoE without a head
  of its own and an OLMoE with fewer key heads than query heads.
- `nemotron-nas` is a Llama's format.

## Not yet

Models with attention sinks (`gpt_oss`), latent attention (DeepSeek) or state spaces, encoders, and
what is not about texts.
";

/// The page, as Markdown.
pub fn supported_models() -> String {
    let families = FAMILIES.iter().copied();
    let rows = families.clone().map(row);
    let proofs = families.map(proof);
    let (rows, proofs): (Vec<String>, Vec<String>) = (rows.collect(), proofs.collect());
    [HEAD, &rows.concat(), PROVEN, &proofs.concat(), NOTES].concat()
}

fn row(family: &Family) -> String {
    let about = &family.about;
    format!(
        "| `{}` | {} | {} |\n",
        family.model_type, about.models, about.differs
    )
}

fn proof(family: &Family) -> String {
    let gguf = &family.gguf;
    let windows = match gguf.windows {
        GgufWindows::ByBlock { .. } => ", with windows",
        GgufWindows::None => "",
    };
    let real = family.about.real_weights.join(", ");
    let model_type = family.model_type;
    format!(
        "| `{model_type}` | yes | yes | `{}`{windows} | {real} |\n",
        gguf.architecture
    )
}
