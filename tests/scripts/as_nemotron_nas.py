"""What folders in the layout of Nemotron-NAS (DeciLM) are, read without any code of ours but the config class that they bring.

In on stdin: a JSON list of questions
    {"folder", "plain": FOLDER of the same run in the format `huggingface`, "text": FILE, "tokens", "sequence_length"}
Out on stdout, for each:
    {"perplexity", "blocks": [[whether there is an attention, whether there is an MLP], …],
     "difference": of the reader's logits from those of transformers on the plain folder, at most, relative to their mean square's root,
     "transformers": {"class", "difference": the same of transformers on this folder, "greedy": whether it goes on with the plain folder's tokens}}

vLLM does not install on a machine without a GPU. The reader below computes what
vllm/model_executor/models/nemotron_nas.py does (as of November 2026; SGLang's file of the same name agrees): the config
comes through transformers' AutoConfig with `trust_remote_code`; `block.attention.no_op` and `block.ffn.no_op` say what
a block has; `num_attention_heads / n_heads_in_group` are its key and value heads; `int(2 · ffn_mult · hidden_size /
3)`, rounded up to a multiple of 256, is the width of its MLP. What a layer adds waits beside the residual stream until
the next norm takes both, so the first norm begins the stream, and a block without an attention cannot be the first. A
tensor that no layer has a place for, and a layer without its tensors, are errors.
"""

import copy
import json
import os
import pickle
import sys
import tempfile
from pathlib import Path

MODULES = tempfile.TemporaryDirectory()
os.environ["HF_MODULES_CACHE"] = MODULES.name
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy, linear, scaled_dot_product_attention, silu
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

PROMPT, GREEDY = 16, 8


class Weights:
    """Tensors by name in f32, each to be taken once."""

    def __init__(self, folder: Path):
        self.left = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}

    def take(self, name: str, *shape: int) -> torch.Tensor:
        tensor = self.left.pop(name)
        assert tensor.shape == shape, f"{name} is {tuple(tensor.shape)}, the config says {shape}"
        return tensor

    def linear(self, name: str, rows: int, columns: int, has_bias: bool):
        return self.take(f"{name}.weight", rows, columns), self.take(f"{name}.bias", rows) if has_bias else None


class Norm:
    def __init__(self, weights: Weights, name: str, config):
        self.weight, self.epsilon = weights.take(f"{name}.weight", config.hidden_size), config.rms_norm_eps

    def __call__(self, hidden, residual=None):
        """The norm of what is in the stream; with a residual the stream too, as vLLM's fused norm."""
        stream = hidden if residual is None else hidden + residual
        normed = self.weight * stream * torch.rsqrt(stream.square().mean(-1, keepdim=True) + self.epsilon)
        return normed if residual is None else (normed, stream)


def turn(heads: torch.Tensor, theta: float) -> torch.Tensor:
    """Rotary embedding of [heads, tokens, width], halves against each other."""
    _, tokens, width = heads.shape
    frequencies = theta ** -(torch.arange(0, width, 2).float() / width)
    angles = torch.outer(torch.arange(tokens).float(), frequencies)
    cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
    first, second = heads.chunk(2, -1)
    return heads * cos + torch.cat([-second, first], -1) * sin


