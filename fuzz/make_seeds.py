#!/usr/bin/env python3
"""Writes the inputs that the corpus began with: files of `tests/fixtures`, most of them without the weights' bytes, and small
ones of kinds that no fixture is of. `make fuzz` finds more from there. Needs Python's standard library.

    fuzz/make_seeds.py            into fuzz/corpus
"""

import json
import re
import struct
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
FIXTURES = FUZZ.parent / "tests/fixtures"
# In the order of `CONFIGS` in inputs/src/safetensors.rs.
WEIGHTS = [
    "models/gqa-tied", "models/biased", "families/phi3", "families/gemma3-nested", "experts/granitemoe", "quantized/awq",
    "quantized/fbgemm-fp8", "quantized/float-quantized", "quantized/fp8-blocks", "quantized/fp8-tensors", "quantized/gptq-8bit",
    "quantized/gptq-act-order", "quantized/gptq-rows", "quantized/int-quantized", "quantized/pack-act-order",
    "quantized/pack-mixed", "quantized/pack-quantized", "experts/qwen2-moe",
]
U8, U16, U32, I32, F32, BOOL, STRING, ARRAY, U64 = 0, 2, 4, 5, 6, 7, 8, 9, 10
PRE_TOKENIZERS = ["default", "gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "gpt-4o", "tekken", "falcon", "deepseek-coder"]


def main() -> None:
    """All seeds, by kind."""
    for kind in (config, gguf, gguf_tokenizer, index, quantized, safetensors, spec, tokenizer):
        folder = FUZZ / "corpus" / kind.__name__
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in kind():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def config():
    """config.json of every fixture, and forms that they lack."""
    for file in sorted(FIXTURES.glob("*/*/config.json")):
        yield "-".join(file.parts[-3:-1]), json.dumps(json.loads(file.read_text()), indent=None)
    llama = json.loads((FIXTURES / "models/gqa-tied/config.json").read_text())
    scaling = {
        "linear": {"rope_type": "linear", "factor": 2.0},
        "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1},
        "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 64},
        "longrope": {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "factor": 2.0},
    }
    for name, settings in scaling.items():
        yield f"rope-{name}", json.dumps({**llama, "rope_scaling": settings})
        yield f"rope-parameters-{name}", json.dumps({**llama, "rope_parameters": {"rope_theta": 1e4, **settings}})
    yield "python", "\ufeff" + json.dumps({**llama, "pad_token_id": -1, "eos_token_id": [1, None], "x": float("nan"), "hidden_size": 32.0})
    yield "reduced", json.dumps({
        **llama, "model_type": "nemotron-nas", "architectures": ["DeciLMForCausalLM"],
        "block_configs": [
            {"attention": {"n_heads_in_group": 2, "no_op": False, "replace_with_linear": False},
             "ffn": {"ffn_mult": 2.0, "no_op": False, "replace_with_linear": False}}
        ] * llama["num_hidden_layers"],
    })


def string(text):
    """A text as GGUF has it."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, content):
    """A value of metadata, with its type."""
    if isinstance(content, list):
        return struct.pack("<IIQ", ARRAY, kind, len(content)) + b"".join(value(kind, item)[4:] for item in content)
    codes = {U8: "<B", U16: "<H", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q"}
    return struct.pack("<I", kind) + (string(content) if kind == STRING else struct.pack(codes[kind], content))


def gguf_file(entries, tensors):
    """The header of a file; tensors are `(name, shape, ggml type)`, all as long as floats are."""
    data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries))
    data += b"".join(string(key) + value(kind, content) for key, kind, content in entries)
    offset = 0
    for name, shape, kind in tensors:
        data += string(name) + struct.pack("<I", len(shape))
        data += b"".join(struct.pack("<Q", extent) for extent in reversed(shape)) + struct.pack("<IQ", kind, offset)
        numbers = 4
        for extent in shape:
            numbers *= extent
        offset += -(-numbers // 32) * 32
    return data + bytes(-len(data) % 32)


def gguf_model(architecture, more=(), norms=("attn_norm", "ffn_norm"), hidden=8, kind=0, head=True, extra=(), mlp=True, qkv=False):
    """A model of one block and four tokens."""
    key = f"{architecture}."
    shared = ("general", "split", "tokenizer")
    half = hidden // 2
    entries = [
        ("general.architecture", STRING, architecture), (key + "block_count", U32, 1), (key + "context_length", U32, 64),
        (key + "embedding_length", U32, hidden), (key + "feed_forward_length", U32, hidden),
        (key + "attention.head_count", U32, 2), (key + "attention.head_count_kv", U32, 1),
        (key + "attention.layer_norm_rms_epsilon", F32, 1e-5), (key + "attention.key_length", U32, half),
        (key + "attention.value_length", U32, half),
        # No rules of cutting a text into words, whose regular expressions take a millisecond.
        ("tokenizer.ggml.model", STRING, "llama"), ("tokenizer.ggml.scores", F32, [-1.0, -2.0, -0.5, 0.0]),
        ("tokenizer.ggml.tokens", STRING, ["a", "b", "ab", "</s>"]), ("tokenizer.ggml.token_type", I32, [1, 1, 1, 3]),
        ("tokenizer.ggml.eos_token_id", U32, 3), ("tokenizer.ggml.bos_token_id", U32, 3),
    ]
    more = [(name if name.startswith(shared) else key + name, *rest) for name, *rest in more]
    entries = [entry for entry in entries if entry[0] not in {name for name, *_ in more}] + more
    # OLMo's norms of queries and keys are of all heads together.
    widths = {"attn_q_norm": half, "attn_k_norm": half} | ({"attn_q_norm": hidden} if architecture.startswith("olmo") else {})
    block = [(f"{norm}.weight", [widths.get(norm, hidden)], 0) for norm in norms]
    inputs = [("attn_qkv.weight", [2 * hidden, hidden], kind)] if qkv else [
        ("attn_q.weight", [hidden, hidden], kind), ("attn_k.weight", [half, hidden], kind), ("attn_v.weight", [half, hidden], kind)
    ]
    block += [*inputs, ("attn_output.weight", [hidden, hidden], kind)]
    if mlp:
        up = [("ffn_up.weight", [2 * hidden, hidden], kind)] if qkv else [
            ("ffn_gate.weight", [hidden, hidden], kind), ("ffn_up.weight", [hidden, hidden], kind)
        ]
        block += [*up, ("ffn_down.weight", [hidden, hidden], kind)]
    tensors = [(f"blk.0.{name}", *rest) for name, *rest in block] + list(extra)
    tensors += [("token_embd.weight", [4, hidden], 0), ("output_norm.weight", [hidden], 0)]
    tensors += [("output.weight", [4, hidden], 0)] if head else []
    # Divisors of frequencies come first: `gguf` of inputs/src has ones there.
    tensors.sort(key=lambda tensor: not tensor[0].startswith("rope"))
    return gguf_file(entries, tensors)


def gguf():
    """A small model of each architecture, and forms that some have."""
    yield "llama", gguf_model("llama")
    yield "llama-divisors", gguf_model("llama", extra=[("rope_freqs.weight", [2], 0)])
    yield "llama-linear", gguf_model("llama", [("rope.scaling.type", STRING, "linear"), ("rope.scaling.factor", F32, 2.0)])
    yield "llama-yarn", gguf_model(
        "llama",
        [("rope.scaling.type", STRING, "yarn"), ("rope.scaling.factor", F32, 4.0), ("rope.scaling.original_context_length", U32, 16)],
    )
    yield "alignment", gguf_model("llama", [("general.alignment", U32, 64), ("general.file_type", U32, 1), ("vocab_size", U32, 4)])
    yield "split", gguf_model(
        "llama", [("split.no", U16, 0), ("split.count", U16, 2), ("split.tensors.count", I32, 12)], head=False
    )
    for kind, name in ((8, "q8_0"), (2, "q4_0"), (20, "iq4_nl")):
        yield f"llama-{name}", gguf_model("llama", hidden=32, kind=kind)
    yield "llama-q4_k", gguf_model("llama", hidden=256, kind=12)
    yield "qwen2", gguf_model(
        "qwen2", extra=[(f"blk.0.attn_{name}.bias", [width], 0) for name, width in (("q", 8), ("k", 4), ("v", 4))]
    )
    heads = ("attn_q_norm", "attn_k_norm")
    windows = [("attention.sliding_window", U32, 16)]
    yield "qwen3", gguf_model("qwen3", norms=("attn_norm", "ffn_norm", *heads))
    four = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
    caps = [("attn_logit_softcapping", F32, 50.0), ("final_logit_softcapping", F32, 30.0)]
    yield "gemma2", gguf_model("gemma2", windows + caps, norms=four, head=False)
    yield "gemma3", gguf_model("gemma3", [*windows, ("rope.freq_base_swa", F32, 1e4)], norms=(*four, *heads), head=False)
    yield "smollm3", gguf_model("smollm3")
    yield "granite", gguf_model(
        "granite",
        [("attention.scale", F32, 0.5), ("embedding_scale", F32, 2.0), ("residual_scale", F32, 0.5), ("logit_scale", F32, 8.0)],
    )
    experts = [("expert_count", U32, 2), ("expert_used_count", U32, 1), ("expert_feed_forward_length", U32, 8)]
    stacked = [
        ("blk.0.ffn_gate_inp.weight", [2, 8], 0), ("blk.0.ffn_gate_exps.weight", [2, 8, 8], 0),
        ("blk.0.ffn_up_exps.weight", [2, 8, 8], 0), ("blk.0.ffn_down_exps.weight", [2, 8, 8], 0),
    ]
    two = ("attn_norm", "ffn_norm")
    for architecture, norms in (("qwen3moe", (*two, *heads)), ("olmoe", (*two, *heads)), ("granitemoe", two), ("llama", two)):
        yield f"experts-{architecture}", gguf_model(architecture, experts, norms=norms, extra=stacked, mlp=False)
    shared = [(f"blk.0.ffn_{name}_shexp.weight", [8, 8], 0) for name in ("gate", "up", "down")]
    shared += [("blk.0.ffn_gate_inp_shexp.weight", [8], 0)]
    shared += [(f"blk.0.attn_{name}.bias", [width], 0) for name, width in (("q", 8), ("k", 4), ("v", 4))]
    yield "experts-qwen2moe", gguf_model(
        "qwen2moe", [*experts, ("expert_shared_feed_forward_length", U32, 8)], extra=[*stacked, *shared], mlp=False
    )
    yield "olmo2", gguf_model("olmo2", norms=("post_attention_norm", "post_ffw_norm", *heads))
    yield "phi3", gguf_model("phi3", [("rope.dimension_count", U32, 4)], qkv=True)
    lists = [("attention.head_count", U32, [2]), ("attention.head_count_kv", U32, [1]), ("feed_forward_length", U32, [8])]
    yield "deci", gguf_model("deci", lists)


def gguf_tokenizer():
    """Both kinds of tokenizer, with each rule of cutting a text into words."""
    byte_level = {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": ["a", "b", "ab", "Ġ", "Ġa", "1", "Ċ", "<s>", "</s>", "<tool>"],
        "tokenizer.ggml.token_type": [1, 1, 1, 1, 1, 1, 1, 3, 3, 4], "tokenizer.ggml.merges": ["a b", "Ġ a"],
        "tokenizer.ggml.bos_token_id": 7, "tokenizer.ggml.eos_token_id": 8, "tokenizer.ggml.add_bos_token": True,
    }
    for name in PRE_TOKENIZERS:
        yield name, json.dumps({**byte_level, "tokenizer.ggml.pre": name}, ensure_ascii=False)
    template = {"tokenizer.chat_template": "{{ messages }}", "tokenizer.ggml.eot_token_id": 9, "tokenizer.ggml.padding_token_id": 8}
    yield "template", json.dumps({**byte_level, **template, "tokenizer.ggml.add_eos_token": True}, ensure_ascii=False)
    sentence_piece = {
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "<0x0A>", "<0x20>", "▁", "a", "b", "ab", "▁a", "▁ab"],
        "tokenizer.ggml.scores": [0.5, 0.5, 0.5, 0.5, 0.5, -1.5, -2.5, -3.5, -1.25, -2.25, -3.25],
        "tokenizer.ggml.token_type": [2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1], "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
    }
    yield "sentence-piece", json.dumps(sentence_piece, ensure_ascii=False)
    yield "no-prefix", json.dumps({**sentence_piece, "tokenizer.ggml.add_space_prefix": False}, ensure_ascii=False)


def index():
    """Indices of the two fixtures that have one."""
    for name in ("multi-query", "llama3"):
        text = (FIXTURES / "models" / name / "model.safetensors.index.json").read_text()
        yield name, json.dumps(json.loads(text))
    files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    yield "short", json.dumps({"metadata": {"total_size": 1.0}, "weight_map": {"model.norm.weight": files[1], "lm_head.weight": files[0]}})


def quantized():
    """Settings and tensors of the fixtures."""
    for folder in sorted((FIXTURES / "quantized").iterdir()):
        data = (folder / "model.safetensors").read_bytes()
        start = 8 + struct.unpack("<Q", data[:8])[0]
        tensors = json.loads(data[8:start])
        tensors.pop("__metadata__", None)
        described = {}
        for name, tensor in tensors.items():
            begin, end = tensor["data_offsets"]
            described[name] = [tensor["dtype"], tensor["shape"]]
            if tensor["dtype"] == "I64":
                described[name].append(struct.unpack(f"<{(end - begin) // 8}q", data[start + begin : start + end]))
        config = json.loads((folder / "config.json").read_text())
        seed = {"quantization_config": config["quantization_config"], "tensors": described}
        yield folder.name, json.dumps(seed, separators=(",", ":"))


def shapes_first(header, data):
    """The header without the data of tensors, but for those that say a shape, which come first."""
    tensors = json.loads(header)
    shapes = [name for name in tensors if name.endswith("weight_shape")]
    kept, end = b"", 0
    for name in sorted(tensors, key=lambda name: name not in shapes):
        if name != "__metadata__":
            start, stop = tensors[name]["data_offsets"]
            kept += data[start:stop] if name in shapes else b""
            tensors[name]["data_offsets"] = [end, end + stop - start]
            end += stop - start
    header = json.dumps(tensors, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header)) + header + kept


def safetensors():
    """Headers of fixtures, and one whole file."""
    for number, name in enumerate(WEIGHTS):
        data = (FIXTURES / name / "model.safetensors").read_bytes()
        length = 8 + struct.unpack("<Q", data[:8])[0]
        yield name.replace("/", "-"), bytes([number]) + shapes_first(data[8:length], data[length:])
    header = json.dumps({"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    yield "small", b"\0" + struct.pack("<Q", len(header)) + header + bytes(8)


def spec():
    """The pipelines of this repository, whose files are all in one folder."""
    for file in sorted((FUZZ.parent / "pipelines").glob("*.yaml")):
        text = re.sub(r"\b(models|text)/", "", file.read_text())
        yield file.stem, re.sub(r"(gemma|Qwen)[\w.-]*\.gguf", "SmolLM2-135M-Instruct.gguf", text)


def tokenizer():
    """Each part of a tokenizer.json that the library knows, at least once."""
    for name in ("models/gqa-tied",):
        yield name.replace("/", "-"), json.dumps(json.loads((FIXTURES / name / "tokenizer.json").read_text()))
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    base = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [{"id": 3, "content": "<s>", **added}],
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<s>": 3}, "merges": [["a", "b"]]},
    }

    def seed(**parts):
        return json.dumps({**base, **parts}, ensure_ascii=False)

    models = {
        "unigram": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["▁", -2.0], ["a", -1.5]], "byte_fallback": False},
        "word-piece": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                       "vocab": {"[UNK]": 0, "a": 1, "##b": 2}},
        "word-level": {"type": "WordLevel", "vocab": {"a": 0, "The": 1}, "unk_token": "a"},
        "bpe": {"type": "BPE", "dropout": 0.1, "unk_token": "a", "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": True,
                "byte_fallback": True, "ignore_merges": True, "vocab": {"a": 0, "b": 1, "<0x0A>": 2}, "merges": ["a a"][:0]},
    }
    for name, model in models.items():
        yield name, seed(model=model)
    normalizers = [
        {"type": "NFC"}, {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True},
        {"type": "StripAccents"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"}, {"type": "Nmt"}, {"type": "ByteLevel"},
        {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        {"type": "Precompiled", "precompiled_charsmap": "AAQAAAAAAAA="},
    ]
    for number, normalizer in enumerate(normalizers):
        yield f"normalizer-{number}", seed(normalizer=normalizer)
    yield "normalizers", seed(normalizer={"type": "Sequence", "normalizers": normalizers[:4]})
    pre_tokenizers = [
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, {"type": "Whitespace"},
        {"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Digits", "individual_digits": True},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}, {"type": "BertPreTokenizer"},
        {"type": "CharDelimiterSplit", "delimiter": "a"}, {"type": "UnicodeScripts"}, {"type": "FixedLength", "length": 5},
        {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}|(?=x)"}, "behavior": "MergedWithPrevious", "invert": False},
    ]
    for number, pre_tokenizer in enumerate(pre_tokenizers):
        yield f"pre-tokenizer-{number}", seed(pre_tokenizer=pre_tokenizer)
    yield "pre-tokenizers", seed(pre_tokenizer={"type": "Sequence", "pretokenizers": pre_tokenizers[4::-4]})
    piece = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text, pair = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    template = {"type": "TemplateProcessing", "single": [piece, text], "pair": [piece, text, pair],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}}}
    post_processors = [
        template, {"type": "BertProcessing", "sep": ["<s>", 3], "cls": ["<s>", 3]},
        {"type": "RobertaProcessing", "sep": ["<s>", 3], "cls": ["<s>", 3], "trim_offsets": True, "add_prefix_space": True},
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {"type": "Sequence", "processors": [template]},
    ]
    for number, post_processor in enumerate(post_processors):
        yield f"post-processor-{number}", seed(post_processor=post_processor)
    padding = {"strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 1, "pad_type_id": 0, "pad_token": "b"}
    truncation = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    yield "batches", seed(padding=padding, truncation=truncation)
    small = [{"add_bos_token": True, "bos_token": "<s>", "chat_template": [{"name": "default", "template": "x"}]},
             {"bos_token": {"content": "<s>"}}, {"eos_token_id": [1, 2], "temperature": float("inf")}]
    yield "files", "\n%%%\n".join([seed(pre_tokenizer=pre_tokenizers[0]), *map(json.dumps, small)])


if __name__ == "__main__":
    main()
