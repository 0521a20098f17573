"""The search benchmark's table and plots, from the runs' reports."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

Reports = dict[tuple[str, str, int], dict]


def print_table(reports: Reports) -> None:
    """By task and search: medians over seeds, and the range of the held-out KL divergence."""
    by_search = defaultdict(list)
    for (task, search, _), report in reports.items():
        by_search[task, search].append(report)
    columns = "| {:7} | {:22} | {:>5} | {:>6} | {:>15} | {:>10} | {:>9} | {:>7} | {:>9} |"
    names = ("task", "search", "seeds", "KL", "range", "perplexity", "tokens", "seconds", "to paper")
    print(columns.format(*names))
    print("|" + "|".join("-" * (len(part)) for part in columns.format(*names).strip("|").split("|")) + "|")
    for (task, search), found in sorted(by_search.items()):
        divergences = [metric(report, "kl_divergence")["compressed"] for report in found]
        print(
            columns.format(
                task,
                search,
                len(found),
                f"{median(divergences):.4f}",
                f"{min(divergences):.4f}–{max(divergences):.4f}",
                f"{median(metric(report, 'perplexity')['compressed'] for report in found):.2f}",
                f"{median(report['search']['forward_tokens'] for report in found):,.0f}",
                f"{median(report['search']['seconds'] for report in found):.0f}",
                tokens_to_paper(by_search, task, search),
            )
        )
    for task in sorted({task for task, _ in by_search}):
        report = next(found[0] for (name, _), found in by_search.items() if name == task)
        divergence, perplexity = metric(report, "kl_divergence"), metric(report, "perplexity")
        baselines = [
            f"{name} {divergence['baselines'][name]:.4f} / {perplexity['baselines'][name]:.2f}"
            for name in divergence["baselines"]
        ]
        print(f"{task}: dense perplexity {perplexity['dense']:.2f}; KL / perplexity of {', '.join(baselines)}")


def metric(report: dict, name: str) -> dict:
    return next(result for result in report["evaluation"] if result["metric"] == name)


def held_out(report: dict) -> list[tuple[int, float, float]]:
    """Forward tokens, seconds and the KL divergence on held-out text, where the search looked at it."""
    history = report["search"]["history"]
    return [(it["forward_tokens"], it["seconds"], it["held_out"]) for it in history if it.get("held_out") is not None]


def tokens_to_paper(by_search: dict, task: str, search: str) -> str:
    """Median over seeds of the tokens until the held-out KL divergence was at paper mode's final one: first seen so on the few sequences that
    a search looks at, or at its end on all of them."""
    paper = by_search.get((task, "paper"), by_search.get((task, "paper-small"), []))
    looks = [held_out(report) for report in paper]
    if search.startswith("paper") or not all(looks) or not looks:
        return ""
    seen = median(of_run[-1][2] for of_run in looks)
    at_end = median(metric(report, "kl_divergence")["compressed"] for report in paper)

    def reached(report: dict) -> float:
        first = [tokens for tokens, _, divergence in held_out(report) if divergence <= seen]
        if metric(report, "kl_divergence")["compressed"] <= at_end:
            first.append(report["search"]["forward_tokens"])
        return min(first, default=float("inf"))

    tokens = median(reached(report) for report in by_search[task, search])
    return "never" if tokens == float("inf") else f"{tokens:,.0f}"


PLOTS = """
import json, sys
import matplotlib
matplotlib.use("svg")
import matplotlib.pyplot as plt
from statistics import median
lines, out = json.load(sys.stdin), sys.argv[1]
for task in sorted({line["task"] for line in lines}):
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    searches = sorted({line["search"] for line in lines if line["task"] == task})
    for color, search in enumerate(searches):
        for line in (line for line in lines if (line["task"], line["search"]) == (task, search)):
            for axis, x in ((left, "tokens"), (right, "seconds")):
                label = search if line["seed"] == min(it["seed"] for it in lines if it["search"] == search and it["task"] == task) else None
                axis.step(line[x], line["kl"], where="post", color=f"C{color}", alpha=0.8, linewidth=1.5, label=label)
                axis.plot(line[x][-1], line["kl"][-1], "o", color=f"C{color}", markersize=4)
    for axis, name in ((left, "forward tokens"), (right, "seconds")):
        axis.set_xscale("log")
        axis.set_xlabel(name)
        axis.grid(alpha=0.3)
    left.set_ylabel("held-out KL divergence (nats a token)")
    left.set_title(f"{task}: one line a seed", loc="left")
    right.legend(frameon=False, fontsize=8)
    figure.savefig(f"{out}/{task}.svg")
    figure.savefig(f"{out}/{task}.png", dpi=130)
"""


def write_plots(reports: Reports, out: Path) -> None:
    """One plot a task: held-out KL divergence by forward tokens and by seconds."""
    import json

    from evopress_setup.python_tools import set_up_plots

    lines = []
    for (task, search, seed), report in reports.items():
        tokens, seconds, divergences = zip(*held_out(report)) if held_out(report) else ((), (), ())
        if tokens:
            lines.append({"task": task, "search": search, "seed": seed, "tokens": tokens, "seconds": seconds, "kl": divergences})
    folder = set_up_plots()
    command = [sys.executable, "-c", PLOTS, str(out)]
    subprocess.run(command, input=json.dumps(lines), text=True, check=True, env={**os.environ, "PYTHONPATH": str(folder)})
    print(f"plots: {out}/*.svg", file=sys.stderr)
