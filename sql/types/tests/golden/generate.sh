#!/usr/bin/env bash
# Writes values.tsv from values.in with a real PostgreSQL 15 (database encoding UTF8): what each text becomes under
# each type. Usage: ./generate.sh -h HOST -p PORT -U USER postgres
set -euo pipefail
cd "$(dirname "$0")"
# Lines after "# type" are inputs of that type, in COPY's escaping.
awk '/^# /{ type = substr($0, 3); next } { print type "\t" $0 }' values.in > /tmp/plimsoll-values.copy
psql -X -q -v ON_ERROR_STOP=1 "$@" <<'SQL'
SET timezone = 'America/New_York';
CREATE TEMP TABLE cases (n serial, type text, input text);
\copy cases (type, input) FROM '/tmp/plimsoll-values.copy'
CREATE FUNCTION pg_temp.attempt(type text, input text, OUT printed text, OUT sent text, OUT state text) AS $$
DECLARE send text;
BEGIN
  SELECT typsend::text INTO send FROM pg_type WHERE oid = type::regtype;
  EXECUTE format('SELECT format(''%%s'', v), encode(%s(v), ''hex'') FROM (SELECT %L::%s AS v) s', send, input, type)
    INTO printed, sent;
EXCEPTION WHEN OTHERS THEN
  state := SQLSTATE; sent := SQLERRM;
END $$ LANGUAGE plpgsql;
CREATE TEMP TABLE results AS
  SELECT n, type, input, (pg_temp.attempt(type, input)).* FROM cases;
\copy (SELECT type, input, coalesce(state, 'ok'), printed, sent FROM results ORDER BY n) TO 'values.tsv'
SQL
rm /tmp/plimsoll-values.copy
