#!/usr/bin/env python3
"""Fits the factors of the fast search's predictions to what its races have measured.

    scripts/fit_priors.py STATE/runs/*/checkpoint/search.json

Every fast search keeps its last observations in its checkpoint: what gradients predicted for a change of the model, term by term, and the paired
difference of losses that a race has measured, with its standard error. This solves the weighted least squares problem over all of them and prints a
factor and its standard error for each term, in the order of `RegressionTuning` in sdk/search/src/search/fast/tuning.rs. The priors there were read by
hand off such fits on one model.
"""

import argparse
import json
from pathlib import Path

KINDS = ("attention raised", "attention lowered", "MLP raised", "MLP lowered", "sub-block restored", "sub-block dropped")
TERMS = ("first order", "second order", "first order at the first token", "second order at the first token")
NAMES = [f"{kind}: {term}" for kind in KINDS for term in TERMS] + ["levels together", "sub-blocks together"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path, help="checkpoint/search.json of finished fast searches")
    parser.add_argument("--noise", type=float, default=0.1, help="what the model leaves unexplained of a difference, as a part of it (default: 0.1)")
    asked = parser.parse_args()
    observations = [seen for path in asked.checkpoints for seen in read(path)]
    used = [idx for idx in range(len(NAMES)) if any(seen["predicted"][idx] for seen in observations)]
    print(f"{len(observations)} observations")
    if len(observations) <= len(used):
        raise SystemExit(f"{len(used)} factors cannot be fitted to {len(observations)} observations: give more checkpoints")
    for idx, (factor, error) in zip(used, fit(observations, used, asked.noise)):
        print(f"{NAMES[idx]:55} {factor:6.2f} ± {error:.2f}")


def read(path: Path) -> list[dict]:
    """The observations of a fast search; none of a paper search."""
    fast = json.loads(path.read_text())["content"]["fast"]
    return fast["observations"] if fast else []


def fit(observations: list[dict], used: list[int], noise: float) -> list[tuple[float, float]]:
    """Factors and standard errors that minimise the weighted sum of squares."""
    rows = [[seen["predicted"][idx] for idx in used] for seen in observations]
    means = [seen["mean"] for seen in observations]
    weights = [1 / (seen["standard_error"] ** 2 + (noise * seen["mean"]) ** 2 + 1e-18) for seen in observations]
    count = range(len(used))
    normal = [[sum(w * row[i] * row[j] for w, row in zip(weights, rows)) for j in count] for i in count]
    right = [sum(w * row[i] * mean for w, row, mean in zip(weights, rows, means)) for i in count]
    inverse = inverted(normal)
    return [(sum(inverse[i][j] * right[j] for j in count), inverse[i][i] ** 0.5) for i in count]


def inverted(matrix: list[list[float]]) -> list[list[float]]:
    """By Gauss and Jordan, with pivots."""
    size = len(matrix)
    rows = [row + [float(i == j) for j in range(size)] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(rows[i][column]))
        if not rows[pivot][column]:
            raise SystemExit("some terms always occur together, so that their factors cannot be told apart: give more checkpoints")
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for i in range(size):
            if i != column:
                factor = rows[i][column]
                rows[i] = [value - factor * other for value, other in zip(rows[i], rows[column])]
    return [row[size:] for row in rows]


if __name__ == "__main__":
    main()
