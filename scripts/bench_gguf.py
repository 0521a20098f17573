#!/usr/bin/env python3
"""Compares GGUF results with llama.cpp's own quantizations of the same model: bytes, perplexity and tokens per second.

llama.cpp makes its files itself, from the same dense weights, each without and with an importance matrix of the calibration text. evopressd
searches at the bits per weight of some of them, or at any others. llama.cpp evaluates all files on the same held-out tokens. What is done is
not done again, so that a benchmark that was stopped goes on where it was.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from evopress_setup.cache import cache_root  # noqa: E402
from evopress_setup.node_tools import node_tools  # noqa: E402
from evopress_setup.python_tools import python_tools  # noqa: E402

sys.path.insert(0, str(python_tools()))

from evopress_bench.gguf_table import Row, print_table  # noqa: E402
from evopress_bench.importance import importance_matrix  # noqa: E402
from evopress_bench.llama_cpp import FILE_TYPES, NEED_IMPORTANCE, LlamaCpp  # noqa: E402

CLONE = Path(__file__).resolve().parent.parent
SOURCE = "models/SmolLM2-135M-Instruct.gguf"
TEXTS = CLONE / "pipelines" / "text"
TYPES = ["Q2_0", "Q2_K_S", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q4_0", "IQ4_NL", "IQ4_XS", "IQ3_S"]
TARGETS = ["2.5", "3.0", "4.0", "Q2_K", "Q3_K_M", "Q4_K_M"]
# Rows of 576 have no type between `Q2_0` (2.25 bits) and 4.5. The source is stored as `Q4_1`, so that this type loses nothing of it:
# `no-q4-1` does without, and without `Q5_1`, as llama.cpp's own mixes of few bits do.
METHODS = {
    "all": {"fallback": ["Q2_0", "IQ4_NL", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]},
    "no-q4-1": {"fallback": ["Q2_0", "IQ4_NL", "Q5_0", "Q8_0"]},
    "alone": {"fallback": ["Q2_0", "IQ4_NL", "Q4_1", "Q5_0", "Q5_1", "Q8_0"], "error_feedback": False},
}
# How fast a file is.
SPEED_ROUNDS = 3
SPEED_TOKENS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", nargs="*", choices=FILE_TYPES, default=TYPES, metavar="TYPE", help=f"llama.cpp's files (default: {' '.join(TYPES)})")
    parser.add_argument("--targets", nargs="*", default=TARGETS, help=f"bits per weight, or types whose bits count (default: {' '.join(TARGETS)})")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["all", "no-q4-1"], help=f"of {', '.join(METHODS)} (default: all no-q4-1)")
    parser.add_argument("--tokens", type=int, default=8192, help="of held-out text (default: 8192)")
    parser.add_argument("--calibration-tokens", type=int, default=32768, help="for level databases and the importance matrix (default: 32768)")
    parser.add_argument("--first-token-share", type=float, default=0.125, help="of the errors that kquant minimises (default: 0.125)")
    parser.add_argument("--search-tokens", type=int, default=60_000, help="forward tokens of each search (default: 60000)")
    parser.add_argument("--sequence-length", type=int, default=512, help="default: 512")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of llama.cpp (default: one for each CPU)")
    parser.add_argument("--bin", type=Path, default=CLONE / "target" / "debug", help="folder of evopressd and its plugins")
    parser.add_argument("--out", type=Path, default=CLONE / "target" / "bench-gguf", help="files and measurements")
    Bench(parser.parse_args()).run()


class Bench:
    """What was asked for, and the model."""

    def __init__(self, asked: argparse.Namespace):
        self.asked = asked
        self.source = cache_root() / "data" / SOURCE
        self.llama = LlamaCpp(node_tools(), asked.threads)
        self.rows: list[Row] = []
        asked.out.mkdir(parents=True, exist_ok=True)

    def run(self) -> None:
        asked = self.asked
        self.held_out = self.llama.tokens(self.source, (TEXTS / "evaluation.txt").read_text(), asked.tokens)
        self.measure("dense", "", self.source)
        for file_type in asked.types:
            for with_importance in (False, True):
                self.llama_cpp(file_type, with_importance)
        for target in asked.targets:
            for method in asked.methods:
                self.evopressd(target, method)
        self.speeds()
        print_table(self.rows)

    def llama_cpp(self, file_type: str, with_importance: bool) -> None:
        """One of llama.cpp's quantizations."""
        if file_type in NEED_IMPORTANCE and not with_importance:
            return
        file = self.out("llama.cpp") / f"{file_type}{'.imatrix' if with_importance else ''}.gguf"
        if not file.exists():
            self.llama.quantize(self.source, file, file_type, self.importance() if with_importance else None)
        self.measure("llama.cpp", f"{file_type}{', imatrix' if with_importance else ''}", file)

    def importance(self) -> dict:
        asked = self.asked
        text = (TEXTS / "calibration.txt").read_text()
        ids = self.llama.tokens(self.source, text, asked.calibration_tokens)
        file = asked.out / f"importance-{asked.calibration_tokens}-{asked.sequence_length}.npz"
        return importance_matrix(self.llama, self.source, ids, asked.sequence_length, file)

    def evopressd(self, target: str, method: str) -> None:
        """One search, as an ordinary pipeline."""
        bits = self.bits(target)
        name = f"{target}-{method}".lower().replace("_", "-").replace(".", "-")
        spec = self.spec(name, bits, METHODS[method])
        file, report = self.out("specs") / f"{name}.yaml", self.out("reports") / f"{name}.json"
        # JSON is YAML.
        text = json.dumps(spec, indent=2)
        if not report.exists() or file.read_text() != text:
            file.write_text(text)
            command = [self.asked.bin / "evopressd", "run", file, "--state", self.asked.out / "state", "--plugins", self.asked.bin, "--json"]
            environment = {**os.environ, "EVOPRESS_DATA_ROOT": str(cache_root() / "data")}
            ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
            if ended.returncode != 0:
                raise SystemExit(f"{file} ended with {ended.returncode}: {ended.stdout}")
            report.write_text(ended.stdout)
        [artifact] = json.loads(report.read_text())["artifacts"]
        self.measure("evopressd", f"kquant, {method}, {bits:.4g} bits", Path(artifact["path"]))

    def spec(self, name: str, bits: float, options: dict) -> dict:
        asked = self.asked
        return {
            "apiVersion": "evopress/v1",
            "kind": "Pipeline",
            "metadata": {"name": name},
            "model": {"source": SOURCE},
            "calibration": {"source": str(TEXTS / "calibration.txt"), "tokens": 65536, "sequence_length": asked.sequence_length},
            "database": {"tokens": asked.calibration_tokens, "first_token_share": asked.first_token_share},
            "methods": [{"plugin": "kquant", "options": options}],
            "target": {"bits_per_weight": bits},
            "search": {"grouping": "none", "limit": {"forward_tokens": asked.search_tokens}, "seed": 0},
            "baselines": {"random": 1},
            "evaluation": [{"source": str(TEXTS / "evaluation.txt"), "tokens": 4096}],
            "artifacts": [{"format": "gguf"}],
        }

    def bits(self, target: str) -> float:
        """A number, or the bits of llama.cpp's file without an importance matrix."""
        if target not in FILE_TYPES:
            return float(target)
        plain = target not in NEED_IMPORTANCE
        self.llama_cpp(target, not plain)
        return self.llama.size(self.out("llama.cpp") / f"{target}{'' if plain else '.imatrix'}.gguf").bits_per_weight

    def measure(self, made_by: str, name: str, file: Path) -> None:
        """A row of the table, once."""
        if any((row.made_by, row.name) == (made_by, name) for row in self.rows):
            return
        asked = self.asked
        known = asked.out / "perplexities.json"
        perplexities = json.loads(known.read_text()) if known.exists() else {}
        key = f"{file} {file.stat().st_mtime_ns} {asked.tokens} {asked.sequence_length}"
        if key not in perplexities:
            print(f"evaluating {made_by} {name}".rstrip(), file=sys.stderr)
            perplexities[key] = self.llama.perplexity(file, self.held_out, asked.sequence_length)
            known.write_text(json.dumps(perplexities, indent=2))
        self.rows.append(Row(made_by, name, file, self.llama.size(file), perplexities[key]))

    def speeds(self) -> None:
        """How fast llama.cpp generates with each file, in turn, so that whatever else the machine does strikes all alike."""
        for turn in range(SPEED_ROUNDS):
            print(f"generating with all files, {turn + 1} of {SPEED_ROUNDS}", file=sys.stderr)
            for row in self.rows:
                speed = self.llama.generation_speed(row.file, self.held_out[:SPEED_TOKENS], SPEED_TOKENS)
                row.speed = max(row.speed, speed)

    def out(self, folder: str) -> Path:
        path = self.asked.out / folder
        path.mkdir(exist_ok=True)
        return path


if __name__ == "__main__":
    main()
