"""The GGUF benchmark's table, and who has the better file at the same bytes."""

from dataclasses import dataclass
from pathlib import Path

from .llama_cpp import Size


@dataclass
class Row:
    """One file."""

    made_by: str
    name: str
    file: Path
    size: Size
    perplexity: float
    # Tokens per second of generation, the best of several rounds.
    speed: float = 0.0


def print_table(rows: list[Row]) -> None:
    """All files by falling bytes, then each of evopressd's against the best of llama.cpp's with at most as many bytes, and a thousandth."""
    columns = "| {:9} | {:32} | {:>13} | {:>9} | {:>10} | {:>8} |"
    names = ("made by", "file", "bits a weight", "MB", "perplexity", "tokens/s")
    print(columns.format(*names))
    print("|" + "|".join("-" * len(part) for part in columns.format(*names).strip("|").split("|")) + "|")
    for row in sorted(rows, key=lambda row: (-row.size.file_bytes, row.perplexity)):
        megabytes = f"{row.size.file_bytes / 1e6:.2f}"
        print(columns.format(row.made_by, row.name, f"{row.size.bits_per_weight:.3f}", megabytes, f"{row.perplexity:.2f}", f"{row.speed:.0f}"))
    for ours in (row for row in rows if row.made_by == "evopressd"):
        fits = [row for row in rows if row.made_by == "llama.cpp" and row.size.file_bytes <= ours.size.file_bytes * 1.001]
        best = min(fits, key=lambda row: row.perplexity, default=None)
        against = f"{best.name} with {best.perplexity:.2f}" if best else "nothing of that size"
        verdict = "" if best is None else "better" if ours.perplexity < best.perplexity else "WORSE"
        print(f"{ours.name}: {ours.perplexity:.2f}; llama.cpp's best of at most as many bytes: {against} {verdict}")
