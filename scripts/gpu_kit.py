#!/usr/bin/env python3
"""Packs what a machine with a GPU, and without Rust, needs to check evopressd: programs, plugins and tests, all stripped.

Copy the clone with the folder it writes to that machine, to the same path, and run scripts/gpu_check.sh there.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
TESTS = {"evopress": "lib", "parity": "test", "kl": "test", "gpu": "bench"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=CLONE / "target" / "gpu-kit", help="default: target/gpu-kit")
    out = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    (out / "tests").mkdir(parents=True)
    subprocess.run(["cargo", "build", "--workspace"], cwd=CLONE, check=True)
    cargo = ["cargo", "test", "--workspace", "--lib", "--tests", "--benches", "--no-run", "--message-format=json"]
    built = subprocess.run(cargo, cwd=CLONE, stdout=subprocess.PIPE, check=True, text=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        target = message.get("target", {})
        if message.get("executable") and TESTS.get(target["name"]) in target["kind"]:
            strip(Path(message["executable"]), out / "tests" / target["name"])
    programs = CLONE / "target" / "debug"
    for program in [programs / "evopressd", programs / "evopress-worker", *sorted(programs.glob("libevopress_*.so"))]:
        if not program.name.startswith("libevopress_minimal"):
            strip(program, out / program.name)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"{out}: {size / 1e6:.0f} MB", file=sys.stderr)


def strip(program: Path, copy: Path) -> None:
    subprocess.run(["strip", "--strip-all" if "." not in program.name else "--strip-unneeded", "-o", copy, program], check=True)


if __name__ == "__main__":
    main()
