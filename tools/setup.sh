#!/usr/bin/env bash
# Prepares .venv: the pinned packages of constraints.txt and this workspace, editable. Does nothing when nothing changed.
# `tools/setup.sh platform` leaves out what only tests, checks, benchmarks and `make up` need.
# PYTHON=/path/to/python3 chooses the interpreter that .venv is made from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
python=$venv/bin/python
stamp=$venv/.setup-stamp

inputs=(pyproject.toml sdk/pyproject.toml protos/pyproject.toml constraints.txt tools/setup.sh)
state="$PWD"$'\n'"$(cat "${inputs[@]}" | cksum)"
wanted=${1:-everything}
case $wanted in
    everything) groups=(--group dev) ;;
    platform) groups=() ;;
    *)
        printf 'setup: %s is neither everything nor platform\n' "$wanted" >&2
        exit 2
        ;;
esac
for enough in "$wanted" everything; do
    if [[ -f $stamp && "$(<"$stamp")" == "$state"$'\n'"$enough" ]] && "$python" -c '' 2>/dev/null; then
        exit 0
    fi
done

say() { printf 'setup: %s\n' "$*" >&2; }
suits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

interpreter() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [[ -n $candidate ]] && suits "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done
    say "no Python 3.11 or newer was found. Install one (Debian, Ubuntu: apt-get install python3 python3-venv)," \
        "or name one: make setup PYTHON=/path/to/python3"
    return 1
}

# uv does not read pip's settings: where only pip was told about indexes or a certificate, pass them on, with pip's own
# rule that the best version of all indexes counts.
pip_setting() { "$base" -m pip config get "global.$1" 2>/dev/null || "$base" -m pip config get ":env:.$1" 2>/dev/null || true; }
adopt_pip_settings() {
    local index extra certificate
    if [[ -z ${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}${UV_INDEX:-}${UV_EXTRA_INDEX_URL:-}${UV_CONFIG_FILE:-} ]]; then
        index=$(pip_setting index-url)
        extra=$(pip_setting extra-index-url)
        if [[ -n $index ]]; then export UV_DEFAULT_INDEX="$index"; fi
        if [[ -n $extra ]]; then export UV_INDEX="$extra" UV_INDEX_STRATEGY="${UV_INDEX_STRATEGY:-unsafe-best-match}"; fi
    fi
    if [[ -z ${SSL_CERT_FILE:-} ]]; then
        certificate=$(pip_setting cert)
        if [[ -n $certificate ]]; then export SSL_CERT_FILE="$certificate"; fi
    fi
}

base=$(interpreter)
pinned_uv=$(grep -E '^uv==' constraints.txt | cut -d' ' -f1)

made_in=$PWD # scripts in .venv name their interpreter: a folder that was moved needs a new one
if [[ -f $stamp ]]; then made_in=$(head -n1 "$stamp"); fi
if ! suits "$python" || [[ $made_in != "$PWD" ]]; then
    say "making $venv with $("$base" --version)"
    rm -rf "$venv"
    "$base" -m venv --without-pip "$venv" 2>/dev/null || uv venv --quiet --python "$base" "$venv" || {
        say "'$base -m venv' does not work and there is no uv. Debian, Ubuntu: apt-get install python3-venv"
        exit 1
    }
fi

adopt_pip_settings
if ! "$venv/bin/uv" --version 2>/dev/null | grep -qxF "uv ${pinned_uv#uv==}"; then
    if uv --version >/dev/null 2>&1; then
        uv pip install --quiet --python "$python" "$pinned_uv"
    elif "$base" -m pip --version >/dev/null 2>&1; then
        "$base" -m pip --python "$python" install --quiet --disable-pip-version-check "$pinned_uv"
    elif "$python" -m ensurepip --upgrade >/dev/null 2>&1; then
        "$python" -m pip install --quiet --disable-pip-version-check "$pinned_uv"
    else
        say "neither uv nor pip was found. Debian, Ubuntu: apt-get install python3-pip"
        exit 1
    fi
fi

say "installing packages"
"$venv/bin/uv" pip install --quiet --compile-bytecode --python "$python" --constraints constraints.txt --build-constraints constraints.txt \
    ${groups[@]+"${groups[@]}"} --editable protos --editable sdk --editable .
"$python" -m compileall -q services sdk/flyte protos/gen # start-up time: not everybody lets Python write these files
printf '%s\n%s\n' "$state" "$wanted" >"$stamp"
say "ready: $venv/bin/flyte, $venv/bin/hangar"
