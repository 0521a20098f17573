"""`cargo fuzz`, built from crates.io by its locked dependencies: no package index has it prebuilt."""

import shutil
from pathlib import Path

from .cache import cache_root, lay_out, run_logged, say
from .pins import CARGO_FUZZ_VERSION


def set_up_cargo_fuzz() -> None:
    """Puts the program into the cache unless it is there, and prints its path."""
    folder = cache_root() / f"cargo-fuzz-{CARGO_FUZZ_VERSION}"
    lay_out(folder, {"crate": f"cargo-fuzz {CARGO_FUZZ_VERSION}"}, fill)
    print(folder / "bin/cargo-fuzz")


def fill(folder: Path) -> None:
    """Builds the program, and proves that it starts."""
    say("cargo-fuzz: building it, which takes some minutes")
    command = ["cargo", "install", "cargo-fuzz", "--version", CARGO_FUZZ_VERSION, "--locked", "--root", str(folder)]
    run_logged(command, "cargo-fuzz cannot be built", CARGO_TARGET_DIR=str(folder / "target"))
    shutil.rmtree(folder / "target")
    run_logged([str(folder / "bin/cargo-fuzz"), "--version"], "cargo-fuzz does not start")
