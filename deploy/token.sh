#!/usr/bin/env bash
# Prints the token of the installation that `make up` started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/docker.sh
compose exec --no-TTY admin hangar token
