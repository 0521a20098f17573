"""What PyPI's gguf makes of GGUF files, held against the same model as a folder in f32 and against a level database.

In on stdin: a JSON list of questions
    {"file", "folder", "database": FOLDER or null, "levels": {layer: level}}
Out on stdout, for each:
    {"metadata": {key: value} of all but arrays, "types": {tensor of the folder: its type in the file}, "different": [tensor, …] that are not the
     folder's bit for bit once de-quantized, "blocks": how many tensors are byte for byte the database's, "other_blocks": [tensor, …] that are not,
     "by_block": {key: [number, …]} of the architecture's arrays, "absent": [tensor, …] of the folder that the file goes without}
Tensors of a half of a block whose output projection is zeros in the folder do nothing: in the file they are zeros, of any shape, or not there.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fixtures"))
from common import gguf_name, permute, unpermute  # noqa: E402


HALVES = {"self_attn.o_proj.weight": ("self_attn.", "input_layernorm."), "mlp.down_proj.weight": ("mlp.", "post_attention_layernorm.")}


def heads(name: str, fields: dict) -> int | None:
    """Heads whose rows are in another order in the file."""
    keys = {".q_proj.": "attention.head_count", ".k_proj.": "attention.head_count_kv"}
    for part, key in keys.items():
        if part in name:
            return int(np.max(fields[f"{fields['general.architecture']}.{key}"]))
    return None


def idle_tensors(folder: dict) -> set[str]:
    """Tensors of halves of blocks that add nothing."""
    idle = set()
    for name, weight in folder.items():
        for output, halves in HALVES.items():
            if name.endswith(output) and not weight.any():
                block = name.removesuffix(output)
                idle |= {other for other in folder if other.startswith(tuple(block + half for half in halves))}
    return idle


def floats(tensor) -> np.ndarray:
    """A tensor of the file in f32, rows first."""
    shape = [int(extent) for extent in reversed(tensor.shape)]
    return gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)


def answer(question: dict) -> dict:
    reader = gguf.GGUFReader(question["file"])
    fields = {key: field.contents() for key, field in reader.fields.items()}
    metadata = {key: value for key, value in fields.items() if not isinstance(value, list)}
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    folder = load_file(Path(question["folder"]) / "model.safetensors") if question["folder"] else {}
    types, different, absent = {}, [], []
    idle = idle_tensors(folder)
    for name, expected in folder.items():
        if name in idle and gguf_name(name) not in tensors:
            absent.append(name)
            continue
        tensor = tensors.pop(gguf_name(name))
        types[name] = tensor.tensor_type.name
        found = floats(tensor)
        if name in idle and "_proj." in name:
            if found.any():
                different.append(name)
            continue
        if heads(name, fields):
            found = unpermute(found, heads(name, fields))
        # Zero has two signs.
        if not np.array_equal(found, expected.to(torch.float32).numpy()):
            different.append(name)
    assert not folder or not tensors, f"the folder lacks {list(tensors)}"
    same, other = 0, []
    for layer, level in question["levels"].items() if question["database"] else []:
        blocks = load_file(Path(question["database"]) / f"{layer}.safetensors")[f"{level}/blocks"].numpy()
        if heads(f"{layer}.", fields):
            blocks = permute(blocks, heads(f"{layer}.", fields))
        tensor = next(it for it in reader.tensors if it.name == gguf_name(f"{layer}.weight"))
        if tensor.tensor_type.name == level and blocks.tobytes() == tensor.data.tobytes():
            same += 1
        else:
            other.append(layer)
    prefix = f"{fields['general.architecture']}."
    by_block = {key: list(map(int, value)) for key, value in fields.items() if key.startswith(prefix) and isinstance(value, list)}
    return {
        "metadata": metadata, "types": types, "different": different, "blocks": same, "other_blocks": other,
        "by_block": by_block, "absent": absent,
    }


if __name__ == "__main__":
    print(json.dumps([answer(question) for question in json.load(sys.stdin)], default=str))
