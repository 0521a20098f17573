"""A random model of a family, and how long transformers takes to evaluate one candidate: forward pass and KL divergence to stored logits, as in
EvoPress's own code.

    in_transformers.py make CONFIG.json FOLDER      writes the model in bf16
    in_transformers.py time FOLDER THREADS LENGTH   prints perplexity on the benchmark's token ids, then for each line on stdin, a way to compute, the
                                                    seconds of one candidate
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

import torch
import torch.nn.functional as F
import transformers

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


def make(config_file: Path, folder: Path) -> None:
    torch.manual_seed(0)
    settings = json.loads(config_file.read_text())
    config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
    torch.set_default_dtype(torch.bfloat16)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                # So large that tokens get different logits.
                weight.normal_(0, weight.shape[-1] ** -0.5)
    model.save_pretrained(folder)


class Timer:
    """The model, in the way to compute that was asked for last."""

    def __init__(self, folder: Path, length: int):
        self.folder = folder
        self.way = ""
        vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
        # As in sdk/evopress/benches/families.rs.
        self.tokens = (torch.arange(length) * 7919 % vocabulary)[None]

    def seconds(self, way: str) -> float:
        """Of one candidate. Another way than the last one is tried before it is timed."""
        if way != self.way:
            self.model = self.target = None
            self.way, self.model = way, self.load(way)
            self.target = self.logits(self.model)
            self.evaluate()
        start = time.perf_counter()
        self.evaluate()
        return time.perf_counter() - start

    def evaluate(self) -> None:
        student, teacher = self.logits(self.model)[:-1], self.target[:-1]
        F.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), log_target=True, reduction="batchmean").item()

    def perplexity(self) -> float:
        logits = self.logits(self.load("f32 eager"))
        return F.cross_entropy(logits[:-1], self.tokens[0, 1:]).exp().item()

    def load(self, way: str):
        """`way` is a dtype and how experts are computed."""
        dtype, experts = way.split()
        config = transformers.AutoConfig.from_pretrained(self.folder)
        # transformers' sdpa leaves caps of scores out.
        attention = "eager" if getattr(config, "attn_logit_softcapping", None) else "sdpa"
        settings = {"dtype": DTYPES[dtype], "attn_implementation": attention, "experts_implementation": experts}
        return transformers.AutoModelForCausalLM.from_pretrained(self.folder, **settings).eval()

    def logits(self, model) -> torch.Tensor:
        return model(self.tokens, use_cache=False).logits[0].float()


def main() -> None:
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    torch.set_num_threads(int(sys.argv[3]))
    with torch.no_grad():
        timer = Timer(Path(sys.argv[2]), int(sys.argv[4]))
        print(timer.perplexity(), flush=True)
        for line in sys.stdin:
            print(timer.seconds(line.strip()), flush=True)


if __name__ == "__main__":
    main()
