#!/usr/bin/env bash
# Makes NAME.out from NAME.sql (the argument: statements, indexes, ...) with a real PostgreSQL 15: an empty database of a
# cluster made by `initdb -U postgres --no-locale -E UTF8`, at PGHOST and PGPORT. Each line is one message.
set -u
cd "$(dirname "$0")"
export PGUSER=postgres PGDATABASE=${PGDATABASE:-postgres} PGTZ=UTC
while IFS= read -r line; do
    printf '=> %s\n' "$line"
    psql -X -A -v VERBOSITY=terse -c "$line" 2>&1
done <"$1.sql" >"$1.out"
