#!/usr/bin/env bash
# On a machine with a GPU, Python's torch (2.11, CUDA) and the folder that scripts/gpu_kit.py packed: the engine's tests on the GPU, parity
# with transformers, KL without logits, two searches, and the speed of candidate evaluation.
#   EVOPRESS_DATA=FOLDER scripts/gpu_check.sh [KIT]        FOLDER/models holds SmolLM2-135M-Instruct.gguf; KIT is target/gpu-kit
# The clone lies where it lay when the kit was made: the tests know their fixtures by path.
set -uo pipefail
cd "$(dirname "$0")/.."
kit=$(realpath "${1:-target/gpu-kit}")
torch=$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))') || exit 2
export LD_LIBRARY_PATH=$torch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} EVOPRESS_TEST_DEVICE=cuda EVOPRESS_TEST_PROGRAMS=$kit
: "${EVOPRESS_DATA:?name the folder whose models/ holds SmolLM2-135M-Instruct.gguf}"
export EVOPRESS_DATA EVOPRESS_DATA_ROOT=$EVOPRESS_DATA
failed=()
step() {
    local name=$1 began=$SECONDS
    shift
    echo "==> $name"
    timeout "${STEP_SECONDS:-300}" "$@" || failed+=("$name")
    echo "    $((SECONDS - began)) s"
}

nvidia-smi --query-gpu=name,memory.total --format=csv,noheader
# Some tests time out on purpose or hold many tensors: a few at a time.
step "the engine's tests" "$kit/tests/evopress" --test-threads 4 --quiet
step "parity with transformers" "$kit/tests/parity" --test-threads 1 --nocapture
step "KL without logits" "$kit/tests/kl" --test-threads 1
step "speed of candidate evaluation" "$kit/tests/gpu"
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
for pipeline in smollm2-depth smollm2-3bit; do
    step "pipeline $pipeline" "$kit/evopressd" run "pipelines/$pipeline.yaml" --state "$state" --plugins "$kit"
done
if ((${#failed[@]})); then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
echo "all passed"
