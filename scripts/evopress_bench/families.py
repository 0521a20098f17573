"""What the benchmark of families runs: for each a released model, of which a few blocks are left and the vocabulary by the same factor, so that the
head keeps its share of the work. Only Mixtral's widths are halved too: one of its blocks has 1.4 billion weights.
"""

FULL, WINDOWED = "full_attention", "sliding_attention"


def cut(model_type: str, released: str, blocks: tuple[int, int], heads: tuple[int, int, int], sizes: tuple[int, int, int], **settings) -> dict:
    """`blocks` that are left and that there are; query heads, key heads and their width; widths of the model and its MLPs, and the vocabulary."""
    (left, num_blocks), (num_heads, num_key_heads, head_dim), (width, mlp_width, vocabulary) = blocks, heads, sizes
    config = dict(
        model_type=model_type, num_hidden_layers=left, num_attention_heads=num_heads, num_key_value_heads=num_key_heads, head_dim=head_dim,
        hidden_size=width, intermediate_size=mlp_width, vocab_size=vocabulary * left // num_blocks, max_position_embeddings=4096,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config |= settings
    return {"released": released, "blocks": left, "config": config}


FAMILIES = {
    "llama": cut("llama", "Llama 3.2 1B", (2, 16), (32, 8, 64), (2048, 8192, 128256), tie_word_embeddings=True),
    "mistral": cut("mistral", "Mistral 7B", (1, 32), (32, 8, 128), (4096, 14336, 32768), sliding_window=None, tie_word_embeddings=False),
    "ministral": cut(
        "ministral", "Ministral 8B", (1, 36), (32, 8, 128), (4096, 12288, 131072), sliding_window=4096, layer_types=[WINDOWED],
        tie_word_embeddings=False,
    ),
    "ministral3": cut("ministral3", "Ministral 3 3B", (1, 26), (32, 8, 128), (3072, 9216, 131072), tie_word_embeddings=True),
    "phi3": cut("phi3", "Phi-3.5 mini", (1, 32), (32, 32, 96), (3072, 8192, 32064), sliding_window=None, tie_word_embeddings=False),
    "qwen2": cut("qwen2", "Qwen2.5 0.5B", (6, 24), (14, 2, 64), (896, 4864, 151936), tie_word_embeddings=True),
    "qwen3": cut("qwen3", "Qwen3 0.6B", (7, 28), (16, 8, 128), (1024, 3072, 151936), tie_word_embeddings=True),
    "gemma2": cut(
        "gemma2", "Gemma 2 2B", (2, 26), (8, 4, 256), (2304, 9216, 256000), query_pre_attn_scalar=256, sliding_window=4096,
        attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
    ),
    "gemma3": cut(
        "gemma3_text", "Gemma 3 270M", (6, 18), (4, 1, 256), (640, 2048, 262144), query_pre_attn_scalar=256, sliding_window=512,
        layer_types=[WINDOWED] * 5 + [FULL],
    ),
    "smollm3": cut("smollm3", "SmolLM3 3B", (2, 36), (16, 4, 128), (2048, 11008, 128256), no_rope_layers=[1, 0], tie_word_embeddings=True),
    "olmo2": cut("olmo2", "OLMo 2 1B", (2, 16), (16, 16, 128), (2048, 8192, 100352), tie_word_embeddings=False),
    "olmo3": cut(
        "olmo3", "OLMo 3 7B", (1, 32), (32, 32, 128), (4096, 11008, 100278), sliding_window=4096, layer_types=[WINDOWED], tie_word_embeddings=False,
    ),
    "granite": cut(
        "granite", "Granite 3.3 2B", (2, 40), (32, 8, 64), (2048, 8192, 49152), embedding_multiplier=12.0, attention_multiplier=0.015625,
        residual_multiplier=0.22, logits_scaling=8.0, tie_word_embeddings=True,
    ),
    "mixtral": cut(
        "mixtral", "Mixtral 8x7B, half as wide", (1, 32), (16, 4, 128), (2048, 7168, 32000), num_local_experts=8, num_experts_per_tok=2,
        sliding_window=None, tie_word_embeddings=False,
    ),
    "qwen2_moe": cut(
        "qwen2_moe", "Qwen1.5-MoE-A2.7B", (1, 24), (16, 16, 128), (2048, 5632, 151936), num_experts=60, num_experts_per_tok=4,
        moe_intermediate_size=1408, shared_expert_intermediate_size=5632, norm_topk_prob=False, tie_word_embeddings=False,
    ),
    "qwen3_moe": cut(
        "qwen3_moe", "Qwen3-30B-A3B", (1, 48), (32, 4, 128), (2048, 6144, 151936), num_experts=128, num_experts_per_tok=8,
        moe_intermediate_size=768, norm_topk_prob=True, tie_word_embeddings=False,
    ),
    "olmoe": cut(
        "olmoe", "OLMoE 1B-7B", (1, 16), (16, 16, 128), (2048, 1024, 50304), num_experts=64, num_experts_per_tok=8, tie_word_embeddings=False,
    ),
    "granitemoe": cut(
        "granitemoe", "Granite 3 1B-A400M", (4, 24), (16, 8, 64), (1024, 512, 49152), num_local_experts=32, num_experts_per_tok=8,
        embedding_multiplier=12.0, attention_multiplier=0.015625, residual_multiplier=0.22, logits_scaling=6.0, tie_word_embeddings=True,
    ),
}  # fmt: skip
HAS_EXPERTS = ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "granitemoe")
# The head of Gemma 2 2B below one block, with its cap and without: what the cap costs.
HEADS = {
    name: cut(
        "gemma2", "Gemma 2 2B's head", (1, 1), (8, 4, 256), (2304, 9216, 256000 // 4), query_pre_attn_scalar=256, sliding_window=4096,
        attn_logit_softcapping=50.0, final_logit_softcapping=cap,
    )
    for name, cap in (("capped head", 30.0), ("plain head", None))
}  # fmt: skip
