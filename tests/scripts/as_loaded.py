"""What unmodified transformers makes of model folders.

In on stdin: a JSON list of questions
    {"folder", "dtype": "float32" | "bfloat16", "text": FILE, "tokens", "sequence_length", "bypass": [unit, …], "trust": whether its code may run,
     "prompt": tokens of the text to continue, "continuation": [ids that another runtime chose greedily]}
where `bypass` names units of the dense model (`model.layers.3.mlp`) that shall add nothing; the last three may be missing. Out on stdout, for each:
    {"class", "num_hidden_layers", "layer_types", "perplexity", "ids": the text's first token ids, "shortfall": by how much the
     logits of the continuation's tokens fall short of the highest ones, at most}
"""

import json
import os
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def bypass(model, unit: str) -> None:
    """Lets an attention or an MLP return zeros, as if it were not there."""
    module = model.get_submodule(unit)
    forward = module.forward

    def nothing(*arguments, **named):
        output = forward(*arguments, **named)
        return (torch.zeros_like(output[0]), *output[1:]) if isinstance(output, tuple) else torch.zeros_like(output)

    module.forward = nothing


def perplexity(model, sequences) -> float:
    total = count = 0
    for sequence in sequences:
        logits = model(sequence[None]).logits[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits, sequence[1:], reduction="none")
        total += losses.double().sum().item()
        count += len(losses)
    return float(torch.tensor(total / count, dtype=torch.float64).exp())


def shortfall(model, prompt: list[int], chosen: list[int]) -> float:
    if not chosen:
        return 0.0
    # In f32: logits in bf16 are an eighth of a nat apart.
    logits = model.float()(torch.tensor([prompt + chosen])).logits[0, len(prompt) - 1 : -1].float()
    return (logits.max(-1).values - logits[torch.arange(len(chosen)), chosen]).max().item()


@torch.no_grad()
def answer(question: dict) -> dict:
    tokenizer = AutoTokenizer.from_pretrained(question["folder"])
    with open(question["text"], encoding="utf-8") as file:
        text = file.read(question["tokens"] * 12)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][: question["tokens"]]
    assert len(ids) == question["tokens"]
    settings = {"dtype": getattr(torch, question["dtype"]), "trust_remote_code": question.get("trust", False)}
    model = AutoModelForCausalLM.from_pretrained(question["folder"], **settings).eval()
    for unit in question.get("bypass", []):
        bypass(model, unit)
    return {
        "class": type(model).__name__,
        "num_hidden_layers": len(model.model.layers),
        "layer_types": getattr(model.config, "layer_types", None),
        "perplexity": perplexity(model, torch.tensor(ids).view(-1, question["sequence_length"])),
        "ids": ids,
        "shortfall": shortfall(model, ids[: question.get("prompt", 1)], question.get("continuation", [])),
    }


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(json.dumps([answer(question) for question in json.load(sys.stdin)]))
