#!/usr/bin/env bash
# Runs a command as one named step: says what it does before, and how long it took after.
#   scripts/step.sh "build the workspace" cargo build --workspace
set -euo pipefail

name=$1
shift
started=$SECONDS
printf '==> %s\n' "$name" >&2
code=0
"$@" || code=$?
if ((code != 0)); then
    printf '==> %s: failed after %d s (exit status %d)\n' "$name" $((SECONDS - started)) "$code" >&2
    exit "$code"
fi
printf '==> %s: %d s\n' "$name" $((SECONDS - started)) >&2
