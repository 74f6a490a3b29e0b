# Sourced by the scripts here: which docker and compose commands to use.
#   docker_command …  any docker client
#   docker_build …    `docker build` with BuildKit
#   docker_builder    the client that it takes
#   compose …         Docker Compose v2 or later, for deploy/compose.yaml and deploy/compose.local.yaml, where there is one
# DOCKER names a client in place of those on PATH.

_candidates() { if [[ -n ${DOCKER:-} ]]; then command -v "$DOCKER"; else type -aP docker | awk '!seen[$0]++'; fi; }

_find_docker() {
    _docker=$(_candidates | head -n1)
    if [[ -z $_docker ]]; then
        echo "There is no docker command here. Install Docker Engine (https://docs.docker.com/engine/install/)," \
            "or use 'hangar up', which needs none." >&2
        return 1
    fi
    local answer
    if ! answer=$("$_docker" version --format '{{.Server.Version}}' 2>&1); then
        echo "No Docker Engine answers: ${answer##*$'\n'}" >&2
        echo "Start it (systemctl start docker), see that you may use its socket, or name it in DOCKER_HOST." >&2
        return 1
    fi
}

# BuildKit comes with buildx in newer clients and with clients before 23 by themselves.
_find_builder() {
    local candidate version
    while read -r candidate; do
        version=$("$candidate" version --format '{{.Client.Version}}' 2>/dev/null || true)
        if "$candidate" buildx version >/dev/null 2>&1 || ((${version%%.*} < 23)); then
            _builder=$candidate
            return
        fi
    done < <(_candidates)
    echo "No docker client here can build with BuildKit: install the buildx plugin (docker-buildx-plugin)." >&2
    return 1
}

docker_command() {
    if [[ -z ${_docker:-} ]]; then _find_docker; fi
    "$_docker" "$@"
}

docker_builder() {
    if [[ -z ${_docker:-} ]]; then _find_docker; fi
    if [[ -z ${_builder:-} ]]; then _find_builder; fi
    echo "$_builder"
}

docker_build() {
    docker_builder >/dev/null
    local log
    log=$(mktemp)
    if ! DOCKER_BUILDKIT=1 "$_builder" build --progress=plain "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

_find_compose() {
    if [[ -z ${_docker:-} ]]; then _find_docker; fi
    local candidate
    while read -r candidate; do
        if "$candidate" compose version >/dev/null 2>&1; then
            _compose=("$candidate" compose)
            return
        fi
    done < <(_candidates)
    for candidate in docker-compose .venv/bin/docker-compose; do
        if [[ $("$candidate" version --short 2>/dev/null) =~ ^v?([2-9]|[1-9][0-9])\. ]]; then
            _compose=("$candidate")
            return
        fi
    done
    echo "Docker Compose v2 or later is missing: install the docker-compose-plugin package of your engine," \
        "or 'make setup', which brings .venv/bin/docker-compose." >&2
    return 1
}

compose() {
    if [[ -z ${_compose:-} ]]; then _find_compose; fi
    local files=(--file deploy/compose.yaml)
    if [[ -f deploy/compose.local.yaml ]]; then files+=(--file deploy/compose.local.yaml); fi
    "${_compose[@]}" "${files[@]}" "$@"
}

# setting NAME [DEFAULT]: as compose sees it, from the environment or from deploy/.env.
setting() {
    local value=${!1:-}
    if [[ -z $value && -f deploy/.env ]]; then
        value=$(sed -nE "s/^(export )?$1=[\"']?([^\"']*)[\"']?[[:space:]]*\$/\2/p" deploy/.env | tail -n1)
    fi
    printf '%s' "${value:-${2:-}}"
}

project() { setting COMPOSE_PROJECT_NAME hangar; }

pip_setting() { python3 -m pip config get "global.$1" 2>/dev/null || true; }

# The file of certificates that programs of this host were told to trust, if any.
certificates() {
    local file=${SSL_CERT_FILE:-${PIP_CERT:-$(pip_setting cert)}}
    if [[ -f $file ]]; then printf '%s' "$file"; fi
}
