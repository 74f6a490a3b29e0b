#!/usr/bin/env bash
# `make up`: builds the images, starts everything, waits until all of it is healthy, and says how to use it. Running it
# again brings an installation to this version. BUILD=0 uses the images that are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/docker.sh

started=$SECONDS
docker_command version >/dev/null
compose version >/dev/null
port=$(setting HANGAR_PORT 8080)
url=$(setting HANGAR_PUBLIC_URL "http://127.0.0.1:$port")
HANGAR_CERTIFICATES=$(setting HANGAR_CERTIFICATES "$(certificates)")
export HANGAR_CERTIFICATES
first=yes
if docker_command volume inspect "$(project)_secrets" >/dev/null 2>&1; then first=; fi

if [[ ${BUILD:-1} != 0 ]]; then
    deploy/build.sh
    printf 'built after %d s\n' $((SECONDS - started)) >&2
fi

if ! said=$(compose up --detach --wait --wait-timeout 300 --remove-orphans 2>&1); then
    printf '%s\n' "$said" | tail -n 5 >&2
    if [[ $said == *"port is already allocated"* || $said == *"address already in use"* ]]; then
        echo "Port $port of this host is taken: name another one in HANGAR_PORT. 'make down' stops what runs." >&2
        exit 1
    fi
    # The last words of what ought to be well and is not.
    compose ps --all --format '{{.Service}} {{.State}} {{.ExitCode}} {{.Health}}' |
        while read -r service state code health; do
            if [[ $state == created || $state == exited && $code == 0 || $state == running && $health == healthy ]]; then continue; fi
            printf -- '--- %s is %s\n' "$service" "${health:-$state}" >&2
            compose logs --no-log-prefix --tail 5 "$service" >&2
        done
    echo "Hangar did not start. What is above says why; 'make up' tries again, 'make down' stops what runs." >&2
    exit 1
fi

# Images of versions that nothing uses any more.
docker_command image prune --force --filter label=hangar.service >/dev/null

address=${url#*://}
address=${address%%/*}
insecure=
if [[ $url == http://* ]]; then insecure=" --insecure"; fi
show_token="deploy/token.sh"
printf '\nHangar is ready, after %d s.\n\n' $((SECONDS - started))
printf '  address   %s\n  pages     %s\n' "$address" "$url"
if [[ -n $first ]]; then
    printf '  token     %s\n' "$(deploy/token.sh)"
    printf '            Whoever has it may do everything. Browsers are asked for it. %s shows it again.\n' "$show_token"
else
    printf '  token     %s shows it\n' "$show_token"
fi
printf '\nTo run something:\n\n'
printf '  export FLYTE_API_KEY=$(%s)\n' "$show_token"
printf '  .venv/bin/flyte create config --endpoint %s%s\n' "$address" "$insecure"
printf '  .venv/bin/flyte run examples/concepts/pipeline.py pipeline --x 5\n\n'
