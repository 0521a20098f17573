"""For transformers: models whose blocks have different numbers of experts, `num_experts_by_layer` in their config.

Written by evopressd. The blocks are transformers' own; only how many experts each of them has is said here.
"""

import copy

import transformers


class ExpertsByLayer:
    """Gives each block as many experts as the config says; 0 is a block with a dense MLP."""

    def __init__(self, config):
        super().__init__(config)
        for layer, num_experts in zip(self.model.layers, config.num_experts_by_layer, strict=True):
            if num_experts == 0:
                continue
            of_layer = copy.copy(config)
            for name in ("num_experts", "num_local_experts"):
                if hasattr(of_layer, name):
                    setattr(of_layer, name, num_experts)
            name = "mlp" if hasattr(layer, "mlp") else "block_sparse_moe"
            setattr(layer, name, type(getattr(layer, name))(of_layer))
        self.post_init()


class MixtralForCausalLM(ExpertsByLayer, transformers.MixtralForCausalLM):
    pass


class Qwen2MoeForCausalLM(ExpertsByLayer, transformers.Qwen2MoeForCausalLM):
    pass


class Qwen3MoeForCausalLM(ExpertsByLayer, transformers.Qwen3MoeForCausalLM):
    pass


class OlmoeForCausalLM(ExpertsByLayer, transformers.OlmoeForCausalLM):
    pass


class GraniteMoeForCausalLM(ExpertsByLayer, transformers.GraniteMoeForCausalLM):
    pass
