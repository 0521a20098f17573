"""llama.cpp's importance matrix of a GGUF model: the mean square of each layer's inputs over some tokens, by transformers."""

from pathlib import Path

import numpy as np

# llama.cpp's names of a block's linear layers by Hugging Face's.
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def importance_matrix(model_file: Path, ids: list[int], sequence_length: int, out: Path) -> dict[str, np.ndarray]:
    """By llama.cpp's tensor name. Kept in `out`, an .npz file."""
    if out.exists():
        return dict(np.load(out))
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_file.parent, gguf_file=model_file.name, dtype=torch.float32)
    sums: dict[str, torch.Tensor] = {}

    def watch(name: str, layer: torch.nn.Module) -> None:
        def add(_, inputs) -> None:
            squares = inputs[0].double().square().sum(dim=(0, 1))
            sums[name] = sums.get(name, 0) + squares

        layer.register_forward_pre_hook(add)

    for block_idx, block in enumerate(model.model.layers):
        for ours, theirs in NAMES.items():
            watch(f"blk.{block_idx}.{theirs}.weight", block.get_submodule(ours))
    with torch.no_grad():
        for start in range(0, len(ids), sequence_length):
            model.model(torch.tensor([ids[start : start + sequence_length]]))
    found = {name: (squares / len(ids)).float().numpy() for name, squares in sums.items()}
    np.savez(out, **found)
    return found
