"""A folder for PYTHONPATH with the real transformers on the CPU, for tests only.

PyPI's torch for Linux is the CUDA build: importing it loads NVIDIA's libraries, 2 GB to fetch and 3 GB on disk, of which
a CPU run calls none but the runtime and CUPTI (torch asks the runtime whether there is a GPU). Those two come from their
wheels. In place of the others, libraries are compiled here that have the names torch's libraries want to find and end
the process with a sentence when one of them is called. torch and transformers themselves are untouched.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .cache import cache_root, digest_of, fail, lay_out, run_logged, sha256_of
from .fetch import run_with_progress

SCRIPTS = Path(__file__).resolve().parent.parent
REQUIREMENTS = SCRIPTS / "requirements-test.txt"
PLOT_REQUIREMENTS = SCRIPTS / "requirements-plots.txt"
DOWNLOAD_BYTES = 772_000_000
LAYOUT_REVISION = 1
# Stand-ins by file name, with what the names of their functions begin with.
STAND_INS = {
    "libcublas.so.13": "cublas",
    "libcublasLt.so.13": "cublasLt",
    "libcudnn.so.9": "cudnn",
    "libcufft.so.12": "cufft",
    "libcufile.so.0": "cuFile",
    "libcurand.so.10": "curand",
    "libcusparse.so.12": "cusparse",
    "libcusparseLt.so.0": "cusparseLt",
    "libnccl.so.2": "nccl",
    "libnvshmem_host.so.3": "nvshmem",
}
CUDA_USERS = ("libtorch_cuda.so", "libtorch_nvshmem.so", "libtorch_python.so")


def python_tools() -> Path:
    """The folder for PYTHONPATH: named by what is in it and by the Python that it is for."""
    return cache_root() / f"python-{digest_of(recipe())[:12]}"


def recipe() -> dict:
    """What the folder depends on."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"requirements_sha256": sha256_of(REQUIREMENTS), "python": version, "layout": LAYOUT_REVISION}


def set_up_python() -> None:
    """Installs the packages unless they are there, and proves that they work."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        fail(f"the tests' Python packages are pinned for Python 3.11 to 3.13; this is {sys.version.split()[0]}")
    lay_out(python_tools(), recipe(), fill)


def fill(folder: Path) -> None:
    """The packages, and the stand-ins beside them."""
    install(REQUIREMENTS, "transformers and what it needs, for the tests", folder, DOWNLOAD_BYTES)
    build_stand_ins(folder)
    run_logged([sys.executable, "-c", PROOF], "the tests' Python packages do not work", PYTHONPATH=str(folder))


def install(requirements: Path, what: str, folder: Path, download_bytes: int) -> None:
    """pip's --target needs neither a virtual environment nor a writable system."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile", "--target", str(folder)]
    command += ["--requirement", str(requirements)]
    run_with_progress(command, what, folder, download_bytes)
    for name in ("requirements.txt", "pip-tmp"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def set_up_plots() -> Path:
    """A folder for PYTHONPATH with matplotlib, for the plots of a benchmark."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    needs = {"requirements_sha256": sha256_of(PLOT_REQUIREMENTS), "python": version}
    folder = cache_root() / f"plots-{digest_of(needs)[:12]}"
    lay_out(folder, needs, lambda target: install(PLOT_REQUIREMENTS, "matplotlib, for the plots", target, 40_000_000))
    return folder


PROOF = """
import torch, transformers
assert not torch.cuda.is_available() or torch.cuda.device_count() > 0
x = torch.ones(4, 4, dtype=torch.bfloat16)
assert (x @ x).sum().item() == 64
config = transformers.LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=32)
assert transformers.LlamaForCausalLM(config)(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 32)
"""


def build_stand_ins(folder: Path) -> None:
    """Compiles one library for each name in STAND_INS, with the functions that torch's libraries look up."""
    target = folder / "nvidia" / "cu13" / "lib"
    wanted: dict[str, set[str]] = {name: set() for name in STAND_INS}
    versions: dict[str, str] = {}
    for user in CUDA_USERS:
        listing = run_logged(["readelf", "--dyn-syms", "--wide", str(folder / "torch" / "lib" / user)], "readelf failed")
        for symbol, version in re.findall(r"(?:FUNC|NOTYPE)\s+\w+\s+\w+\s+UND\s+(\w+)(?:@(\S+))?", listing):
            library = version if version in wanted else library_of(symbol)
            if library:
                wanted[library].add(symbol)
                if version:
                    versions[library] = version
    with tempfile.TemporaryDirectory() as scratch:
        for library, symbols in wanted.items():
            compile_stand_in(Path(scratch), target / library, sorted(symbols), versions.get(library))


def library_of(symbol: str) -> str | None:
    """The library that a function belongs to by its name, the longest prefix first."""
    matches = [(len(prefix), library) for library, prefix in STAND_INS.items() if symbol.startswith(prefix)]
    return max(matches)[1] if matches else None


def compile_stand_in(scratch: Path, path: Path, symbols: list[str], version: str | None) -> None:
    """One shared library whose every function says what was called and aborts."""
    source, script = scratch / "stand_in.c", scratch / "versions"
    lines = ["#include <stdio.h>", "#include <stdlib.h>"]
    for symbol in symbols:
        sentence = f"{symbol} of {path.name} was called: the tests' torch runs on the CPU only"
        lines.append(f'void {symbol}(void) {{ fputs("{sentence}\\n", stderr); abort(); }}')
    source.write_text("\n".join(lines) + "\n")
    command = ["cc", "-shared", "-fPIC", "-O1", "-w", f"-Wl,-soname,{path.name}", "-o", str(path), str(source)]
    if version:
        script.write_text(f"{version} {{ global: *; }};\n")
        command.append(f"-Wl,--version-script={script}")
    run_logged(command, f"could not compile the stand-in for {path.name}")
