"""What unmodified transformers computes with model folders.

In on stdin: a JSON list of questions
    {"folder", "ids": [token ids of a sequence], "dtype": "float32" | "bfloat16"}
Out on stdout, for each:
    {"class", "logits": [[a number for each token of the vocabulary] after each token of the sequence]}
"""

import json
import os
import sys

os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

import torch
from transformers import AutoModelForCausalLM


@torch.no_grad()
def answer(question: dict) -> dict:
    dtype = getattr(torch, question["dtype"])
    model = AutoModelForCausalLM.from_pretrained(question["folder"], dtype=dtype, attn_implementation="eager").eval()
    logits = model(torch.tensor([question["ids"]])).logits[0].float()
    return {"class": type(model).__name__, "logits": logits.tolist()}


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(json.dumps([answer(question) for question in json.load(sys.stdin)]))
