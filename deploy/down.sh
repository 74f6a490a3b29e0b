#!/usr/bin/env bash
# `make down`: stops everything and keeps the data. VOLUMES=1 removes the data too: runs, objects, secrets, and the
# containers and networks of tasks. Images stay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/docker.sh

docker_command version >/dev/null
compose version >/dev/null

if [[ ! ${VOLUMES:-} =~ ^(0|1|)$ ]]; then
    echo "VOLUMES is '$VOLUMES': write VOLUMES=1 to remove the data, or leave it out to keep it." >&2
    exit 2
fi
remove=
if [[ ${VOLUMES:-} == 1 ]]; then remove=yes; fi

# Containers of workers belong to the executor, not to compose. Its identity is in its volume.
identity=
if [[ -n $remove ]] && docker_command volume inspect "$(project)_executor" >/dev/null 2>&1; then
    image=$(setting HANGAR_REGISTRY)hangar-executor:$(setting HANGAR_VERSION latest)
    if docker_command image inspect "$image" >/dev/null 2>&1; then
        identity=$(docker_command run --rm --network none --volume "$(project)_executor:/state:ro" \
            --entrypoint sh "$image" -c 'cat /state/executor/identity 2>/dev/null || true')
    else
        echo "Image $image is gone, so containers that tasks may have left are not looked for:" \
            "'docker ps --all --filter label=hangar.executor' shows them." >&2
    fi
fi

if [[ -n $remove ]]; then
    compose --profile registry down --volumes --remove-orphans
    if [[ -n $identity ]]; then
        docker_command ps --all --quiet --filter "label=hangar.executor=$identity" | xargs -r "$_docker" rm --force >/dev/null
        docker_command network ls --quiet --filter "label=hangar.executor=$identity" | xargs -r "$_docker" network rm >/dev/null
    fi
    echo "Hangar is stopped, and its data is removed."
else
    compose --profile registry down --remove-orphans
    echo "Hangar is stopped. Its data is kept: 'make up' goes on, 'make down VOLUMES=1' removes it."
fi
