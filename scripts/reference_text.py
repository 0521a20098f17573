#!/usr/bin/env python3
"""Makes the large text of the benchmark protocol in the cache and prints its folder. For benchmarks only.

Calibration, 3.9 M characters: Moby-Dick without the last 15 % of its chapters, and the State of the Union addresses
from 1934 on. Evaluation, 418 k characters: those last 21 chapters, and 8 addresses held out of the calibration:
every twelfth, counted back from 2020.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from evopress_setup.cache import cache_root, lay_out  # noqa: E402
from evopress_setup.texts import MOBY_DICK, SPEECHES, moby_dick_chapters, speeches  # noqa: E402

HELD_OUT_CHAPTERS = 0.15
FIRST_YEAR = 1934
HELD_OUT_STEP = 12
NUM_HELD_OUT = 8
LAST_HELD_OUT = "2020_donald_j_trump_r"


def main() -> None:
    folder = cache_root() / "text" / "reference-1"
    lay_out(folder, {"moby_dick": MOBY_DICK.sha256, "speeches": SPEECHES.sha256, "revision": 1}, fill)
    for name in ("calibration.txt", "evaluation.txt"):
        print(f"{name}: {len((folder / name).read_text(encoding='utf-8'))} characters", file=sys.stderr)
    print(folder)


def fill(folder: Path) -> None:
    """Writes both texts into `folder`."""
    chapters, by_name = moby_dick_chapters(), speeches()
    num_kept = int(len(chapters) * (1 - HELD_OUT_CHAPTERS))
    names = [name for name in by_name if int(name[:4]) >= FIRST_YEAR]
    held_out = names[names.index(LAST_HELD_OUT) :: -HELD_OUT_STEP][:NUM_HELD_OUT][::-1]
    write(folder / "calibration.txt", chapters[:num_kept] + [by_name[n] for n in names if n not in held_out])
    write(folder / "evaluation.txt", chapters[num_kept:] + [by_name[n] for n in held_out])


def write(path: Path, parts: list[str]) -> None:
    path.write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
