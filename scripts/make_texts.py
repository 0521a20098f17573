#!/usr/bin/env python3
"""Makes `pipelines/text/calibration.txt` and `pipelines/text/evaluation.txt`, which are committed.

Calibration: Moby-Dick, chapters 1 to 66. Evaluation: Persuasion, chapters 1 to 12. Different books by different
authors, so that what the search fits on is not what it is judged on. Needs Debian 12's apt for Persuasion.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from evopress_setup.cache import fail, say, sha256_of  # noqa: E402
from evopress_setup.texts import austen_novels, moby_dick_chapters, paragraphs  # noqa: E402

FOLDER = Path(__file__).resolve().parent.parent / "pipelines" / "text"
AUSTEN_PACKAGE = "r-cran-janeaustenr=1.0.0-1"
AUSTEN_SHA256 = "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95"
AUSTEN_RDATA = "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
PERSUASION_IDX = 3
NUM_CALIBRATION_CHAPTERS = 66
NUM_EVALUATION_CHAPTERS = 12


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    calibration = [part for chapter in moby_dick_chapters()[:NUM_CALIBRATION_CHAPTERS] for part in lines_of(chapter)]
    write("calibration.txt", calibration)
    persuasion = paragraphs(austen_novels(fetch_austen())[PERSUASION_IDX])
    start = persuasion.index("Chapter 1")
    end = persuasion.index(f"Chapter {NUM_EVALUATION_CHAPTERS + 1}")
    write("evaluation.txt", persuasion[start:end])


def lines_of(chapter: str) -> list[str]:
    """The package keeps one paragraph a line."""
    return [line.strip() for line in chapter.splitlines() if line.strip()]


def fetch_austen() -> bytes:
    """Jane Austen's novels as the Debian package holds them."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", "-qq", AUSTEN_PACKAGE], cwd=folder, check=True, stdin=subprocess.DEVNULL)
        [package] = Path(folder).glob("*.deb")
        if (found := sha256_of(package)) != AUSTEN_SHA256:
            fail(f"{package.name}: expected SHA-256 {AUSTEN_SHA256}, found {found}")
        subprocess.run(["dpkg-deb", "--extract", str(package), folder], check=True)
        return (Path(folder) / AUSTEN_RDATA).read_bytes()


def write(name: str, parts: list[str]) -> None:
    """Paragraphs, one empty line between them, UTF-8."""
    path = FOLDER / name
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    say(f"{path.relative_to(FOLDER.parent.parent)}: {path.stat().st_size} bytes, SHA-256 {sha256_of(path)}")


if __name__ == "__main__":
    main()