class Attention:
    def __init__(self, weights: Weights, name: str, config, block):
        hidden, width, bias = config.hidden_size, config.head_dim, config.attention_bias
        self.heads = config.num_attention_heads
        self.kv_heads = self.heads // block.attention.n_heads_in_group
        assert config.rope_parameters["rope_type"] == "default"
        self.theta = config.rope_parameters["rope_theta"]
        self.q = weights.linear(f"{name}.q_proj", self.heads * width, hidden, bias)
        self.k = weights.linear(f"{name}.k_proj", self.kv_heads * width, hidden, bias)
        self.v = weights.linear(f"{name}.v_proj", self.kv_heads * width, hidden, bias)
        self.o = weights.linear(f"{name}.o_proj", hidden, self.heads * width, bias)

    def __call__(self, hidden):
        def split(projection, heads):
            return linear(hidden, *projection).view(len(hidden), heads, -1).transpose(0, 1)

        q, k, v = split(self.q, self.heads), split(self.k, self.kv_heads), split(self.v, self.kv_heads)
        q, k = turn(q, self.theta), turn(k, self.theta)
        k, v = (it.repeat_interleave(self.heads // self.kv_heads, 0) for it in (k, v))
        mixed = scaled_dot_product_attention(q, k, v, is_causal=True)
        return linear(mixed.transpose(0, 1).reshape(len(hidden), -1), *self.o)


class Mlp:
    def __init__(self, weights: Weights, name: str, config, block):
        width = int(2 * block.ffn.ffn_mult * config.hidden_size / 3)
        width += -width % 256
        self.gate = weights.linear(f"{name}.gate_proj", width, config.hidden_size, config.mlp_bias)
        self.up = weights.linear(f"{name}.up_proj", width, config.hidden_size, config.mlp_bias)
        self.down = weights.linear(f"{name}.down_proj", config.hidden_size, width, config.mlp_bias)

    def __call__(self, hidden):
        return linear(silu(linear(hidden, *self.gate)) * linear(hidden, *self.up), *self.down)


class Block:
    def __init__(self, weights: Weights, name: str, config, block):
        self.attention = self.mlp = None
        assert not block.attention.replace_with_linear and not block.ffn.replace_with_linear
        if not block.attention.no_op:
            self.attention = Attention(weights, f"{name}.self_attn", config, block)
            self.before_attention = Norm(weights, f"{name}.input_layernorm", config)
        if not block.ffn.no_op:
            self.mlp = Mlp(weights, f"{name}.mlp", config, block)
            self.before_mlp = Norm(weights, f"{name}.post_attention_layernorm", config)

    def __call__(self, hidden, residual):
        if self.attention:
            if residual is None:
                hidden, residual = self.before_attention(hidden), hidden
            else:
                hidden, residual = self.before_attention(hidden, residual)
            hidden = self.attention(hidden)
        if self.mlp:
            assert residual is not None, "vLLM has no residual stream before the first attention"
            hidden, residual = self.before_mlp(hidden, residual)
            hidden = self.mlp(hidden)
        return hidden, residual


class Model:
    def __init__(self, folder: Path, config):
        weights = Weights(folder)
        assert len(config.block_configs) == config.num_hidden_layers
        self.embedding = weights.take("model.embed_tokens.weight", config.vocab_size, config.hidden_size)
        blocks = enumerate(config.block_configs)
        self.blocks = [Block(weights, f"model.layers.{idx}", config, block) for idx, block in blocks]
        self.norm = Norm(weights, "model.norm", config)
        tied = config.tie_word_embeddings
        self.head = self.embedding if tied else weights.take("lm_head.weight", config.vocab_size, config.hidden_size)
        assert not weights.left, f"no layer has a place for {sorted(weights.left)}"

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        hidden, residual = self.embedding[ids], None
        for block in self.blocks:
            hidden, residual = block(hidden, residual)
        return linear(self.norm(hidden, residual)[0], self.head)


def check_config(config) -> None:
    """vLLM copies configs, sends them to its workers and writes them to its log."""
    for other in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert other.block_configs == config.block_configs and other.block_configs[0].attention.no_op is False
    assert json.loads(config.to_json_string(use_diff=False))["block_configs"] == config.block_configs
    assert not hasattr(config.block_configs[0].ffn, "hidden_act")


@torch.no_grad()
def answer(question: dict) -> dict:
    folder = Path(question["folder"])
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    text = Path(question["text"]).read_text(encoding="utf-8")[: question["tokens"] * 12]
    ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"][: question["tokens"]])
    sequences = ids.view(-1, question["sequence_length"])
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    assert (config.model_type, config.architectures) == ("nemotron-nas", ["DeciLMForCausalLM"])
    check_config(config)
    model = Model(folder, config)
    logits = torch.stack([model.logits(sequence) for sequence in sequences])
    plain = AutoModelForCausalLM.from_pretrained(question["plain"], dtype=torch.float32).eval()
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=True).eval()
    expected = plain(sequences).logits

    def difference(found):
        return ((found - expected).abs().max() / expected.square().mean().sqrt()).item()

    prompt = ids[None, :PROMPT]
    greedy = [it.generate(prompt, max_new_tokens=GREEDY, do_sample=False, eos_token_id=-1) for it in (plain, own)]
    return {
        "perplexity": cross_entropy(logits[:, :-1].flatten(0, 1).double(), sequences[:, 1:].flatten()).exp().item(),
        "blocks": [[not block.attention.no_op, not block.ffn.no_op] for block in config.block_configs],
        "difference": difference(logits),
        "transformers": {
            "class": type(own).__name__,
            "difference": difference(own(sequences).logits),
            "greedy": torch.equal(*greedy),
        },
    }


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(json.dumps([answer(question) for question in json.load(sys.stdin)]))
