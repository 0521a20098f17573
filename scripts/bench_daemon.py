#!/usr/bin/env python3
"""How long the daemon takes to start, and a spec from its arrival in the folder to its run's start, each several times; medians."""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from statistics import median

CLONE = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=Path, default=CLONE / "target" / "debug", help="folder of evopressd and its plugins")
    parser.add_argument("--times", type=int, default=5, help="how often (default: 5)")
    asked = parser.parse_args()
    measured = [once(asked.bin) for _ in range(asked.times)]
    starts, arrivals, events, memories = zip(*measured)
    for what, seconds in [
        ("start of evopressd to its first answer", starts),
        ("arrival of a spec to the start of its run", arrivals),
        ("arrival of a spec to its worker's first event", events),
    ]:
        print(f"{what}: {1e3 * median(seconds):.0f} ms ({1e3 * min(seconds):.0f} to {1e3 * max(seconds):.0f})")
    print(f"resident memory of the idle daemon: {median(memories) / 1e3:.1f} MB")


def once(programs: Path) -> tuple[float, float, float, float]:
    """Seconds to the first answer, from arrival to the worker's start and to its first event, kB of the daemon."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        watched, state = Path(folder, "watched"), Path(folder, "state")
        watched.mkdir()
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        probe.close()
        command = [programs / "evopressd", "serve", "--watch", watched, "--state", state, "--plugins", programs, "--listen", address]
        command += ["--data-root", CLONE]
        began = time.time()
        daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not answers(address):
                time.sleep(0.0005)
            start = time.time() - began
            memory = resident(daemon.pid)
            time.sleep(0.2)
            (watched / "spec.tmp").write_text(json.dumps(spec()))
            arrived = time.time()
            (watched / "spec.tmp").rename(watched / "spec.yaml")
            started = appears(state, "worker.log").stat().st_ctime
            return start, started - arrived, first_event(state) - arrived, memory
        finally:
            daemon.terminate()
            daemon.wait()


def answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(f"http://{address}/healthz", timeout=1).status == 200
    except OSError:
        return False


def resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return float(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


def appears(state: Path, name: str) -> Path:
    """A file of the run, once it is there."""
    deadline = time.time() + 60
    while time.time() < deadline:
        for path in state.glob(f"runs/*/{name}"):
            return path
        time.sleep(0.001)
    sys.exit("no run has started")


def first_event(state: Path) -> float:
    """When the run's worker wrote its first event."""
    path = appears(state, "events.jsonl")
    while not (lines := path.read_text().splitlines()):
        time.sleep(0.001)
    return datetime.fromisoformat(json.loads(lines[0])["time"].replace("Z", "+00:00")).timestamp()


def spec() -> dict:
    """A tiny model's pipeline."""
    return {
        "apiVersion": "evopress/v1",
        "kind": "Pipeline",
        "metadata": {"name": "bench-daemon"},
        "model": {"source": "tests/fixtures/tiny", "device": "cpu", "dtype": "f32"},
        "calibration": {"source": "pipelines/text/calibration.txt", "tokens": 1024, "sequence_length": 64},
        "methods": [{"plugin": "drop"}],
        "target": {"drop": 0.25},
        "search": {"generations": 2, "offspring": 4},
        "evaluation": [{"source": "pipelines/text/evaluation.txt", "tokens": 512}],
    }


if __name__ == "__main__":
    main()
