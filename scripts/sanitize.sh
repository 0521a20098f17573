#!/usr/bin/env bash
# Runs the tests over tensors, the plugin boundary and packed weights under AddressSanitizer and LeakSanitizer. The stable
# toolchain has their runtime. RUSTC_BOOTSTRAP lets it take the flag.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes"
# The build is most of the time: optimised code would take three times as long and run no faster to speak of.
export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_INCREMENTAL=0
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:detect_leaks=1

# What a panic's payload panics with when it is dropped is forgotten on purpose.
mkdir -p target/sanitize
echo 'leak:abi::guard::describe' > target/sanitize/leaks
export LSAN_OPTIONS=suppressions=$PWD/target/sanitize/leaks:print_suppressions=0

# With --target, build scripts and macros are not instrumented.
exec cargo test --package evopress-plugin --lib \
    --target "$(rustc -vV | sed -n 's/^host: //p')" --target-dir target/sanitize "$@"
