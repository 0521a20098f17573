#!/usr/bin/env python3
"""Times the level databases of SmolLM2-135M, GPTQ's and SparseGPT's, against plain PyTorch doing one block, in turns.

Seconds are CPU seconds of all threads, which other work on the machine changes least. PyTorch's block is timed in bf16 and in f32, and the faster
counts. Ours is what an ordinary run takes more than one that finds the database built, divided by the number of blocks: with the relative
errors that are measured and the files that are made durable.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))

from evopress_bench.tasks import pipeline  # noqa: E402
from evopress_setup.cache import cache_root  # noqa: E402
from evopress_setup.python_tools import python_tools, set_up_python  # noqa: E402

CLONE = Path(__file__).resolve().parent.parent
METHODS = {"gptq": "bits", "sparsegpt": "sparse"}
NUM_BLOCKS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="default: both")
    parser.add_argument("--repeats", type=int, default=2, help="builds of each (default: 2)")
    parser.add_argument("--bin", type=Path, default=CLONE / "target" / "debug", help="folder of evopressd and its plugins")
    parser.add_argument("--out", type=Path, default=CLONE / "target" / "bench-build", help="specs and state")
    asked = parser.parse_args()
    set_up_python()
    print(f"| {'method':9} | {'PyTorch bf16':>12} | {'PyTorch f32':>11} | {'evopressd':>9} | {'ratio':>5} | {'database':>9} |")
    print(f"|{'-' * 11}|{'-' * 14}|{'-' * 13}|{'-' * 11}|{'-' * 7}|{'-' * 11}|")
    for method in asked.methods:
        seconds: dict[str, list[float]] = {"bf16": [], "f32": [], "ours": []}
        for _ in range(asked.repeats):
            for kind in ("bf16", "f32"):
                seconds[kind].append(pytorch(method, kind))
            with_build, database = ours(asked, method, seed=0)
            without, _ = ours(asked, method, seed=1)
            seconds["ours"].append((with_build - without) / NUM_BLOCKS)
        found = {name: median(of_name) for name, of_name in seconds.items()}
        ratio = min(found["bf16"], found["f32"]) / found["ours"]
        print(
            f"| {method:9} | {found['bf16']:10.2f} s | {found['f32']:9.2f} s | {found['ours']:7.2f} s | {ratio:5.2f} "
            f"| {database['bytes'] / 1e6:6.1f} MB |",
            flush=True,
        )
    print("CPU seconds a block, 32768 tokens")


def pytorch(method: str, kind: str) -> float:
    """Seconds of one block."""
    script = Path(__file__).resolve().parent / "evopress_bench" / "one_block.py"
    command = [sys.executable, script, method, "32768", "2", kind]
    environment = {**os.environ, "PYTHONPATH": str(python_tools())}
    return float(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)


def ours(asked: argparse.Namespace, method: str, seed: int) -> tuple[float, dict]:
    """CPU seconds of a run, and what its report says of the database. The first seed builds it anew."""
    asked.out.mkdir(parents=True, exist_ok=True)
    text = cache_root() / "text" / "reference-1"
    spec = pipeline(METHODS[method], "fast", seed, text, 512)
    spec["search"]["limit"] = {"forward_tokens": 1}
    path = asked.out / f"{method}.{seed}.yaml"
    # JSON is YAML.
    path.write_text(json.dumps(spec, indent=2))
    if seed == 0:
        shutil.rmtree(asked.out / "state", ignore_errors=True)
    command = [asked.bin / "evopressd", "run", path, "--state", asked.out / "state", "--plugins", asked.bin, "--json"]
    environment = {**os.environ, "EVOPRESS_DATA_ROOT": str(cache_root() / "data")}
    before = cpu_seconds()
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if ended.returncode != 0:
        raise SystemExit(f"{path} ended with {ended.returncode}: {ended.stdout}")
    return cpu_seconds() - before, json.loads(ended.stdout)["databases"][0]


def cpu_seconds() -> float:
    """Of all children that have ended, and theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
