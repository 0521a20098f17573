"""llama.cpp's importance matrix of a model: the mean square of each layer's inputs over some tokens."""

from pathlib import Path

import numpy as np

from .llama_cpp import LlamaCpp


def importance_matrix(llama: LlamaCpp, model: Path, ids: list[int], sequence_length: int, out: Path) -> dict[str, np.ndarray]:
    """By llama.cpp's tensor name. Kept in `out`, an .npz file."""
    if out.exists():
        return dict(np.load(out))
    sums: dict[str, np.ndarray] = {}

    def add(name: str, inputs: np.ndarray) -> None:
        sums[name] = sums.get(name, 0) + np.square(inputs, dtype=np.float64).sum(axis=0)

    for _ in llama.evaluate(model, ids, sequence_length, watch=add):
        pass
    found = {name: (squares / len(ids)).astype(np.float32) for name, squares in sums.items()}
    np.savez(out, **found)
    return found
