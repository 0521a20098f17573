"""A folder for PYTHONPATH with real servers that tests publish to, MLflow and moto's S3, and their clients.

Apart from the folder of transformers: the two pin some packages differently.
"""

import shutil
import sys
from pathlib import Path

from .cache import cache_root, digest_of, fail, lay_out, run_logged, sha256_of
from .fetch import run_with_progress

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements-test-servers.txt"
DOWNLOAD_BYTES = 100_000_000
LAYOUT_REVISION = 1


def server_tools() -> Path:
    """The folder for PYTHONPATH: named by what is in it and by the Python that it is for."""
    return cache_root() / f"servers-{digest_of(recipe())[:12]}"


def recipe() -> dict:
    """What the folder depends on."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"requirements_sha256": sha256_of(REQUIREMENTS), "python": version, "layout": LAYOUT_REVISION}


def set_up_servers() -> None:
    """Installs the packages unless they are there, and proves that they can be imported."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        fail(f"the tests' servers are pinned for Python 3.11 to 3.13; this is {sys.version.split()[0]}")
    lay_out(server_tools(), recipe(), fill)


def fill(folder: Path) -> None:
    """pip's --target needs neither a virtual environment nor a writable system."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile", "--target", str(folder)]
    command += ["--requirement", str(REQUIREMENTS)]
    run_with_progress(command, "MLflow, moto and clients, for the tests", folder, DOWNLOAD_BYTES)
    shutil.rmtree(folder / "pip-tmp", ignore_errors=True)
    run_logged([sys.executable, "-c", PROOF], "the tests' servers cannot be imported", PYTHONPATH=str(folder))


PROOF = "import boto3, mlflow.server.fastapi_app, modelpack_client, moto.server"
