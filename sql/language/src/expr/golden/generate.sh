#!/usr/bin/env bash
# Writes expressions.tsv from expressions.in with a real PostgreSQL 15 (database encoding UTF8, collation C): the type
# and the text of each expression, or its SQLSTATE and message. Usage: ./generate.sh -h HOST -p PORT -U USER postgres
set -euo pipefail
cd "$(dirname "$0")"
sed 's/\\/\\\\/g' expressions.in > /tmp/plimsoll-expressions.copy
psql -X -q -v ON_ERROR_STOP=1 "$@" <<'SQL'
SET timezone = 'America/New_York';
CREATE TEMP TABLE cases (n serial, expression text);
\copy cases (expression) FROM '/tmp/plimsoll-expressions.copy'
CREATE FUNCTION pg_temp.attempt(expression text, OUT type text, OUT printed text, OUT state text) AS $$
BEGIN
  EXECUTE format('SELECT pg_typeof(v), CASE WHEN v IS NOT NULL THEN format(''%%s'', v) END FROM (SELECT %s AS v) s', expression)
    INTO type, printed;
EXCEPTION WHEN OTHERS THEN
  state := SQLSTATE; type := SQLERRM;
END $$ LANGUAGE plpgsql;
CREATE TEMP TABLE results AS
  SELECT n, expression, (pg_temp.attempt(expression)).* FROM cases;
\copy (SELECT expression, coalesce(state, 'ok'), type, printed FROM results ORDER BY n) TO 'expressions.tsv'
SQL
rm /tmp/plimsoll-expressions.copy
