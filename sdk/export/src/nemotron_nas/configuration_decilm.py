"""The config of a Llama whose blocks may lack an attention or an MLP, in the layout of Nemotron-NAS (DeciLM).

Written by evopressd. `block_configs` has an entry for each block, with attributes for what runtimes of the layout ask of it:
`block.attention.no_op`, `block.attention.n_heads_in_group`, `block.ffn.no_op`, `block.ffn.ffn_mult`.
"""

from transformers import LlamaConfig


class Settings(dict):
    """A JSON object whose entries are attributes too."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class DeciLMConfig(LlamaConfig):
    model_type = "nemotron-nas"

    def __init__(self, block_configs=None, **kwargs):
        super().__init__(**kwargs)
        if block_configs is not None:
            block_configs = [Settings({half: Settings(of) for half, of in block.items()}) for block in block_configs]
            if len(block_configs) != self.num_hidden_layers:
                raise ValueError(f"{len(block_configs)} block_configs for {self.num_hidden_layers} blocks")
        self.block_configs = block_configs
