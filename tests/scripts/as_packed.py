"""What others make of folders with packed weights, held against the same model as a plain folder.

In on stdin: a JSON list of questions
    {"format": "compressed-tensors" | "gptq", "folder", "plain": FOLDER of the same run in the format `huggingface`}
Out on stdout, for each:
    {"different": [tensor, …] that are not the plain folder's bit for bit in its dtype, "bits": {module: bits of its packed weight},
     "dense": [linear module of a block that is not packed, …], "torn": [fused module whose parts agree and that is not told the same, …]}

compressed-tensors is read by the unmodified package, and where all grids are symmetric through unmodified transformers too. GPTQ checkpoints have no reader on PyPI that installs
without a GPU's libraries; they are read by numpy, from what GPTQModel and AutoGPTQ document of their layout: numbers of b bits side by side
in little-endian int32 words, codes along the inputs and zeros along the outputs, zeros less one where `checkpoint_format` is `gptq`; the
first of the `dynamic` rules counts whose regular expression matches at the start of a module's name, `-:` for modules that are not packed.
"""

import json
import os
import re
import sys
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import numpy as np
import torch
from safetensors.torch import load_file

FUSED = {"self_attn.qkv_proj": ["q_proj", "k_proj", "v_proj"], "mlp.gate_up_proj": ["gate_proj", "up_proj"]}


def by_compressed_tensors(folder: Path, config: dict, stored: dict) -> tuple[dict, dict]:
    """Weights by name, and the bits of each packed module."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig

    parsed = QuantizationConfig.model_validate(config)
    weights, bits = dict(stored), {}
    for scheme in parsed.config_groups.values():
        for module in scheme.targets:
            assert module not in parsed.ignore, module
            parts = ("weight_packed", "weight_scale", "weight_zero_point", "weight_shape")
            of = {part: weights.pop(f"{module}.{part}") for part in parts if f"{module}.{part}" in weights}
            of["weight_scale"] = of["weight_scale"].float()
            compressor = BaseCompressor.get_value_from_registry(parsed.format)
            weights[f"{module}.weight"] = compressor.decompress(of, scheme)["weight"]
            bits[module] = scheme.weights.num_bits
    if all(scheme.weights.symmetric for scheme in parsed.config_groups.values()):
        for name, weight in by_transformers(folder).items():
            assert torch.equal(weights[name].float(), weight), f"transformers loads another {name}"
    return weights, bits


def by_transformers(folder: Path) -> dict:
    """All parameters as transformers loads them. 5.23 cannot load asymmetric grids: it expects zero points that are not packed."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model(torch.zeros(1, 1, dtype=torch.long))  # the first use decompresses
    return {name: weight for name, weight in model.named_parameters() if name.endswith(("weight", "bias"))}


def rule_of(config: dict, module: str) -> dict | None:
    """What the config says of a module; nothing where it is not packed."""
    settings = {key: config[key] for key in ("bits", "group_size", "sym")}
    for pattern, override in config.get("dynamic", {}).items():
        sign, expression = pattern.split(":", 1)
        if re.match(expression, module):
            return None if sign == "-" else settings | override
    return settings


def numbers(words: np.ndarray, bits: int) -> np.ndarray:
    """Numbers of `bits` bits from the words of each row."""
    stream = np.unpackbits(np.ascontiguousarray(words).astype("<i4").view(np.uint8), axis=1, bitorder="little")
    fields = stream.reshape(len(words), -1, bits).astype(np.int64)
    return (fields << np.arange(bits)).sum(-1)


def by_numpy(folder: Path, config: dict, stored: dict) -> tuple[dict, dict]:
    weights, bits = {}, {}
    for name, tensor in stored.items():
        module, _, part = name.rpartition(".")
        if part == "qweight":
            rule = rule_of(config, module)
            of = {it: stored[f"{module}.{it}"].numpy() for it in ("qweight", "qzeros", "scales", "g_idx")}
            codes = numbers(of["qweight"].T, rule["bits"])  # [N, K]
            zeros = numbers(of["qzeros"], rule["bits"]).T  # [N, G]
            if config["checkpoint_format"] == "gptq":
                zeros = zeros + 1
            elif config["checkpoint_format"] != "gptq_v2":
                raise ValueError(config["checkpoint_format"])
            columns = codes.shape[1]
            group_size = columns if rule["group_size"] == -1 else rule["group_size"]
            assert (of["g_idx"] == np.arange(columns) // group_size).all(), name
            assert not rule["sym"] or (zeros == 1 << (rule["bits"] - 1)).all(), name
            scales = of["scales"].T.astype(np.float32)[:, of["g_idx"]]
            weight = (codes - zeros[:, of["g_idx"]]).astype(np.float32) * scales
            weights[f"{module}.weight"] = torch.from_numpy(weight)
            bits[module] = rule["bits"]
        elif part not in ("qzeros", "scales", "g_idx"):
            assert part != "weight" or "_proj" not in module or rule_of(config, module) is None, name
            weights[name] = tensor
    return weights, bits


def torn(config: dict, num_blocks: int) -> list[str]:
    """Fused modules that the rules do not treat as their parts, where these agree."""
    if config["quant_method"] != "gptq":
        return []
    found = []
    for block in range(num_blocks):
        for fused, parts in FUSED.items():
            module = f"model.layers.{block}.{fused}"
            parent = module.rpartition(".")[0]
            rules = [rule_of(config, f"{parent}.{part}") for part in parts]
            if all(rule == rules[0] for rule in rules) and rule_of(config, module) != rules[0]:
                found.append(module)
    return found


READERS = {"compressed-tensors": by_compressed_tensors, "gptq": by_numpy}


@torch.no_grad()
def answer(question: dict) -> dict:
    folder, plain = Path(question["folder"]), Path(question["plain"])
    config = json.loads((folder / "config.json").read_text())
    quantization = config["quantization_config"]
    assert quantization["quant_method"] == question["format"]
    stored, expected = load_file(folder / "model.safetensors"), load_file(plain / "model.safetensors")
    weights, bits = READERS[question["format"]](folder, quantization, stored)
    linear = {name.removesuffix(".weight") for name in expected if name.endswith("_proj.weight")}
    return {
        # Zero has two signs.
        "different": [name for name, weight in expected.items() if not torch.equal(weights[name].to(weight.dtype), weight)],
        "bits": bits,
        "dense": sorted(linear - bits.keys()),
        "torn": torn(quantization, config["num_hidden_layers"]),
    }


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(json.dumps([answer(question) for question in json.load(sys.stdin)]))
