"""Candidate evaluation in plain PyTorch and transformers: forward pass of SmolLM2-135M's shape with a quarter of its
blocks left out, KL divergence to stored f32 logits with F.kl_div. Weights are random: the time does not depend on them.
Prints the median seconds of one candidate of 512 tokens. Usage: candidate.py THREADS REPEATS"""

import statistics
import sys
import time

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

DROPPED_BLOCKS = range(12, 19)


def main() -> None:
    threads, repeats = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=49152, tie_word_embeddings=True, max_position_embeddings=2048, attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    tokens = torch.randint(0, 49152, (1, 512))
    with torch.no_grad():
        target = model(tokens, use_cache=False).logits.float()
        kept = [layer for idx, layer in enumerate(model.model.layers) if idx not in DROPPED_BLOCKS]
        model.model.layers = torch.nn.ModuleList(kept)
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            logits = model(tokens, use_cache=False).logits.float()
            divergence = F.kl_div(
                logits[0, :-1].log_softmax(-1), target[0, :-1].log_softmax(-1), log_target=True, reduction="batchmean"
            )
            assert divergence.item() > 0
            seconds.append(time.perf_counter() - start)
    print(statistics.median(seconds[1:]))


if __name__ == "__main__":
    main()
