#!/usr/bin/env python3
"""Sets up what evopressd needs outside the clone: libtorch, the demo's model, and models and tools for the tests.

Everything goes to `$XDG_CACHE_HOME/evopress` (by default `~/.cache/evopress`), is checked by SHA-256, appears
by a rename when it is complete, and is left alone by the next run. Needs Python's standard library and pip; where a program of
the tests is missing, apt-get too, but no root.
"""

import argparse
import platform
import sys
from pathlib import Path

if sys.version_info < (3, 10) or (platform.system(), platform.machine()) != ("Linux", "x86_64"):
    raise SystemExit(
        f"[setup] error: needs x86_64 Linux and Python 3.10 or later; "
        f"this is {platform.machine()} {platform.system()} and Python {platform.python_version()}"
    )
sys.path.insert(0, str(Path(__file__).resolve().parent))

from evopress_setup.cargo_config import write_cargo_config  # noqa: E402
from evopress_setup.cargo_deny import set_up_cargo_deny  # noqa: E402
from evopress_setup.cargo_fuzz import set_up_cargo_fuzz  # noqa: E402
from evopress_setup.data import set_up_data, set_up_test_models  # noqa: E402
from evopress_setup.debian_tools import set_up_debian_tools  # noqa: E402
from evopress_setup.libtorch import set_up_libtorch  # noqa: E402
from evopress_setup.node_tools import set_up_node  # noqa: E402
from evopress_setup.python_tools import set_up_python  # noqa: E402
from evopress_setup.server_tools import set_up_servers  # noqa: E402

LIBTORCH = [set_up_libtorch, write_cargo_config]
STEPS = {
    "libtorch": (LIBTORCH, "PyTorch's C++ libraries, for building and running, and .cargo/config.toml to match"),
    "data": ([set_up_data], "the demo's model"),
    "models": ([set_up_test_models], "Gemma 3 270M and Qwen2.5-Coder-0.5B-Instruct, which tests read"),
    "python": ([set_up_python], "transformers on the CPU, for tests"),
    "node": ([set_up_node], "llama.cpp under Node.js, for tests"),
    "servers": ([set_up_servers], "MLflow and moto, which tests publish to"),
    "debian": ([set_up_debian_tools], "docker-registry, skopeo and promtool, for tests, where the system lacks one"),
    "cargo-deny": ([set_up_cargo_deny], "cargo-deny, which checks licences and sources of third-party crates; prints its path"),
    "cargo-fuzz": ([set_up_cargo_fuzz], "cargo-fuzz, which fuzzes the readers of models and specs; prints its path"),
    "all-for-demo": ([*LIBTORCH, set_up_data], "libtorch and data"),
    "all-for-test": (
        [*LIBTORCH, set_up_data, set_up_test_models, set_up_python, set_up_node, set_up_servers, set_up_debian_tools],
        "libtorch, data, models, python, node, servers and debian",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="step", required=True, metavar="WHAT")
    for name, (_, help_text) in STEPS.items():
        commands.add_parser(name, help=help_text)
    for step in STEPS[parser.parse_args().step][0]:
        step()


if __name__ == "__main__":
    main()
