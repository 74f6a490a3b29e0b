#!/usr/bin/env bash
# Builds the images of the services: hangar-<service>:$HANGAR_VERSION, with the prefix $HANGAR_REGISTRY when it is set.
# usage: deploy/build.sh [SERVICE …], all of them by default.
# BASE_IMAGE names another base image. Indexes, proxies and certificates that uv, pip and curl were told about on this host
# count inside the build as well, and stay outside the images.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/docker.sh

services=("$@")
if ((${#services[@]} == 0)); then services=(admin scheduler image-builder app-serving executor); fi
secrets=$(mktemp -d)
trap 'rm -rf "$secrets"' EXIT

# What names a file or this host itself means nothing inside a container.
write_setting() {
    case $2 in
        "" | file:* | /* | *//localhost* | *//127.0.0.1*) ;;
        *) printf "export %s='%s'\n" "$1" "${2//\'/\'\\\'\'}" ;;
    esac
}

{
    for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy UV_INDEX_STRATEGY UV_HTTP_TIMEOUT; do
        write_setting "$name" "${!name:-}"
    done
    index=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-$(pip_setting index-url)}}}
    extra=${UV_INDEX:-${UV_EXTRA_INDEX_URL:-${PIP_EXTRA_INDEX_URL:-$(pip_setting extra-index-url)}}}
    write_setting UV_DEFAULT_INDEX "$index"
    write_setting PIP_INDEX_URL "$index"
    write_setting UV_INDEX "$extra"
    write_setting PIP_EXTRA_INDEX_URL "$extra"
} >"$secrets/settings"
certificates=$(certificates)
if [[ -n $certificates ]]; then cp "$certificates" "$secrets/certificates"; else : >"$secrets/certificates"; fi

options=(--secret "id=settings,src=$secrets/settings" --secret "id=certificates,src=$secrets/certificates")
if [[ -n ${BASE_IMAGE:-} ]]; then options+=(--build-arg "BASE_IMAGE=$BASE_IMAGE"); fi
for service in "${services[@]}"; do
    image=$(setting HANGAR_REGISTRY)hangar-$service:$(setting HANGAR_VERSION latest)
    printf 'building %s\n' "$image" >&2
    docker_build "${options[@]}" --file deploy/Dockerfile --build-arg "SERVICE=$service" --tag "$image" .
done
