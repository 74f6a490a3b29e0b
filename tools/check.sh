#!/usr/bin/env bash
# Everything that is checked without running the product. Runs all checks and then says which failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"

failed=()
step() {
    local name=$1
    shift
    printf -- '--- %s\n' "$name"
    "$@" || failed+=("$name")
}

step "format" ruff format --check --quiet --output-format=concise .
step "lint" ruff check --quiet --output-format=concise .
step "types" mypy
step "types: SDK on its oldest Python" mypy --python-version 3.10 sdk/flyte
step "import contracts" lint-imports --no-cache
step "protos: format" buf format --diff --exit-code
step "protos: lint" buf lint
step "protos: stubs up to date" python tools/protos.py --check

if ((${#failed[@]})); then
    printf 'failed:'
    printf ' [%s]' "${failed[@]}"
    printf '\n`make format` and `make protos` mend what can be mended without thought.\n'
    exit 1
fi
echo "all checks passed"
