#!/usr/bin/env python3
"""Prints what `make check` tests, as arguments of `cargo test`: what needs no libtorch, no model and no other program.

A member of the workspace belongs to it when neither it nor its tests depend on torch-sys. A test program that runs other
programs is left out where the package's Cargo.toml says what it needs:

    [package.metadata.evopress.tests-need]
    servers = "docker-registry, skopeo, MLflow and moto"
"""

import json
import subprocess
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
LIBTORCH = "torch-sys"


def main() -> None:
    command = ["cargo", "metadata", "--quiet", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, cwd=CLONE, stdout=subprocess.PIPE, check=True).stdout)
    dependencies = {node["id"]: node["deps"] for node in metadata["resolve"]["nodes"]}
    names = {package["id"]: package["name"] for package in metadata["packages"]}
    members = [package for package in metadata["packages"] if package["id"] in metadata["workspace_members"]]
    chosen = [member for member in members if LIBTORCH not in {names[id] for id in needed(member["id"], dependencies)}]
    packages = [argument for member in chosen for argument in ("--package", member["name"])]
    programs = sorted({name for member in chosen for name in test_programs(member)})
    print(*packages, "--lib", "--bins", *(argument for name in programs for argument in ("--test", name)))


def needed(member: str, dependencies: dict[str, list]) -> set[str]:
    """All that a package and its tests are built from."""
    found = {member}
    to_visit = [dependency["pkg"] for dependency in dependencies[member]]
    while to_visit:
        package = to_visit.pop()
        if package not in found:
            found.add(package)
            to_visit += [
                dependency["pkg"]
                for dependency in dependencies[package]
                if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])
            ]
    return found


def test_programs(package: dict) -> list[str]:
    """The package's integration tests that need no other program."""
    metadata = (package["metadata"] or {}).get("evopress", {})
    programs = [target["name"] for target in package["targets"] if "test" in target["kind"]]
    return [name for name in programs if name not in metadata.get("tests-need", {})]


if __name__ == "__main__":
    main()
