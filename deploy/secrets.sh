#!/bin/sh
# Makes the installation's secrets at the first start, and hands each service its own, in volumes of their own, readable
# for its user only. Later starts change nothing. Runs as root, in the service `init` of compose.yaml.
set -eu
umask 077
cd /secrets
services=10001:10001
postgres=${POSTGRES_UID:-999}

random() { python3 -c 'import secrets; print(secrets.token_urlsafe(32))'; }
make_once() { # FILE COMMAND …
    file=$1
    shift
    if [ ! -s "$file" ]; then
        "$@" >"$file.part"
        sync "$file.part"
        mv "$file.part" "$file"
    fi
}
give() { # DIRECTORY OWNER FILE …
    directory=$1 owner=$2
    shift 2
    for file in "$@"; do cp "kept/$file" "$directory/$file.part" && mv "$directory/$file.part" "$directory/$file"; done
    chown -R "$owner" "$directory"
    chmod -R u=rwX,go= "$directory"
}
access_file() {
    printf '{"identities": [{"name": "hangar", "credentials": [{"accessKey": "%s", "secretKey": "%s"}],\n' \
        "$(cat kept/s3-access-key)" "$(cat kept/s3-secret-key)"
    printf '  "actions": ["Read:hangar-blobs", "Write:hangar-blobs", "List:hangar-blobs"]}]}\n'
}

registry_users() {
    python3 -W ignore -c 'import crypt, sys; print("hangar:" + crypt.crypt(sys.argv[1], crypt.mksalt(crypt.METHOD_BLOWFISH)))' \
        "$(cat kept/registry-password)"
}
registry_login() { # as `docker login` writes it
    printf '{"auths": {"%s": {"auth": "%s"}}}\n' "${TASK_REGISTRY%%/*}" \
        "$(printf 'hangar:%s' "$(cat kept/registry-password)" | base64 -w 0)"
}

hangar token --file kept/token >/dev/null
make_once kept/postgres-password random
make_once kept/s3-access-key random
make_once kept/s3-secret-key random
make_once kept/pgpass printf '*:*:*:hangar:%s\n' "$(cat kept/postgres-password)"
make_once kept/s3.json access_file
case ",${PROFILES:-}," in
    *,registry,*)
        make_once kept/registry-password random
        make_once kept/registry-users registry_users
        registry_login >kept/registry.json
        give registry $services registry-users
        ;;
    *) echo '{"auths": {}}' >kept/registry.json ;;
esac

give scheduler $services token pgpass
give admin $services token pgpass s3-access-key s3-secret-key
give app-serving $services token
give image-builder 0:0 token s3-access-key s3-secret-key registry.json
give executor 0:0 token s3-access-key s3-secret-key registry.json
give postgres "$postgres:$postgres" postgres-password
give s3 $services s3.json
# What a new volume belongs to.
chown $services /data/s3 /data/admin /data/registry
