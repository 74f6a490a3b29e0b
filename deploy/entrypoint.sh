#!/bin/sh
# Runs `hangar …`. Secrets come as files; what only looks at its environment is told here.
set -eu
for name in AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; do
    eval "file=\${${name}_FILE:-}"
    if [ -n "$file" ]; then
        value=$(cat "$file")
        export "$name=$value"
        unset "${name}_FILE"
    fi
done
exec hangar "$@"
