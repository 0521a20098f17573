#!/usr/bin/env python3
"""Runs `cargo test` with the given arguments to its end, whatever fails on the way, and names at last what failed.

Exits as cargo does. The last lines are the failed tests, each with its program, and `N passed, N failed, N skipped`.
"""

import os
import re
import subprocess
import sys

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# "     Running tests/schema.rs (target/debug/deps/schema-0f3c)" or "   Doc-tests evopress_spec"
PROGRAM = re.compile(r"^\s+(?:Running (?:unittests )?(\S+) \(.*/(\S+)-[0-9a-f]{16}\)|Doc-tests (\S+))")
# "test watching::a_file_is_seen ... FAILED"; "test src/lib.rs - (line 3) ... FAILED"
FAILED = re.compile(r"^test (.+) \.\.\. FAILED")
RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
# "error: test failed, to rerun pass `-p evopress-spec --test schema`": also where a program crashed.
RERUN = re.compile(r"^error: (?:doc)?test failed, to rerun pass `(.*)`")


def main() -> int:
    command = [os.environ.get("CARGO", "cargo"), "test", "--no-fail-fast", *sys.argv[1:]]
    environment = dict(os.environ)
    if sys.stdout.isatty():
        environment.setdefault("CARGO_TERM_COLOR", "always")
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    program, counts, failures, programs = "", [0, 0, 0], [], []
    for line in child.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        plain = COLOUR.sub("", line)
        if found := PROGRAM.match(plain):
            file, name, crate = found.groups()
            program = f"{name}: {file}" if name else f"{crate}: doc-tests"
        elif found := FAILED.match(plain):
            failures.append(f"{program}: {found[1]}")
        elif found := RESULT.match(plain):
            counts = [total + int(more) for total, more in zip(counts, found.groups())]
        elif found := RERUN.match(plain):
            programs.append(found[1])
    code = child.wait()
    print()
    for failure in failures:
        print(f"failed: {failure}")
    for arguments in programs:
        print(f"run again: cargo test {arguments}")
    if code != 0 and not failures:
        print(f"cargo test failed (exit status {code}): the messages above say why")
    print("{} passed, {} failed, {} skipped".format(*counts))
    return code


if __name__ == "__main__":
    sys.exit(main())
