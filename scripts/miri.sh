#!/usr/bin/env bash
# Runs the tests over tensors, the plugin boundary and packed weights under Miri, which finds undefined behaviour that no
# sanitizer sees. Needs a nightly toolchain: rustup toolchain install nightly --component miri rust-src
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "Miri is not installed: rustup toolchain install nightly --component miri rust-src" >&2
    exit 1
fi
# Temporary files and the clock are the machine's.
export MIRIFLAGS="-Zmiri-disable-isolation"
exec cargo +nightly miri test --package evopress-plugin --lib --target-dir target/miri \
    -- tensor:: abi:: packed:: ggml:: method:: "$@"
