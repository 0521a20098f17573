"""One block of SmolLM2-135M's shape through GPTQ or SparseGPT in plain PyTorch, as research code does it: a forward pass with hooks that
collect each layer's second moment, each layer compressed to each level column by column, and a forward pass with one level's weights.
Weights and inputs are random: the time does not depend on them. Prints CPU seconds.
Usage: one_block.py gptq|sparsegpt TOKENS THREADS bf16|f32"""

import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

LENGTH = 512
BITS = (2, 3, 4, 5, 6)
SPARSITIES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
GROUP = 64
COLUMNS = 128
DAMPING = 0.01


def main() -> None:
    method, tokens, threads, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=1, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=64, max_position_embeddings=2048, attn_implementation="sdpa", use_cache=False,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16 if kind == "bf16" else torch.float32).eval()
    block = model.model.layers[0]
    positions = torch.arange(LENGTH)[None]
    streams = [torch.randn(1, LENGTH, 576, dtype=model.dtype) for _ in range(tokens // LENGTH)]
    with torch.no_grad():
        rotary = model.model.rotary_emb(streams[0], positions)
        # Before the clock: what a first product sets up.
        block(streams[0], position_embeddings=rotary)
        start = time.process_time()
        build(block, streams, rotary, method)
        print(time.process_time() - start)


def build(block: torch.nn.Module, streams: list[torch.Tensor], rotary: tuple, method: str) -> None:
    layers = [layer for layer in block.modules() if isinstance(layer, torch.nn.Linear)]
    moments = {layer: torch.zeros(layer.in_features, layer.in_features) for layer in layers}

    def collect(layer: torch.nn.Linear, inputs: tuple, _: torch.Tensor) -> None:
        x = inputs[0].reshape(-1, layer.in_features).float()
        moments[layer].addmm_(x.T, x)

    hooks = [layer.register_forward_hook(collect) for layer in layers]
    for stream in streams:
        block(stream, position_embeddings=rotary)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        upper = factor(moments[layer])
        levels = BITS if method == "gptq" else SPARSITIES
        compressed = [sweep(layer.weight.float(), upper, method, level) for level in levels]
        layer.weight.copy_(compressed[len(levels) // 2])
    for stream in streams:
        stream.copy_(block(stream, position_embeddings=rotary)[0].reshape(stream.shape))


def factor(moment: torch.Tensor) -> torch.Tensor:
    """The upper Cholesky factor of the damped second moment's inverse."""
    moment.diagonal().add_(DAMPING * moment.diagonal().mean())
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(moment)), upper=True)


def sweep(weight: torch.Tensor, upper: torch.Tensor, method: str, level: float) -> torch.Tensor:
    """Columns in order, errors passed on within a block of columns at once and to later blocks by a product."""
    weight, done = weight.clone(), torch.zeros_like(weight)
    for first in range(0, weight.shape[1], COLUMNS):
        last = min(first + COLUMNS, weight.shape[1])
        part, inverse = weight[:, first:last].clone(), upper[first:last, first:last]
        errors = torch.zeros_like(part)
        if method == "sparsegpt":
            scores = (part / inverse.diagonal()).square()
            removed = scores <= scores.flatten().kthvalue(int(scores.numel() * level)).values
        for idx in range(last - first):
            column = part[:, idx]
            if method == "sparsegpt":
                fixed = column.masked_fill(removed[:, idx], 0.0)
            else:
                if idx % GROUP == 0:
                    group = part[:, idx : idx + GROUP]
                    least, most = group.amin(1).clamp(max=0), group.amax(1).clamp(min=0)
                    scale = (most - least) / (2**level - 1)
                    zero = (-least / scale).round()
                fixed = ((column / scale + zero).round().clamp(0, 2**level - 1) - zero) * scale
            done[:, first + idx] = fixed
            error = (column - fixed) / inverse[idx, idx]
            part[:, idx:] -= error[:, None] * inverse[idx, idx:]
            errors[:, idx] = error
        weight[:, last:] -= errors @ upper[first:last, last:]
    return done


if __name__ == "__main__":
    main()
