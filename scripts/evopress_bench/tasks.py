"""What the search benchmark runs: three tasks, the paper's search, the fast one and its ablations."""

from pathlib import Path

SEQUENCE_LENGTH = 512
CALIBRATION_TOKENS = 65536

# Levels as their methods were published, so that searches can be held against the paper's.
DATABASE = {"tokens": 32768, "first_token_share": 0}

TASKS = {
    "depth": {
        "target": {"drop": 0.25},
        "methods": [{"plugin": "drop", "options": {"granularity": "sub-block"}}],
    },
    "sparse": {
        "target": {"sparsity": 0.5},
        "methods": [{"plugin": "sparsegpt", "options": {"num_steps": 3, "step_weights": 44236}}],
        "database": DATABASE,
    },
    "bits": {
        "target": {"bits_per_weight": 3.0},
        "methods": [{"plugin": "gptq", "options": {"bits": [2, 3, 4, 5, 6], "group_size": 64}}],
        "database": DATABASE,
    },
}

# The paper's generations, offspring and selection stages by task, the stages' tokens scaled to this model's size.
PAPER = {
    "depth": {
        "generations": 107,
        "offspring": 32,
        "initial": {"genotypes": 64, "tokens": 512},
        "stages": [{"tokens": 512, "survivors": 2}, {"tokens": 8192, "survivors": 1}],
    },
    "sparse": {
        "generations": 100,
        "offspring": 64,
        "stages": [
            {"tokens": 512, "survivors": 8},
            {"tokens": 2048, "survivors": 2},
            {"tokens": 8192, "survivors": 1},
        ],
    },
    "bits": {
        "generations": 50,
        "offspring": 128,
        "stages": [
            {"tokens": 512, "survivors": 16},
            {"tokens": 2048, "survivors": 4},
            {"tokens": 8192, "survivors": 1},
        ],
    },
}

# The setting that the reference was measured with on this model.
SMALL = {
    "depth": {
        "generations": 30,
        "offspring": 16,
        "initial": {"genotypes": 32, "tokens": 512},
        "stages": [{"tokens": 512, "survivors": 2}, {"tokens": 2048, "survivors": 1}],
    },
    "sparse": {
        "generations": 30,
        "offspring": 16,
        "stages": [{"tokens": 512, "survivors": 4}, {"tokens": 2048, "survivors": 1}],
    },
    "bits": {
        "generations": 20,
        "offspring": 16,
        "stages": [{"tokens": 512, "survivors": 4}, {"tokens": 2048, "survivors": 1}],
    },
}


def paper_tokens(task: str) -> int:
    """Forward tokens of the paper's search."""
    paper = PAPER[task]
    per_generation, candidates = 0, paper["offspring"]
    for stage in paper["stages"]:
        per_generation += candidates * stage["tokens"]
        candidates = stage["survivors"]
    return paper["generations"] * per_generation


def fast(task: str, *without: str, share: int = 10) -> dict:
    """A fast search for a part of the paper's forward tokens, a tenth if not told otherwise, without some of its ingredients."""
    search: dict = {"mode": "fast", "limit": {"forward_tokens": paper_tokens(task) // share}}
    return {**search, "without": list(without)} if without else search


def from_baselines(task: str) -> dict:
    """The paper's search, begun where the best baseline or random genotype is."""
    start = {**PAPER[task].get("initial", {"genotypes": 64, "tokens": 512}), "baselines": True}
    return {"mode": "paper", **PAPER[task], "initial": start}


SEARCHES = {
    "paper": lambda task: {"mode": "paper", **PAPER[task]},
    "paper-from-baselines": from_baselines,
    "paper-small": lambda task: {"mode": "paper", **SMALL[task]},
    "fast": fast,
    "fast-equal-work": lambda task: fast(task, share=1),
    "fast-without-gradients": lambda task: fast(task, "gradients"),
    "fast-without-learning": lambda task: fast(task, "learning"),
    "fast-without-racing": lambda task: fast(task, "racing"),
    "fast-without-walks": lambda task: fast(task, "walks"),
    "fast-without-restarts": lambda task: fast(task, "restarts"),
}


def pipeline(task: str, search: str, seed: int, text: Path, evaluation_tokens: int) -> dict:
    """The spec of one run."""
    return {
        "apiVersion": "evopress/v1",
        "kind": "Pipeline",
        "metadata": {"name": f"{task}-{search}-{seed}"},
        "model": {"source": "models/SmolLM2-135M-Instruct.gguf"},
        "calibration": {
            "source": str(text / "calibration.txt"),
            "tokens": CALIBRATION_TOKENS,
            "sequence_length": SEQUENCE_LENGTH,
        },
        **TASKS[task],
        "search": {**SEARCHES[search](task), "seed": seed},
        "baselines": {"random": 1},
        "evaluation": [
            {"name": "held-out", "source": str(text / "evaluation.txt"), "tokens": evaluation_tokens}
        ],
    }
