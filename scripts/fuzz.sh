#!/usr/bin/env bash
# Fuzzes the readers of models and specs, each for FUZZ_SECONDS (60), one after the other: all targets, or those named. What
# fails is left in fuzz/artifacts. An input that reaches code that no other reaches joins fuzz/corpus.
#
#   scripts/fuzz.sh [TARGET…]
#   MINIMIZE=1 scripts/fuzz.sh          afterwards leaves in the corpus no more inputs than reach as much
#   SANITIZER=address scripts/fuzz.sh   also finds faults of memory, at a third of the speed
set -euo pipefail
cd "$(dirname "$0")/.."

# The stable toolchain has all that libFuzzer needs. RUSTC_BOOTSTRAP lets it take the flags.
export RUSTC_BOOTSTRAP=1
# A folder in memory for the files of the inputs.
memory=/dev/shm
[[ -d $memory ]] || memory=${TMPDIR:-/tmp}
TMPDIR=$(mktemp -d -p "$memory")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

fuzz() {
    local command=$1
    shift
    "${CARGO_FUZZ:-cargo-fuzz}" "$command" --sanitizer "${SANITIZER:-none}" "$@"
}

targets=("$@")
((${#targets[@]})) || mapfile -t targets < <("${CARGO_FUZZ:-cargo-fuzz}" list)
options=(-max_total_time="${FUZZ_SECONDS:-60}" -max_len=8192 -timeout=20 -rss_limit_mb=4096 -malloc_limit_mb=1024)
failed=()
for target in "${targets[@]}"; do
    echo "==> fuzz $target"
    inputs=(fuzz/corpus/"$target")
    [[ -d fuzz/regressions/$target ]] && inputs+=(fuzz/regressions/"$target")
    fuzz run "$target" "${inputs[@]}" -- "${options[@]}" -dict=fuzz/dictionaries/"$target" || failed+=("$target")
    [[ -z ${MINIMIZE:-} ]] || fuzz cmin "$target" -- -max_len=8192 -use_counters=0
done
((${#failed[@]} == 0)) || {
    echo "failed: ${failed[*]}; the inputs are in fuzz/artifacts" >&2
    exit 1
}
