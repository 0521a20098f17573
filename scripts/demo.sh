#!/usr/bin/env bash
# The demo: starts the real daemon on a temporary watched folder, drops a pipeline into it and follows the run. On a terminal the
# daemon stays until Enter is pressed, so that its page can be looked at.
#   scripts/demo.sh [PIPELINE.yaml]      after `cargo build --workspace` and `scripts/setup.py all-for-demo`
set -euo pipefail

clone=$(cd "$(dirname "$0")/.." && pwd)
pipeline=${1:-$clone/pipelines/smollm2-demo.yaml}
[[ -f $pipeline ]] || { echo "no such pipeline: $pipeline" >&2; exit 2; }

target=$(cd "$clone" && cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
bin=$target/debug
data=${XDG_CACHE_HOME:-$HOME/.cache}/evopress/data
place=$(mktemp -d "${TMPDIR:-/tmp}/evopress-demo.XXXXXX")
watched=$place/pipelines
state=$place/state
log=$place/evopressd.log
mkdir "$watched" "$state"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

address=http://127.0.0.1:$port

daemon=
stop_daemon() {
    [[ -n $daemon ]] || return 0
    local pid=$daemon
    daemon=
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" || echo "evopressd ended with status $?; its log: $log" >&2
}
trap stop_daemon EXIT
trap 'exit 130' INT TERM HUP

# Its own session: Ctrl-C reaches this script alone, which then stops the daemon in an orderly way.
setsid "$bin/evopressd" serve --watch "$watched" --state "$state" --plugins "$bin" \
    --data-root "$(cd "$(dirname "$pipeline")" && pwd)" --data-root "$clone/pipelines" --data-root "$data" \
    --listen "127.0.0.1:$port" </dev/null >"$log" 2>&1 &
daemon=$!

ready() {
    python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=1)' "$address/readyz" 2>/dev/null
}
for _ in {1..100}; do
    ready && break
    if ! kill -0 "$daemon" 2>/dev/null; then
        daemon=
        echo "evopressd did not start:" >&2
        cat "$log" >&2
        exit 1
    fi
    sleep 0.1
done
ready || { echo "evopressd is not ready after 10 s; its log: $log" >&2; exit 1; }

echo "evopressd watches $watched"
echo "page:    $address/ (every run and its progress)"
echo "metrics: $address/metrics"
echo "log:     $log"
cp "$pipeline" "$watched/.incoming.tmp"
mv "$watched/.incoming.tmp" "$watched/$(basename "$pipeline")"
echo "dropped $(basename "$pipeline") into it"
echo

code=0
"$bin/evopressd" follow --state "$state" || code=$?

report=$(find "$state/runs" -mindepth 2 -maxdepth 2 -name report.html -print -quit 2>/dev/null || true)
if [[ -n $report ]]; then
    echo "page:      $address/runs/$(basename "$(dirname "$report")")/report.html (the report, while the daemon runs)"
fi
if [[ -n $report && -t 0 && -t 1 ]]; then
    echo
    read -r -p "The daemon still runs. Press Enter to stop it. " || true
fi
stop_daemon

echo
echo "everything of this run is kept in $place"
exit "$code"
