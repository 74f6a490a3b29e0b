#!/usr/bin/env bash
# `make demo`: one real pipeline through all the services on this machine, and what to try next.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH="$PWD/.venv/bin:$PATH"

run="digits-$(date -u +%Y%m%d-%H%M%S)"
started=$SECONDS
flyte run --name "$run" examples/digits/digits.py main
[[ -t 1 ]] || flyte get action "$run" # a terminal has seen it live

try() { printf '  %-58s # %s\n' "$1" "$2"; }
echo
echo "That took $((SECONDS - started)) s. The backend keeps running, so the next run starts faster. Try:"
echo
try ". .venv/bin/activate" "puts flyte and hangar on your PATH"
try "flyte get io $run" "inputs and outputs of this run"
try "flyte get logs $run" "what it printed"
try "flyte run examples/concepts/pipeline.py pipeline --x 5" "tasks calling tasks"
try "python examples/wordcount/wordcount.py README.md LICENSE" "map-reduce over your own files"
try "flyte status" "is the backend up, and where"
try "flyte stop" "stop it; runs and results are kept"
