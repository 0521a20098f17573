#!/usr/bin/env python3
"""Compares the searches on SmolLM2: tasks, modes, ablations and seeds, each a run of its own; a table and plots at the end.

Every run is an ordinary pipeline. Runs that are done are not repeated, so a benchmark that was stopped goes on where it was; the level
databases are built once and shared. The full set takes days on two CPU cores, and minutes on a large GPU with --jobs 8: name tasks,
searches and seeds to make it smaller.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from evopress_bench.table import print_table, write_plots  # noqa: E402
from evopress_bench.tasks import SEARCHES, TASKS, pipeline  # noqa: E402
from evopress_setup.cache import cache_root  # noqa: E402

CLONE = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="default: all")
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=list(SEARCHES), help="default: all")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 on (default: 5)")
    parser.add_argument("--forward-tokens", type=int, help="end the fast searches there, for a short comparison (default: a share of the paper's)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; more than one pays on a GPU (default: 1)")
    parser.add_argument("--evaluation-tokens", type=int, default=32768, help="of held-out text (default: 32768)")
    parser.add_argument("--bin", type=Path, default=CLONE / "target" / "debug", help="folder of evopressd and its plugins")
    parser.add_argument("--out", type=Path, default=CLONE / "target" / "bench-search", help="reports, table and plots")
    parser.add_argument("--dry-run", action="store_true", help="list the runs that are left")
    asked = parser.parse_args()
    names = [(task, search, seed) for seed in range(asked.seeds) for task in asked.tasks for search in asked.searches]
    left = [name for name in names if not report_path(asked.out, *name).exists()]
    print(f"{len(names)} runs, {len(names) - len(left)} of them done already", file=sys.stderr)
    for folder in ("specs", "reports"):
        (asked.out / folder).mkdir(parents=True, exist_ok=True)

    def work(numbered: tuple[int, tuple[str, str, int]]) -> None:
        count, name = numbered
        print(f"[{count}/{len(left)}] {' '.join(map(str, name))}", file=sys.stderr, flush=True)
        if not asked.dry_run:
            run(asked, *name)

    with ThreadPoolExecutor(asked.jobs) as pool:
        for _ in pool.map(work, enumerate(left, 1)):
            pass
    reports = {name: json.loads(report_path(asked.out, *name).read_text()) for name in names if report_path(asked.out, *name).exists()}
    if reports:
        print_table(reports)
        write_plots(reports, asked.out)


def report_path(out: Path, task: str, search: str, seed: int) -> Path:
    return out / "reports" / f"{task}.{search}.{seed}.json"


def run(asked: argparse.Namespace, task: str, search: str, seed: int) -> None:
    """One run to its end; its report appears only when it is complete."""
    spec = asked.out / "specs" / f"{task}.{search}.{seed}.yaml"
    text = cache_root() / "text" / "reference-1"
    described = pipeline(task, search, seed, text, asked.evaluation_tokens)
    if asked.forward_tokens and "limit" in described["search"]:
        described["search"]["limit"] = {"forward_tokens": asked.forward_tokens}
    # JSON is YAML.
    spec.write_text(json.dumps(described, indent=2))
    command = [asked.bin / "evopressd", "run", spec, "--state", asked.out / "state", "--plugins", asked.bin, "--json"]
    # Several runs on a GPU share the cores for what they do beside it; libtorch's threads, one for each core, would be in each other's way.
    threads = max((os.cpu_count() or 1) // asked.jobs, 1)
    environment = {**os.environ, "EVOPRESS_DATA_ROOT": str(cache_root() / "data"), "OMP_NUM_THREADS": str(threads)}
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if ended.returncode != 0:
        raise SystemExit(f"{spec} ended with {ended.returncode}: {ended.stdout}")
    path = report_path(asked.out, task, search, seed)
    path.with_suffix(".part").write_text(ended.stdout)
    path.with_suffix(".part").rename(path)
    # The model has been measured; hundreds of them would fill a disk.
    for model in (asked.out / "state" / "runs").glob(f"{task}-{search}-{seed}-*/model"):
        shutil.rmtree(model)


if __name__ == "__main__":
    main()
