#!/usr/bin/env bash
# Makes the database cluster at the first start, then becomes the server, as user postgres.
set -euo pipefail

if [[ $(id -u) == 0 ]]; then
    install -d -o postgres -g postgres -m 0700 "$PGDATA"
    chown -R postgres:postgres "$PGDATA"
    exec gosu postgres "$0" "$@"
fi

if [[ $1 == postgres && ! -s $PGDATA/PG_VERSION ]]; then
    user=${POSTGRES_USER:-postgres}
    password=${POSTGRES_PASSWORD:-}
    if [[ -n ${POSTGRES_PASSWORD_FILE:-} ]]; then password=$(<"$POSTGRES_PASSWORD_FILE"); fi
    if [[ -z $password ]]; then
        echo "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE" >&2
        exit 1
    fi
    initdb --pgdata="$PGDATA" --username="$user" --pwfile=<(printf '%s\n' "$password") --encoding=UTF8 \
        --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 >/dev/null
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl --pgdata="$PGDATA" --options="-c listen_addresses=''" --wait --silent start
    run() { psql --no-psqlrc --set ON_ERROR_STOP=1 --quiet --username "$user" --dbname "$@"; }
    if [[ ${POSTGRES_DB:-$user} != postgres ]]; then run postgres --command "CREATE DATABASE \"${POSTGRES_DB:-$user}\""; fi
    for file in /docker-entrypoint-initdb.d/*.sql; do
        if [[ -f $file ]]; then run "${POSTGRES_DB:-$user}" --file "$file"; fi
    done
    pg_ctl --pgdata="$PGDATA" --mode=fast --wait --silent stop
fi

exec "$@" -c listen_addresses='*'
