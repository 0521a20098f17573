#!/usr/bin/env python3
"""Is a compressed SmolLM2 better than another one, beyond what the choice of held-out text explains?

    scripts/paired_kl.py BASELINE MODEL...     model folders in Hugging Face's format, made from the demo's model

For each MODEL: KL divergence to the dense model (nats a token, f32, transformers) of BASELINE and of MODEL on the same sequences
of held-out text, and the 95 % interval of the mean difference, from a paired bootstrap over sequences. The dense model is
the demo's GGUF file. The folder of a uniform baseline is what a pipeline with a single level makes. Needs `make test` once,
for transformers.
"""

import argparse
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS.parent / "tests/fixtures")]

from evopress_setup.python_tools import python_tools  # noqa: E402

sys.path.insert(0, str(python_tools()))

import gguf  # noqa: E402
import torch  # noqa: E402
from common import SMOLLM2, gguf_name, unpermute  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

NUM_RESAMPLES = 10_000
TEXT = SCRIPTS.parent / "pipelines/text/evaluation.txt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("baseline", type=Path, metavar="BASELINE")
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--sequences", type=int, default=32, help="sequences at even distances over the text (32)")
    parser.add_argument("--length", type=int, default=256, help="tokens of a sequence (256)")
    options = parser.parse_args()

    sequences = spread(options)
    dense = load_dense(options.baseline)
    targets = [log_probabilities(dense, sequence) for sequence in sequences]
    baseline = divergences(load(options.baseline), sequences, targets)
    print(f"baseline: KL {baseline.mean():.4f} on {len(sequences)} sequences of {options.length} tokens")
    for folder in options.models:
        model = divergences(load(folder), sequences, targets)
        difference = baseline - model
        low, high = interval(difference)
        better = int((difference > 0).sum())
        print(
            f"{folder}: KL {model.mean():.4f}, baseline − model {difference.mean():.4f}, "
            f"95 % interval {low:.4f} to {high:.4f}, better on {better} of {len(sequences)}"
        )


def spread(options: argparse.Namespace) -> torch.Tensor:
    """Sequences of token ids at even distances over the text."""
    ids = AutoTokenizer.from_pretrained(options.baseline)(options.text.read_text(encoding="utf-8"), add_special_tokens=False)
    available = torch.tensor(ids["input_ids"]).unfold(0, options.length, options.length)
    starts = torch.arange(options.sequences) * len(available) // options.sequences
    return available[starts]


def load(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def load_dense(folder: Path):
    """The demo's model: `folder` gives the configuration, the GGUF file every weight."""
    model = load(folder)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(str(SMOLLM2)).tensors}
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    for name, parameter in model.named_parameters():
        tensor = tensors[gguf_name(name)]
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(parameter.shape)
        num_heads = heads.get(name.split(".")[-2])
        weight = unpermute(weight, num_heads) if num_heads else weight
        # evopressd works with the file's values in bf16.
        parameter.data.copy_(torch.tensor(weight).bfloat16())
    return model


@torch.no_grad()
def log_probabilities(model, sequence: torch.Tensor) -> torch.Tensor:
    """Of each next token, [tokens − 1, vocabulary]."""
    return model(sequence[None]).logits[0, :-1].log_softmax(-1)


def divergences(model, sequences: torch.Tensor, targets: list[torch.Tensor]) -> torch.Tensor:
    """Mean KL divergence to the dense model, one a sequence."""
    found = []
    for sequence, target in zip(sequences, targets):
        per_token = (target.exp() * (target - log_probabilities(model, sequence))).sum(-1)
        found.append(per_token.double().mean())
    return torch.stack(found)


def interval(difference: torch.Tensor) -> tuple[float, float]:
    """The 95 % interval of the mean over sequences that are drawn anew, with replacement."""
    draws = torch.randint(len(difference), (NUM_RESAMPLES, len(difference)), generator=torch.Generator().manual_seed(0))
    low, high = difference[draws].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


if __name__ == "__main__":
    main()
