"""Programs of Debian's that the tests run: docker-registry and skopeo (an OCI registry, and a client of it) and promtool.

Where the system lacks one, the packages are fetched by apt and unpacked into a folder of the cache: nothing is installed,
so root is not needed. apt checks the signature of its package lists and each package's SHA-256 against them; which package a release has changes,
so no digest of it is pinned here, and `packages.sha256` tells what came. Layout: `bin/NAME` starts the program with the
libraries beside it, which lie under `root` as in their packages.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Sequence

from .cache import cache_root, digest_of, fail, lay_out, run_logged, say, sha256_of

# Program: package.
PROGRAMS = {"docker-registry": "docker-registry", "promtool": "prometheus", "skopeo": "skopeo"}
LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
# What skopeo accepts when it copies an image; without this file it refuses all.
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n'
ARGUMENTS = {"skopeo": '--policy "$here/policy.json" '}
LAYOUT_REVISION = 1


def debian_tools() -> Path:
    """The folder: named by what is in it and by the release that its libraries are of."""
    return cache_root() / f"tools-{digest_of(recipe())[:12]}"


def recipe() -> dict:
    """What the folder depends on."""
    return {"programs": PROGRAMS, "release": release(), "layout": LAYOUT_REVISION}


def release() -> str:
    """The distribution's name and version, `debian 12`."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return "unknown"
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return " ".join(fields.get(name, "").strip('"') for name in ("ID", "VERSION_ID"))


def set_up_debian_tools() -> None:
    """Lays the folder out unless it is there or the system has all the programs."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        fail(f"the tests need {', '.join(missing)}, and there is no apt-get to fetch them with: install them")
    lay_out(debian_tools(), recipe(), fill)


def fill(folder: Path) -> None:
    """Fetches and unpacks the packages, keeps programs, libraries and licences, and proves that the programs start."""
    root, downloads = folder / "root", folder / "downloads"
    downloads.mkdir()
    packages = fetch(downloads)
    digests = "".join(f"{sha256_of(package)}  {package.name}\n" for package in packages)
    (folder / "packages.sha256").write_text(digests)
    for package in packages:
        run_logged(["dpkg-deb", "--extract", str(package), str(root)], f"cannot unpack {package.name}")
    shutil.rmtree(downloads)
    keep_only_needed(root)
    (folder / "policy.json").write_text(POLICY)
    (folder / "bin").mkdir()
    for program in PROGRAMS:
        launcher = folder / "bin" / program
        launcher.write_text(launcher_of(program))
        launcher.chmod(0o755)
        run_logged([str(launcher), "--version"], f"{program} does not start")


def fetch(downloads: Path) -> list[Path]:
    """The packages of the programs and the libraries that the system lacks, in `downloads`.

    The system's own package lists are tried first. Where they are absent or too old, new ones are fetched into a
    temporary folder, so that the system's stay as they are.
    """
    say(f"fetching {', '.join(PROGRAMS)} from the system's package sources (30 MiB)")
    with tempfile.TemporaryDirectory(dir=downloads) as scratch:
        cache = Path(scratch) / "cache"
        (cache / "archives" / "partial").mkdir(parents=True)
        own_cache = ["-o", f"Dir::Cache={cache}"]
        first_error = fetch_with(own_cache, downloads)
        if first_error:
            lists = Path(scratch) / "lists"
            (lists / "partial").mkdir(parents=True)
            own_lists = [*own_cache, "-o", f"Dir::State::Lists={lists}"]
            apt(own_lists, "update", on_failure="apt-get could not fetch package lists")
            if error := fetch_with(own_lists, downloads):
                fail(f"apt-get could not fetch the tests' tools:\n{error}")
    return sorted(downloads.glob("*.deb"))


def fetch_with(options: Sequence[str], downloads: Path) -> str | None:
    """Downloads all packages; returns what apt-get said where it could not."""
    plan = try_apt(options, "install", "--simulate", "--no-install-recommends", *PROGRAMS.values())
    if plan.returncode != 0:
        return plan.stderr
    # "Inst libgpgme11 (1.18.0-3+b1 Debian:12.12/oldstable [amd64])"
    lacking = re.findall(r"^Inst (\S+)", plan.stdout, re.MULTILINE)
    libraries = [name for name in lacking if re.match(r"lib(?!js-)", name)]
    download = try_apt(options, "download", *PROGRAMS.values(), *libraries, cwd=downloads)
    return download.stderr if download.returncode != 0 else None


def try_apt(options: Sequence[str], *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs apt-get, in English, without changing anything of the system."""
    command = ["apt-get", "--quiet", *options]
    if os.geteuid() == 0:
        # The user that apt fetches as cannot write into this user's cache.
        command += ["-o", "APT::Sandbox::User=root"]
    return subprocess.run(
        [*command, *arguments],
        cwd=cwd, env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )


def apt(options: Sequence[str], *arguments: str, on_failure: str) -> None:
    """Runs apt-get; when it fails, set-up ends with the sentence and what it said."""
    result = try_apt(options, *arguments)
    if result.returncode != 0:
        fail(f"{on_failure}:\n{result.stderr.strip()}")


def keep_only_needed(root: Path) -> None:
    """Removes what is neither one of the programs, nor a library, nor a licence."""
    kept = [root / "usr/bin" / program for program in PROGRAMS]
    folders = [root / folder for folder in LIBRARY_FOLDERS]
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept and path.name != "copyright" and not any(folder in path.parents for folder in folders):
            path.unlink()


def launcher_of(program: str) -> str:
    """A script that becomes the program, with the unpacked libraries before the system's."""
    libraries = ":".join(f"$here/root/{folder}" for folder in LIBRARY_FOLDERS)
    return (
        "#!/bin/sh\n"
        'here=$(dirname "$(dirname "$(readlink -f "$0")")")\n'
        f'LD_LIBRARY_PATH="{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"\n'
        "export LD_LIBRARY_PATH\n"
        f'exec "$here/root/usr/bin/{program}" {ARGUMENTS.get(program, "")}"$@"\n'
    )
