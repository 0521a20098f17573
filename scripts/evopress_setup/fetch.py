"""Fetching packages through pip, with progress in bytes and digests checked before anything is used."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Sequence

from .cache import fail, say, sha256_of
from .pins import Wheel

MIB = 1 << 20
# Any glibc that Debian 12 can run; pip wants each tag named.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_25_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def pip_download(wheels: Sequence[Wheel], folder: Path) -> list[Path]:
    """Downloads exactly these wheels into `folder` and returns their paths, in order, digests checked."""
    folder.mkdir(parents=True, exist_ok=True)
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(wheel.requirement + "\n" for wheel in wheels))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none"]
    for platform in (*PLATFORMS, "any"):
        command += ["--platform", platform]
    names = ", ".join(f"{wheel.package} {wheel.version}" for wheel in wheels)
    run_with_progress([*command, "-r", str(requirements)], names, folder, sum(wheel.size_bytes for wheel in wheels))
    return [find_verified(wheel, folder) for wheel in wheels]


def find_verified(wheel: Wheel, folder: Path) -> Path:
    """The file of `wheel` in `folder`; stops set-up when its digest is not the pinned one."""
    prefix = f"{wheel.package.replace('-', '_')}-{wheel.version}-"
    for path in folder.glob("*.whl"):
        if path.name.startswith(prefix):
            found = sha256_of(path)
            if found != wheel.sha256:
                fail(f"{path.name}: expected SHA-256 {wheel.sha256}, found {found}")
            return path
    fail(f"pip left no wheel of {wheel.package} {wheel.version} in {folder}")


def run_with_progress(command: Sequence[str], what: str, folder: Path, total_bytes: int) -> None:
    """Runs pip with its temporary files under `folder`, so that the bytes that arrive can be counted."""
    scratch = folder / "pip-tmp"
    scratch.mkdir()
    say(f"fetching {what} ({total_bytes / MIB:.0f} MiB)")
    done = threading.Event()
    reporter = threading.Thread(target=report_bytes, args=(folder, total_bytes, done), daemon=True)
    reporter.start()
    try:
        # No output to a terminal of pip's own: ours shows the bytes.
        result = subprocess.run(
            command, env={**os.environ, "TMPDIR": str(scratch), "PIP_ROOT_USER_ACTION": "ignore"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
    finally:
        done.set()
        reporter.join()
    if result.returncode != 0:
        fail(f"pip could not fetch {what}:\n{result.stdout.strip()}")


def report_bytes(folder: Path, total_bytes: int, done: threading.Event) -> None:
    """Shows the bytes under `folder`: twice a second on a terminal, every 15 seconds otherwise."""
    on_terminal = sys.stderr.isatty()
    started = time.monotonic()
    arrived = 0
    while not done.wait(0.5 if on_terminal else 15):
        arrived = max(arrived, min(folder_bytes(folder), total_bytes))
        rate = arrived / MIB / (time.monotonic() - started)
        line = f"[setup]   {arrived / MIB:5.0f} of {total_bytes / MIB:.0f} MiB, {rate:.1f} MiB/s"
        if arrived == total_bytes:
            line = f"[setup]   all {total_bytes / MIB:.0f} MiB fetched, unpacking"
        print(f"\r{line}\x1b[K" if on_terminal else line, end="" if on_terminal else "\n", file=sys.stderr, flush=True)
    if on_terminal:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files under `folder`; files that vanish while it looks count as nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            pass
    return total
