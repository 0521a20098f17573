"""libtorch for linking and running: the C++ half of PyTorch's wheel, without what a machine without a GPU never loads.

Layout: `torch/{lib,include}` beside `nvidia/cu13/lib`, because the libraries find each other by relative paths.
"""

import shutil
import zipfile
from pathlib import Path

from .cache import cache_root, lay_out
from .fetch import pip_download
from .pins import LIBTORCH_WHEELS, TORCH_VERSION

TORCH_LIBRARIES = ("libc10.so", "libgomp.so.1", "libtorch_cpu.so")
NVIDIA_LIBRARIES = ("libcudart.so.13", "libcupti.so.13")
# `libtorch.so` proper pulls in libtorch_cuda.so and with it 4 GB of CUDA. The linker reads this text instead.
LINKER_SCRIPT = "INPUT(libtorch_cpu.so)\n"
LAYOUT_REVISION = 1


def libtorch_home() -> Path:
    """The folder that LIBTORCH names."""
    return cache_root() / f"libtorch-{TORCH_VERSION}" / "torch"


def set_up_libtorch() -> None:
    """Lays libtorch out in the cache unless it is there."""
    recipe = {"wheels": [wheel.requirement for wheel in LIBTORCH_WHEELS], "layout": LAYOUT_REVISION}
    lay_out(libtorch_home().parent, recipe, fill)


def fill(folder: Path) -> None:
    """Unpacks the wanted members of the wheels into `folder`."""
    downloads = folder / "downloads"
    for wheel in pip_download(LIBTORCH_WHEELS, downloads):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                target = wanted(member.filename)
                if target is None or member.is_dir():
                    continue
                path = folder / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, path.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
    shutil.rmtree(downloads)
    (folder / "torch/lib/libtorch.so").write_text(LINKER_SCRIPT)
    (folder / "torch/build-version").write_text(TORCH_VERSION + "\n")


def wanted(name: str) -> str | None:
    """Where a wheel's member goes in the layout, or None where it is not needed."""
    first, _, rest = name.partition("/")
    if name.startswith("torch/include/"):
        return name
    if name.startswith("torch/lib/") and name.rsplit("/", 1)[1] in TORCH_LIBRARIES:
        return name
    if name.startswith("nvidia/cu13/lib/") and name.rsplit("/", 1)[1] in NVIDIA_LIBRARIES:
        return name
    if first.endswith(".dist-info") and rest.rsplit("/", 1)[-1].lower() in ("license", "license.txt", "notice"):
        return f"licenses/{first.removesuffix('.dist-info')}/{rest.rsplit('/', 1)[-1]}"
    return None
