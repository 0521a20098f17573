#!/bin/bash
# Stands in for evopress-worker in tests of the daemon: the same command line and files, no work. What it does is the
# label `fake` of the pipeline.
set -u

behaviour_of() {
    sed -n 's/.*"fake": *"\([a-z0-9-]*\)".*/\1/p; s/.*"fake":"\([a-z0-9-]*\)".*/\1/p' "$1" | head -n 1
}

event() {
    printf '{"time":"%s",%s}\n' "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)" "$1" >>"$run/events.jsonl"
}

generations() { # from, to
    for ((generation = $1; generation <= $2; generation++)); do
        event "\"event\":\"generation\",\"generation\":$generation,\"generations\":5,\"best_fitness\":0.$((60 - generation)),\"accepted\":true,\"forward_tokens\":$((generation * 1000)),\"search_seconds\":$generation.5,\"held_out\":0.75"
        echo "$generation" >"$run/checkpoint.txt"
    done
}

finish() { # status, whether the gate was passed
    mkdir -p "$run/model/onnx"
    echo '{"num_hidden_layers": 22}' >"$run/model/config.json"
    head -c 3000000 /dev/zero >"$run/model/model.safetensors"
    echo nested >"$run/model/onnx/extra.txt"
    echo '<!doctype html><title>report</title>' >"$run/report.html"
    cat >"$run/report.json.tmp" <<REPORT
{"run": "$(basename "$run")", "name": "tiny", "status": "$1", "reason": null, "spec_digest": "00", "target": {"drop": 0.25},
 "achieved": {"measure": "drop", "value": 0.2333, "parameters": 106000000, "dense_parameters": 134515008, "size_bytes": 212000000, "dense_size_bytes": 269030016},
 "genotype": {"model.layers.0.mlp": "keep", "model.layers.3.mlp": "drop"},
 "search": {"mode": "paper", "generations": 5, "forward_tokens": 5000, "seconds": 5.5, "best_fitness": 0.55, "history": []},
 "evaluation": [
   {"set": "held-out", "metric": "perplexity", "dense": 18.42, "compressed": 33.1, "baselines": {"shortgpt": 52.7, "cosine window": 41.25}, "tokens": 32768},
   {"set": "held-out", "metric": "kl_divergence", "dense": 0.0, "compressed": 0.55, "baselines": {"shortgpt": 1.2, "cosine window": 0.8}, "tokens": 32768}],
 "baselines": [{"name": "cosine window", "genotype": {}, "parameters": 106000000}],
 "beaten_by": [], "gates": [{"set": "held-out", "limit": "max_perplexity_ratio 3", "value": 1.797, "passed": $2}],
 "artifacts": [{"path": "$run/model", "format": "huggingface", "bytes": 3000025, "digest": "00"}], "published": [],
 "timings": {"search": 5.5}, "peak_memory_bytes": 1000000, "hardware": "a fake", "warnings": []}
REPORT
    mv "$run/report.json.tmp" "$run/report.json"
    event "\"event\":\"finished\",\"status\":\"$1\""
}

check() {
    case "$(behaviour_of "$1")" in
        check-segv) echo "loading libevopress_bad.so" >&2; kill -SEGV $$ ;;
        check-hang) sleep 600 ;;
        check-nonsense) echo "no JSON" ;;
        check-mistake) echo '{"mistakes": [{"pointer": "/methods/0/options/granularity", "message": "granularity is \"atom\", expected sub-block or block"}]}' ;;
        *) echo '{"mistakes": [], "needs": {"seconds": 90.0, "memory_bytes": 800000000, "device_memory_bytes": null, "disk_bytes": 500000000}}' ;;
    esac
}

run() {
    run="$1"; shift
    local attempt=1
    echo "$@" >"$run/arguments.txt"
    while [ $# -gt 0 ]; do
        [ "$1" = --attempt ] && attempt="$2"
        shift
    done
    exec 9>"$run/lock"
    flock -n 9 || { echo "locked" >&2; exit 1; }
    local done_before=0
    [ -f "$run/checkpoint.txt" ] && done_before="$(cat "$run/checkpoint.txt")"
    echo "attempt $attempt after generation $done_before" >&2
    echo "$attempt $done_before" >>"$run/starts.txt"
    event "\"event\":\"started\",\"attempt\":$attempt,\"device\":\"cpu\",\"dtype\":\"bf16\",\"threads\":1,\"resumed_generation\":null"
    event '"event":"stage_started","stage":"load"'
    event '"event":"stage_finished","stage":"load","seconds":0.25,"reused":false'
    event '"event":"stage_started","stage":"search"'
    case "$(behaviour_of "$run/plan.json")" in
        refuse) event '"event":"failed","reason":"the model is truncated"'; exit 1 ;;
        full-disk)
            generations 1 1
            event '"event":"failed","reason":"cannot write /cache/levels/ab/layer-3: the disk is full; make room"'
            exit 1 ;;
        silent) exit 1 ;;
        segv) kill -SEGV $$ ;;
        segv-once) [ "$attempt" = 1 ] && { generations 1 2; kill -SEGV $$; }; generations $((done_before + 1)) 5 ;;
        code) exit 134 ;;
        slow)
            trap 'event "\"event\":\"interrupted\",\"generation\":1"; exit 75' TERM
            [ "$done_before" = 0 ] && generations 1 1
            while [ ! -e "$run/go" ]; do sleep 0.05; done
            trap - TERM
            generations 2 5 ;;
        deaf)
            trap '' TERM
            generations 1 1
            while [ ! -e "$run/go" ]; do sleep 0.05; done
            generations 2 5 ;;
        gate) generations 1 5; finish gate_failed false; exit 3 ;;
        *) generations 1 5 ;;
    esac
    event '"event":"stage_finished","stage":"search","seconds":5.5,"reused":false'
    finish done true
    [ "$(behaviour_of "$run/plan.json")" = big ] && truncate -s 300M "$run/model/model.safetensors"
    return 0
}

case "$1" in
    run) shift; run "$@" ;;
    check) shift; check "$@" ;;
    plugins) echo '[{"file": "libevopress_drop.so", "sha256": "00", "name": "drop", "kind": "method", "version": "0.1.0", "description": "drops sub-blocks", "options_schema": {}, "error": null}, {"file": "libevopress_bad.so", "sha256": "00", "error": "it is not a shared library"}]' ;;
esac
