"""The cache outside the clone: one folder per thing, complete or absent, made by one process at a time."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Iterator, Sequence

STAMP = ".evopress-stamp.json"


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/evopress`, by default `~/.cache/evopress`."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().resolve() / "evopress"


def say(message: str) -> None:
    """One line of news on standard error; standard output is for answers."""
    print(f"[setup] {message}", file=sys.stderr, flush=True)


def fail(message: str) -> None:
    """End set-up with one sentence instead of a backtrace."""
    raise SystemExit(f"[setup] error: {message}")


def run_logged(command: Sequence[str], on_failure: str, cwd: Path | None = None, **environment: str) -> str:
    """Runs a command and returns its standard output; when it fails, set-up ends with the sentence and what it said."""
    result = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if result.returncode != 0:
        fail(f"{on_failure}:\n{result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def digest_of(recipe: object) -> str:
    """SHA-256 of a recipe (anything JSON can hold), in hex: the same recipe is not laid out twice."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Holds the cache's lock `name`; a second process waits and says so."""
    folder = cache_root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"{name}: waiting for another set-up that is at it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_laid_out(folder: Path, recipe: object) -> bool:
    """Whether `folder` was completed from this very recipe."""
    try:
        return json.loads((folder / STAMP).read_text())["recipe_sha256"] == digest_of(recipe)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def lay_out(folder: Path, recipe: object, fill: Callable[[Path], None]) -> bool:
    """Makes `folder` by `fill(temporary folder)` unless it is there already; returns whether it had to be made.

    The folder appears by a rename when all in it is written, so that nobody ever sees half of it.
    """
    if is_laid_out(folder, recipe):
        return False
    with lock(folder.name):
        if is_laid_out(folder, recipe):
            return False
        started = time.monotonic()
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        building.chmod(0o755)
        try:
            fill(building)
            stamp = {"recipe_sha256": digest_of(recipe), "recipe": recipe}
            (building / STAMP).write_text(json.dumps(stamp, indent=1) + "\n")
            if folder.exists():
                shutil.rmtree(folder)
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        say(f"{folder.name}: ready in {time.monotonic() - started:.0f} s")
        return True


def remove_leftovers(folder: Path) -> None:
    """Removes what an interrupted set-up of `folder` left; the caller holds its lock."""
    for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
