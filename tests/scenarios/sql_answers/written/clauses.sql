-- Clauses that were once taken and passed over, or read as something else.
CREATE TABLE t (a int PRIMARY KEY, b int, c text);
INSERT INTO t VALUES (1, 10, 'x'), (2, 20, 'y'), (3, 30, 'z');
SELECT a FROM t ORDER BY a DESC FETCH FIRST ROW ONLY;
SELECT a FROM t ORDER BY a OFFSET 1 ROW FETCH NEXT ROWS ONLY;
DELETE FROM t WHERE a IN (SELECT a FROM t ORDER BY a DESC FETCH FIRST ROW ONLY);
SELECT a FROM t ORDER BY a;
-- absent: USING in ALTER COLUMN TYPE
ALTER TABLE t ALTER c TYPE text USING c || 'y';
ALTER TABLE t ALTER c TYPE text USING c;
SELECT a, b FROM t ORDER BY a;
CREATE TABLE identity (start int, increment int, cycle boolean);
INSERT INTO identity (start, increment, cycle) VALUES (1, 2, true);
SELECT start, increment, cycle FROM identity;
SELECT * FROM (VALUES (1, 2, 3)) AS identity (start, increment, cycle);
CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY (START 5 INCREMENT 2), v text);
INSERT INTO counted (v) VALUES ('a'), ('b');
SELECT id FROM counted ORDER BY id;
SELECT -2 ^ 2, - 2.0 ^ 2, 2 ^ -1, -(2 ^ 2), +2 ^ 2;
SELECT interval '1.5' day, interval '1 day 5 hours' day, '1.9'::interval(0), interval '90 minutes' hour, interval '1-2' year;
SELECT interval '3 days 4 hours' month, interval '1.239' second(2), interval '1.987654' second;
BEGIN READ ONLY;
SAVEPOINT s;
SET TRANSACTION READ WRITE;
ROLLBACK;
BEGIN;
SAVEPOINT s;
SET TRANSACTION READ ONLY;
ROLLBACK TO s;
INSERT INTO t VALUES (7, 70, 'in');
ROLLBACK;
BEGIN;
SAVEPOINT s;
SET TRANSACTION READ ONLY;
RELEASE s;
INSERT INTO t VALUES (7, 70, 'in');
ROLLBACK;
SET search_path = 'public, pg_catalog';
SHOW search_path;
SELECT count(*) FROM t;
SET search_path = 'my schema', "C d", public;
SHOW search_path;
SELECT count(*) FROM t;
SET search_path = '';
SHOW search_path;
SELECT current_schemas(false);
RESET search_path;
CREATE TABLE bad (tableoid int);
CREATE TABLE bad (xmin int);
ALTER TABLE t ADD ctid int;
ALTER TABLE t RENAME b TO cmin;
CREATE TABLE bad AS SELECT 1 AS xmax;
SELECT interval(0) '1.9', interval (3) '1 day 1.23456';
SET TIME ZONE INTERVAL '-8' HOUR;
SELECT extract(timezone FROM now());
SET TIME ZONE INTERVAL '5:30' HOUR TO MINUTE;
SELECT extract(timezone FROM now());
RESET TimeZone;
CREATE VIEW v AS SELECT a FROM t;
COPY v TO STDOUT;
COPY t (a, a) TO STDOUT;
VACUUM v;
VACUUM pg_class;
ANALYZE pg_catalog.pg_type;
SELECT '{pg_class,pg_type}'::regclass[], array['pg_class'::regclass], ('{int4,text}'::regtype[])[2];
SELECT array_append('{1}', 2), array_cat('{1}', '{2}'), array_remove('{a,b}', 'a'), '{1}'::int[] || 2.5;
SELECT justify_days('65 days'), justify_interval('1 month -1 hour'), make_interval(), make_interval(1, 2);
SELECT make_interval(1, 2, days => 3), make_interval(hours => 1);
SELECT make_interval(years => 1, 2);
SELECT 1<>/* a */2, 'a'||/* b */'c', 4>=/* c */-1;
SET timezone = '23.99';
SHOW timezone;
SELECT timestamptz '2020-01-01 00:00 UTC';
RESET timezone;
SELECT current_role = current_user, age('3'::xid) > 0, mxid_age('1'::xid) >= 0;
-- Roles and what they own.
CREATE ROLE da LOGIN;
CREATE ROLE db LOGIN;
GRANT CREATE ON SCHEMA public TO da, db;
GRANT SELECT ON t TO da, db;
DROP OWNED BY da, db;
SELECT relacl FROM pg_class WHERE relname = 't';
ALTER TABLE t OWNER TO public;
ALTER SCHEMA public OWNER TO public;
REASSIGN OWNED BY public TO da;
CREATE ROLE q ROLE public;
ALTER ROLE "session_user" NOLOGIN;
ALTER ROLE "current_user" PASSWORD 'x';
DROP ROLE current_user;
CREATE ROLE current_user;
CREATE ROLE "current_user";
DROP ROLE "current_user";
CREATE ROLE empty PASSWORD '';
SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'empty';
CREATE ROLE odd PASSWORD 'SCRAM-SHA-256$odd';
SELECT rolpassword LIKE 'SCRAM-SHA-256$4096:%' FROM pg_authid WHERE rolname = 'odd';
-- absent: passwords as MD5 hashes
CREATE ROLE old PASSWORD 'md50123456789abcdef0123456789abcdef';
-- An invoker's view below another view.
GRANT CREATE ON SCHEMA public TO da, db;
CREATE ROLE reader LOGIN;
-- as da
CREATE TABLE base (a int, b int);
CREATE VIEW inside WITH (security_invoker) AS SELECT a FROM base;
GRANT SELECT ON inside TO db, reader;
GRANT SELECT ON base TO db;
-- as db
CREATE VIEW outside AS SELECT * FROM inside;
GRANT SELECT ON outside TO reader;
SELECT * FROM outside;
-- as reader
SELECT * FROM outside;
-- as da
GRANT SELECT ON base TO reader;
REVOKE SELECT ON base FROM db;
-- as reader
SELECT * FROM outside;
-- as postgres
CREATE TABLE kept (id int PRIMARY KEY, v int, w int);
GRANT INSERT (id, v), UPDATE (v), SELECT (id) ON kept TO reader;
-- as reader
INSERT INTO kept (id, v) VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET v = excluded.v;
INSERT INTO kept (id, v) VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET v = 6;
INSERT INTO kept (id, v) VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET v = excluded.id;
