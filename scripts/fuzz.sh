#!/usr/bin/env bash
# Fuzzes the readers of models and specs, each for FUZZ_SECONDS (60), one after the other: all targets, or those named. What
# fails is left in fuzz/artifacts; what reaches code that nothing reached before joins fuzz/corpus.
#
#   scripts/fuzz.sh [TARGET…]
#   MINIMIZE=1 scripts/fuzz.sh    afterwards leaves in the corpus no more than reaches as much
set -euo pipefail
cd "$(dirname "$0")/.."

# The stable toolchain has libFuzzer's instrumentation and AddressSanitizer. RUSTC_BOOTSTRAP lets it take the flags.
export RUSTC_BOOTSTRAP=1
# A folder in memory for the files of the inputs.
TMPDIR=$(mktemp -d -p "$([[ -d /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

fuzz() {
    "${CARGO_FUZZ:-cargo-fuzz}" "$@"
}

targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(fuzz list)
failed=()
for target in "${targets[@]}"; do
    echo "==> fuzz $target"
    options=(-max_total_time="${FUZZ_SECONDS:-60}" -max_len=8192 -timeout=20 -rss_limit_mb=4096 -malloc_limit_mb=1024 -print_final_stats=1)
    [[ -f fuzz/dictionaries/$target ]] && options+=(-dict="fuzz/dictionaries/$target")
    regressions=fuzz/regressions/$target
    mkdir -p "fuzz/corpus/$target"
    inputs=("fuzz/corpus/$target")
    [[ -d $regressions ]] && inputs+=("$regressions")
    fuzz run "$target" "${inputs[@]}" -- "${options[@]}" || failed+=("$target")
    [[ -n ${MINIMIZE:-} ]] && fuzz cmin "$target"
done
((${#failed[@]})) || exit 0
echo "failed: ${failed[*]}; the inputs are in fuzz/artifacts" >&2
exit 1
