"""What others make of folders with packed weights, held against the same model as a plain folder.

In on stdin: a JSON list of questions
    {"format": "compressed-tensors" | "gptq", "folder", "plain": FOLDER of the same run in the format `huggingface`}
Out on stdout, for each:
    {"different": [tensor, …] that are not the plain folder's bit for bit in its dtype, "bits": {module: bits of its packed weight},
     "dense": [linear module of a block that is not packed, …], "torn": [fused module whose parts agree and that is not told the same, …]}

compressed-tensors is read by the unmodified package, and where all grids are symmetric through unmodified transformers
too. GPTQ checkpoints are unpacked by AutoRound's layers for the CPU, unmodified, too. Which layer has which grid is
read here from what GPTQModel documents of its `dynamic` rules: the first one counts whose regular expression matches at
the start of a module's name, `-:` for modules that are not packed.
"""

import json
import os
import re
import sys
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

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


def by_auto_round(folder: Path, config: dict, stored: dict) -> tuple[dict, dict]:
    from auto_round_extension.torch import qlinear_torch, qlinear_torch_zp

    # The first format stores zero points less one.
    layers = {"gptq": qlinear_torch_zp.QuantLinear, "gptq_v2": qlinear_torch.QuantLinear}
    weights, bits = {}, {}
    for name, tensor in stored.items():
        module, _, part = name.rpartition(".")
        if part == "qweight":
            rule = rule_of(config, module)
            of = {it: stored[f"{module}.{it}"] for it in ("qweight", "qzeros", "scales", "g_idx")}
            columns, rows = of["g_idx"].numel(), of["scales"].shape[1]
            group_size = columns if rule["group_size"] == -1 else rule["group_size"]
            assert torch.equal(of["g_idx"].long(), torch.arange(columns) // group_size), name
            layer = layers[config["checkpoint_format"]](rule["bits"], group_size, columns, rows, bias=False)
            layer.qweight, layer.qzeros, layer.scales = of["qweight"], of["qzeros"], of["scales"].float()
            weights[f"{module}.weight"] = layer(torch.eye(columns)).T
            bits[module] = rule["bits"]
            if rule["sym"]:
                # Codes of 0 and scales of 1 show the zero points, which are the middle of the codes.
                layer.qweight, layer.scales = torch.zeros_like(layer.qweight), torch.ones_like(layer.scales)
                assert (layer(torch.eye(columns)) == -(1 << rule["bits"] - 1)).all(), name
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


READERS = {"compressed-tensors": by_compressed_tensors, "gptq": by_auto_round}


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
