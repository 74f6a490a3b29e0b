#!/usr/bin/env bash
# Provides the images that deploy/compose.yaml and deploy/Dockerfile name, each only when it is missing: pulled where
# there is a registry, else made from Debian packages and Python wheels under the same name. Prints the names.
# usage: images.sh [IMAGE …]; IMAGE as in deploy/compose.yaml, all of them by default.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. deploy/docker.sh

python=python:3.11-slim-bookworm
images=("$@")
if ((${#images[@]} == 0)); then
    images=("$python" postgres:15 chrislusf/seaweedfs:4.48 envoyproxy/envoy:v1.40.0 registry:2.8.3)
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

has() { docker_command image inspect "$1" >/dev/null 2>&1; }

# A base image: a root file system, kept as a file from run to run.
import() {
    local archive=.cache/images/${1/:/-}.tar
    if [[ ! -f $archive ]]; then
        mkdir -p .cache/images
        integration_tests/tools/base_image.sh "$1" "$archive"
    fi
    docker_command import "$archive" "$1" >/dev/null
}

make_image() {
    local name=$1 folder=$2
    shift 2
    rm -rf "$context/$folder"
    cp -r "integration_tests/tools/images/$folder" "$context/$folder"
    local file
    for file in "$@"; do cp "$file" "$context/$folder/"; done
    docker_build --build-arg "BASE_IMAGE=$python" --tag "$name" "$context/$folder"
}

wheel_file() { .venv/bin/python -c "import $1, pathlib; print(pathlib.Path($1.__file__).parent / '$2')"; }

provide() {
    if has "$1" || timeout 600 docker_command pull --quiet "$1" >/dev/null 2>&1; then return; fi
    echo "images: making $1" >&2
    case $1 in
        busybox:latest | "$python") import "$1" ;;
        postgres:15)
            provide "$python"
            make_image "$1" postgres
            ;;
        chrislusf/seaweedfs:*)
            provide busybox:latest
            make_image "$1" seaweedfs .venv/bin/weed
            ;;
        envoyproxy/envoy:*)
            provide "$python"
            make_image "$1" envoy "$(wheel_file envoy _bin/envoy)"
            ;;
        registry:2.*)
            provide "$python"
            make_image "$1" registry
            ;;
        *)
            echo "images: $1 cannot be pulled, and there is nothing to make it from" >&2
            return 1
            ;;
    esac
}

for image in "${images[@]}"; do
    provide "$image"
    echo "$image"
done
