"""For transformers: a Llama whose blocks may lack an attention or an MLP, in the layout of Nemotron-NAS (DeciLM).

Written by evopressd. vLLM and other runtimes of the layout have their own code for it.
"""

import torch
from torch import nn
from transformers import LlamaForCausalLM

from .configuration_decilm import DeciLMConfig


class NoAttention(nn.Module):
    """Adds nothing to the residual stream, and keeps nothing in the cache."""

    def forward(self, hidden_states, **_):
        return torch.zeros_like(hidden_states), None


class NoMlp(nn.Module):
    """Adds nothing to the residual stream."""

    def forward(self, hidden_states):
        return torch.zeros_like(hidden_states)


class DeciLMForCausalLM(LlamaForCausalLM):
    config_class = DeciLMConfig

    def __init__(self, config):
        super().__init__(config)
        for layer, block in zip(self.model.layers, config.block_configs, strict=True):
            if block.attention.no_op:
                layer.input_layernorm, layer.self_attn = nn.Identity(), NoAttention()
            if block.ffn.no_op:
                layer.post_attention_layernorm, layer.mlp = nn.Identity(), NoMlp()
