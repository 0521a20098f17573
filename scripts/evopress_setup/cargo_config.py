"""`.cargo/config.toml` of this clone, so that plain `cargo build`, `cargo test` and `cargo run` find libtorch."""

import json
import os
from pathlib import Path

from .cache import say
from .data import data_root
from .debian_tools import debian_tools
from .libtorch import libtorch_home
from .node_tools import node_tools
from .python_tools import python_tools
from .server_tools import server_tools

CLONE = Path(__file__).resolve().parent.parent.parent
HEADER = "# Written by scripts/setup.py; not in git. A variable of your own environment wins over its line here.\n"


def variables() -> dict[str, Path]:
    """What cargo hands to builds, tests and programs; the tools' folders may not be there yet."""
    return {
        "LIBTORCH": libtorch_home(),
        "EVOPRESS_DATA": data_root(),
        "EVOPRESS_DATA_ROOT": data_root(),
        "EVOPRESS_TEST_PYTHONPATH": python_tools(),
        "EVOPRESS_TEST_SERVERS": server_tools(),
        "EVOPRESS_TEST_NODE": node_tools(),
        "EVOPRESS_TEST_TOOLS": debian_tools() / "bin",
    }


def write_cargo_config() -> None:
    """Writes the file where it is absent or ours and different."""
    path = CLONE / ".cargo" / "config.toml"
    text = HEADER + "[env]\n"
    for name, value in variables().items():
        # A TOML basic string and a JSON string escape alike.
        text += f"{name} = {{ value = {json.dumps(str(value))}, force = false }}\n"
    present = path.read_text() if path.exists() else None
    if present == text:
        return
    if present is not None and not present.startswith(HEADER[:30]):
        say(f"{path} is not ours and stays as it is; cargo needs in its [env]: {variables()}")
        return
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
    say("wrote .cargo/config.toml: cargo finds libtorch now")
