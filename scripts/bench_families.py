#!/usr/bin/env python3
"""Times the evaluation of one candidate, forward pass and KL divergence, of a random model of each family against transformers, in turns.

Both have the same threads and work on the same model in bf16. transformers computes in bf16 or f32, experts one after another or grouped, with
memory that stays allocated between passes: the fastest of these counts. Beside seconds there are CPU seconds of all threads, which other work on
the machine changes least. Then: what a capped head costs beside a plain one.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))

from evopress_bench.families import FAMILIES, HAS_EXPERTS, HEADS  # noqa: E402
from evopress_setup.python_tools import python_tools, set_up_python  # noqa: E402

CLONE = Path(__file__).resolve().parent.parent
IN_TRANSFORMERS = CLONE / "scripts" / "evopress_bench" / "in_transformers.py"
MALLOC_TUNING = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1), "MALLOC_TOP_PAD_": str(1 << 26)}
COLUMNS = ("family", "shapes of", "weights", "blocks", "transformers", "evopressd", "ratio", "in CPU s", "memory / weights")
ROW = "| {:10} | {:24} | {:>7} | {:>6} | {:>20} | {:>9} | {:>5} | {:>8} | {:>16} |"
# What ours evaluates at a time, as in sdk/evopress/benches/families.rs.
CANDIDATES_OF_A_THREAD = 2
# The perplexities of bf16 and f32 differ where rounding sends tokens to other experts, but not by more.
MOST_DIFFERENCE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="*", choices=FAMILIES, default=list(FAMILIES), metavar="FAMILY", help="default: all")
    parser.add_argument("--threads", type=int, default=2, help="of both (default: 2)")
    parser.add_argument("--length", type=int, default=512, help="tokens of a candidate (default: 512)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, in turns (default: 5)")
    parser.add_argument("--without-heads", action="store_true", help="leave the capped head out")
    parser.add_argument("--out", type=Path, default=CLONE / "target" / "bench-families", help="where models are written, each removed after its turn")
    asked = parser.parse_args()
    set_up_python()
    bench = Bench(asked, build())
    print(ROW.format(*COLUMNS))
    print("|" + "|".join("-" * len(cell) for cell in ROW.format(*[""] * len(COLUMNS)).strip("|").split("|")) + "|", flush=True)
    for name in asked.families:
        bench.family(name)
    print(f"tokens a second, {asked.threads} threads, {asked.length} tokens a candidate; medians of {asked.rounds}")
    if not asked.without_heads:
        bench.heads()


def build() -> Path:
    """The program that measures ours."""
    command = ["cargo", "bench", "--profile", "dev", "--workspace", "--bench", "families", "--no-run", "--message-format", "json"]
    lines = subprocess.run(command, cwd=CLONE, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    built = [found for line in lines if (found := json.loads(line)).get("executable") and found["target"]["name"] == "families"]
    return Path(built[-1]["executable"])


class Server:
    """A program that answers each line with a number."""

    def __init__(self, command: list, environment: dict[str, str] | None = None):
        environment = {**os.environ, **(environment or {})}
        self.program = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.command = command

    def number(self) -> float:
        line = self.program.stdout.readline()
        if not line:
            raise SystemExit(f"{self.command} ended with {self.program.wait()}")
        return float(line)

    def ask(self, question: str) -> float:
        self.program.stdin.write(question + "\n")
        self.program.stdin.flush()
        return self.number()

    def timed(self, question: str) -> tuple[float, float]:
        """The seconds that it answers, and the CPU seconds that it took to answer."""
        before = self.cpu_seconds()
        return self.ask(question), self.cpu_seconds() - before

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.program.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> int:
        """What it has allocated; the pages of files that it reads do not count."""
        status = Path(f"/proc/{self.program.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")) * 1024

    def close(self) -> None:
        self.program.stdin.close()
        self.program.wait()


class Bench:
    """What was asked for."""

    def __init__(self, asked: argparse.Namespace, program: Path):
        self.asked, self.program = asked, program
        self.environment = {"PYTHONPATH": str(python_tools()), "HF_HUB_OFFLINE": "1", **MALLOC_TUNING}
        asked.out.mkdir(parents=True, exist_ok=True)

    def family(self, name: str) -> None:
        """One row of the table."""
        described = FAMILIES[name]
        folder, weights = self.made(name, described["config"])
        ours, theirs = self.ours(folder), self.theirs(folder)
        found, expected = ours.number(), theirs.number()
        if abs(found / expected - 1) > MOST_DIFFERENCE:
            raise SystemExit(f"{name}: a perplexity of {found}, in transformers {expected}")
        experts = ("eager", "grouped_mm") if name in HAS_EXPERTS else ("eager",)
        ways = [f"{dtype} {how}" for dtype in ("bf16", "f32") for how in experts]
        fastest = min(ways, key=lambda way: min(theirs.ask(way) for _ in range(2)))
        theirs.ask(fastest)
        ours.ask("candidate")
        rounds = [(ours.timed("candidate"), theirs.timed(fastest)) for _ in range(self.asked.rounds)]
        seconds, other_seconds = (median(pair[side][0] for pair in rounds) for side in (0, 1))
        ratio = median(other[0] / own[0] for own, other in rounds)
        # Ours is the time of one candidate, measured over several.
        cpu_ratio = median(other[1] / own[1] for own, other in rounds) * CANDIDATES_OF_A_THREAD * self.asked.threads
        way = fastest if name in HAS_EXPERTS else fastest.split()[0]
        print(
            ROW.format(
                name,
                described["released"],
                f"{weights / 2e6:,.0f} M",
                described["blocks"],
                f"{self.asked.length / other_seconds:,.0f} ({way})",
                f"{self.asked.length / seconds:,.0f}",
                f"{ratio:.2f}",
                f"{cpu_ratio:.2f}",
                f"{ours.memory_bytes() / weights:.2f}",
            ),
            flush=True,
        )
        self.remove(folder, ours, theirs)

    def heads(self) -> None:
        """What follows the blocks, in seconds a candidate: a candidate less its forward pass."""
        servers = {}
        for name, described in HEADS.items():
            folder, _ = self.made(name.replace(" ", "-"), described["config"])
            servers[name] = (folder, self.ours(folder))
            servers[name][1].number()
        seconds = {name: [] for name in servers}
        for _ in range(1 + self.asked.rounds):
            for name, (_, ours) in servers.items():
                seconds[name].append(ours.ask("candidate") - ours.ask("blocks"))
        # The first one reads the weights.
        capped, plain = (median(of_name[1:]) for of_name in seconds.values())
        vocabulary, width = (HEADS["plain head"]["config"][key] for key in ("vocab_size", "hidden_size"))
        print(f"head of {vocabulary:,} × {width:,}: capped {capped:.4f} s a candidate, plain {plain:.4f} s, ratio {capped / plain:.2f}")
        for folder, ours in servers.values():
            self.remove(folder, ours)

    def made(self, name: str, config: dict) -> tuple[Path, int]:
        """A folder with a random model, and the bytes of its weights."""
        folder = self.asked.out / name
        file = self.asked.out / f"{name}.json"
        file.write_text(json.dumps(config))
        self.run_python("make", file, folder)
        return folder, sum(path.stat().st_size for path in folder.glob("*.safetensors"))

    def ours(self, folder: Path) -> Server:
        return Server([self.program, folder, self.asked.threads, self.asked.length])

    def theirs(self, folder: Path) -> Server:
        return Server([sys.executable, IN_TRANSFORMERS, "time", folder, self.asked.threads, self.asked.length], self.environment)

    def run_python(self, *arguments) -> None:
        subprocess.run([sys.executable, IN_TRANSFORMERS, *arguments], env={**os.environ, **self.environment}, check=True)

    def remove(self, folder: Path, *servers: Server) -> None:
        for server in servers:
            server.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
