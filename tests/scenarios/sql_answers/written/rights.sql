-- Who may look into a schema, what is granted on what the server brings itself, and whose things views show.
CREATE ROLE r_own LOGIN;
CREATE ROLE r_low LOGIN;
CREATE ROLE r_two LOGIN;
GRANT CREATE ON SCHEMA public TO r_own;
CREATE TABLE rt (id int PRIMARY KEY, v int, w int);
CREATE VIEW rv AS SELECT id FROM rt;
CREATE SEQUENCE rs;
GRANT ALL ON rt, rv, rs TO r_low;
-- as r_own
CREATE TABLE own1 (a int PRIMARY KEY, b int);
CREATE SEQUENCE own_s;
CREATE VIEW own_v AS SELECT a FROM own1;
CREATE INDEX own_i ON own1 (b);
-- as postgres
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
-- as r_low
SELECT current_schemas(false);
SELECT current_schema();
SELECT nextval('public.rs');
SELECT nextval('rs');
SELECT setval('public.rs', 100);
SELECT currval('public.rs');
SELECT * FROM public.rt;
SELECT * FROM rt;
SELECT * FROM public.rv;
SELECT * FROM public.rs;
SELECT 'public.rt'::regclass;
SELECT to_regclass('public.rt');
SELECT to_regclass('rt');
SELECT has_table_privilege('public.rt', 'select');
SELECT has_table_privilege('rt', 'select');
SELECT has_schema_privilege('public', 'usage');
SELECT pg_table_is_visible((SELECT oid FROM pg_class WHERE relname = 'rt'));
SELECT (SELECT oid FROM pg_class WHERE relname = 'rt')::regclass;
INSERT INTO public.rt VALUES (1, 1, 1);
UPDATE public.rt SET v = 2;
DELETE FROM public.rt;
TRUNCATE public.rt;
TRUNCATE rt;
LOCK TABLE public.rt;
COPY public.rt TO STDOUT;
GRANT SELECT ON public.rt TO r_two;
-- as r_own
DROP TABLE public.own1;
DROP TABLE own1;
DROP TABLE IF EXISTS public.own1;
DROP TABLE IF EXISTS own1;
DROP VIEW public.own_v;
DROP SEQUENCE public.own_s;
DROP INDEX public.own_i;
ALTER TABLE public.own1 ADD c int;
ALTER TABLE own1 ADD c int;
ALTER TABLE IF EXISTS public.own1 ADD c int;
ALTER SEQUENCE public.own_s RESTART;
ALTER TABLE public.own1 OWNER TO r_own;
ANALYZE public.own1;
VACUUM public.own1;
VACUUM own1;
REINDEX TABLE public.own1;
REINDEX INDEX public.own_i;
GRANT SELECT ON public.own1 TO r_two;
REVOKE SELECT ON own1 FROM r_two;
CREATE INDEX ON public.own1 (a, b);
CREATE VIEW public.own_x AS SELECT * FROM public.own1;
CREATE TABLE public.own2 (a int);
CREATE TABLE own3 (a int);
CREATE SEQUENCE own_t;
INSERT INTO public.own2 VALUES (1);
SELECT count(*) FROM pg_class WHERE relname = 'own2';
-- as postgres
SELECT count(*) FROM own2;
GRANT USAGE ON SCHEMA public TO r_own;
-- as r_own
SELECT count(*) FROM own2;
SELECT current_schemas(true);
-- as postgres
REVOKE USAGE ON SCHEMA public FROM r_own;
-- as r_own
DROP OWNED BY r_own;
-- as postgres
SELECT count(*) FROM pg_class WHERE relname LIKE 'own%';
GRANT USAGE ON SCHEMA public TO PUBLIC;
GRANT CREATE ON SCHEMA public TO r_own;
-- What a schema of the server's own keeps away.
REVOKE USAGE ON SCHEMA pg_catalog FROM PUBLIC;
-- as r_low
SELECT count(*) > 0 FROM pg_catalog.pg_class;
SELECT count(*) > 0 FROM pg_class;
SELECT pg_catalog.abs(-1);
SELECT abs(-1);
SELECT 1::pg_catalog.int4;
SELECT 1::int4;
SELECT 'pg_catalog.pg_class'::regclass;
SELECT * FROM pg_catalog.generate_series(1, 2);
-- as postgres
GRANT USAGE ON SCHEMA pg_catalog TO PUBLIC;
REVOKE USAGE ON SCHEMA information_schema FROM PUBLIC;
-- as r_low
SELECT count(*) FROM information_schema.tables;
SELECT schema_name FROM information_schema.schemata;
-- as postgres
GRANT USAGE ON SCHEMA information_schema TO PUBLIC;
REVOKE SELECT ON ALL TABLES IN SCHEMA information_schema FROM PUBLIC;
SELECT has_table_privilege('r_low', 'information_schema.tables', 'select');
-- as r_low
SELECT count(*) FROM information_schema.tables;
-- as postgres
GRANT SELECT ON ALL TABLES IN SCHEMA information_schema TO PUBLIC;
SELECT has_table_privilege('r_low', 'information_schema.tables', 'select');
GRANT SELECT ON ALL TABLES IN SCHEMA pg_catalog TO r_two;
SELECT has_table_privilege('r_two', 'pg_authid', 'select');
-- as r_two
SELECT count(*) > 0 FROM pg_authid;
-- as postgres
REVOKE SELECT ON ALL TABLES IN SCHEMA pg_catalog FROM r_two;
SELECT has_table_privilege('r_two', 'pg_authid', 'select');
-- absent: rights on functions that everybody may execute
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA pg_catalog FROM r_two;
-- absent: rights on columns of system tables
GRANT SELECT (rolname) ON pg_authid TO r_two;
-- absent: rights on system columns
GRANT SELECT (tableoid) ON rt TO r_two;
GRANT SELECT (nosuch) ON rt TO r_two;
GRANT EXECUTE ON PROCEDURE pg_reload_conf() TO r_two;
GRANT EXECUTE ON PROCEDURE nosuch() TO r_two;
GRANT EXECUTE ON ROUTINE pg_reload_conf() TO r_two;
SELECT proacl FROM pg_proc WHERE proname = 'pg_reload_conf';
SELECT has_function_privilege('r_two', 'pg_reload_conf()', 'execute');
REVOKE EXECUTE ON FUNCTION pg_reload_conf() FROM r_two;
SELECT proacl FROM pg_proc WHERE proname = 'pg_reload_conf';
SELECT proname, proacl FROM pg_proc WHERE proname IN ('pg_promote', 'pg_ls_waldir', 'pg_switch_wal') ORDER BY proname;
GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA public TO r_two;
-- What the information schema shows.
REVOKE ALL ON rt, rv, rs FROM r_low;
GRANT SELECT (id) ON rt TO r_low;
GRANT DELETE ON rv TO r_low;
-- as r_low
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1;
SELECT column_name FROM information_schema.columns WHERE table_name = 'rt' ORDER BY 1;
SELECT constraint_name FROM information_schema.table_constraints WHERE table_name = 'rt' AND constraint_type = 'PRIMARY KEY';
SELECT column_name FROM information_schema.key_column_usage WHERE table_name = 'rt';
SELECT column_name FROM information_schema.constraint_column_usage WHERE table_name = 'rt';
SELECT schema_name FROM information_schema.schemata ORDER BY 1;
SELECT count(*) FROM information_schema.tables WHERE table_name = 'pg_authid';
SELECT grantee, privilege_type FROM information_schema.table_privileges WHERE table_name = 'rv' ORDER BY 1, 2;
-- as r_two
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1;
SELECT column_name FROM information_schema.columns WHERE table_name = 'rt' ORDER BY 1;
-- as postgres
GRANT UPDATE (v) ON rt TO r_two;
-- as r_two
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1;
SELECT column_name FROM information_schema.columns WHERE table_name = 'rt' ORDER BY 1;
SELECT constraint_name FROM information_schema.table_constraints WHERE table_name = 'rt' AND constraint_type = 'PRIMARY KEY';
-- as postgres
SELECT column_name FROM information_schema.constraint_column_usage WHERE table_name = 'rt';
SELECT schema_name, schema_owner FROM information_schema.schemata WHERE schema_name = 'public';
-- as r_low
SELECT id FROM rt;
SELECT tableoid FROM rt;
SELECT id, tableoid FROM rt;
-- Settings that only some see.
SHOW unix_socket_directories;
SHOW ssl_ciphers;
SHOW ssl_ecdh_curve;
SHOW ssl_min_protocol_version;
SHOW ssl_max_protocol_version;
SHOW ssl_dh_params_file;
SHOW ssl_passphrase_command;
SHOW external_pid_file;
SHOW jit_provider;
SHOW backtrace_functions;
SHOW config_file;
SHOW data_directory;
SHOW log_directory;
SHOW ssl_cert_file;
SHOW local_preload_libraries;
SELECT current_setting('hba_file');
SELECT current_setting('log_filename', true);
SELECT count(*) FROM pg_settings WHERE name IN ('unix_socket_directories', 'ssl_ciphers', 'ident_file', 'primary_conninfo');
-- as postgres
GRANT pg_read_all_settings TO r_low;
-- as r_low
SHOW ssl_ciphers;
SELECT count(*) FROM pg_settings WHERE name IN ('unix_socket_directories', 'ssl_ciphers', 'ident_file', 'primary_conninfo');
-- as postgres
REVOKE pg_read_all_settings FROM r_low;
-- What pg_read_all_data reads, and what it does not.
GRANT pg_read_all_data TO r_two;
CREATE TABLE ro (a int);
-- as r_two
SELECT count(*) > 0 FROM pg_authid;
SELECT count(*) FROM pg_hba_file_rules;
SELECT count(*) FROM pg_file_settings;
SELECT count(*) FROM pg_ident_file_mappings;
GRANT SELECT ON ro TO r_low;
GRANT SELECT (a) ON ro TO r_low;
GRANT UPDATE (a) ON ro TO r_low;
REVOKE SELECT (a) ON ro FROM r_low;
ALTER TABLE ro OWNER TO postgres;
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'checkpointer';
SELECT count(*) FROM information_schema.usage_privileges WHERE object_type = 'SEQUENCE';
-- as postgres
REVOKE pg_read_all_data FROM r_two;
DROP TABLE ro;
-- Owners.
CREATE TABLE st (a int);
CREATE SEQUENCE ss;
ALTER SEQUENCE ss OWNER TO r_own;
ALTER SEQUENCE ss OWNED BY st.a;
ALTER TABLE st OWNER TO r_own;
ALTER SEQUENCE ss OWNED BY st.a;
-- as r_own
CREATE SEQUENCE st2 OWNED BY rt.id;
-- as postgres
DROP TABLE st;
ALTER SCHEMA IF EXISTS public OWNER TO postgres;
ALTER DATABASE IF EXISTS postgres OWNER TO postgres;
ALTER VIEW IF EXISTS nosuch OWNER TO postgres;
ALTER DEFAULT PRIVILEGES FOR ROLE r_own GRANT SELECT ON TABLES TO r_low;
ALTER DEFAULT PRIVILEGES FOR ROLE r_own IN SCHEMA public GRANT SELECT ON TABLES TO r_low;
DROP OWNED BY r_low;
SELECT count(*) FROM pg_default_acl;
SELECT relname, relisshared FROM pg_class WHERE relname IN ('pg_authid', 'pg_class', 'pg_database', 'pg_auth_members') ORDER BY 1;
-- Whom a session begins as.
CREATE ROLE r_is;
CREATE ROLE r_other;
CREATE ROLE r_as LOGIN;
GRANT r_is, r_other TO r_as;
ALTER ROLE r_as SET role = 'r_is';
ALTER ROLE r_two SET role = 'nosuch';
ALTER ROLE r_two RESET role;
ALTER ROLE r_two SET role = 'r_is';
ALTER ROLE r_two SET role = 'none';
ALTER ROLE r_two RESET role;
-- as r_as
SELECT current_user, session_user;
SET ROLE r_other;
SELECT current_user;
RESET ROLE;
SELECT current_user;
SET ROLE r_other;
RESET ALL;
SELECT current_user;
SET ROLE NONE;
SELECT current_user;
SET role TO DEFAULT;
SELECT current_user;
SET ROLE DEFAULT;
SET ROLE r_other;
SET SESSION AUTHORIZATION DEFAULT;
SELECT current_user, current_setting('role');
SET ROLE r_other;
DISCARD ALL;
SELECT current_user, current_setting('role');
SELECT set_config('role', 'none', false);
SELECT current_user;
SELECT set_config('role', NULL, false);
SELECT current_user;
SET SESSION AUTHORIZATION r_as;
SELECT current_user, current_setting('role');
RESET SESSION AUTHORIZATION;
SELECT current_user, current_setting('role');
-- as postgres
SET ROLE r_low;
RESET ROLE;
SELECT current_user;
-- Views of the server mask as pg_stat_replication does.
-- as r_low
SELECT count(*) FROM pg_stat_replication WHERE application_name IS NOT NULL;
SELECT count(*) FROM pg_stat_progress_basebackup;
-- as postgres
DROP VIEW rv;
DROP TABLE rt;
DROP SEQUENCE rs;
DROP OWNED BY r_own, r_low, r_two, r_as;
DROP ROLE r_own, r_low, r_two, r_as, r_is, r_other;

-- What a superuser has set for a role, that role cannot take away.
-- as postgres
CREATE ROLE audited LOGIN;
ALTER ROLE audited SET log_statement = 'all';
ALTER ROLE audited SET work_mem = '1MB';
ALTER ROLE audited SET log_connections = on;
-- as audited
ALTER ROLE audited SET app.tenant = '42';
ALTER ROLE audited RESET ALL;
-- as postgres
SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'audited'::regrole;
ALTER ROLE audited RESET ALL;
SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'audited'::regrole;
DROP ROLE audited;

-- DROP OWNED takes back what the role that acts may take back; memberships stay.
CREATE ROLE do_a LOGIN;
CREATE ROLE do_b LOGIN;
CREATE ROLE do_c;
CREATE TABLE dot (a int, b int);
GRANT SELECT ON dot TO do_a WITH GRANT OPTION;
-- as do_a
GRANT SELECT ON dot TO do_b;
-- as postgres
GRANT INSERT ON dot TO do_b;
GRANT UPDATE (a) ON dot TO do_b;
GRANT USAGE ON SCHEMA public TO do_b;
GRANT CREATE ON DATABASE postgres TO do_b;
GRANT do_c TO do_b;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO do_b;
ALTER DEFAULT PRIVILEGES FOR ROLE do_b GRANT SELECT ON TABLES TO do_a;
SELECT defaclacl FROM pg_default_acl ORDER BY defaclrole;
-- as do_b
DROP OWNED BY do_b;
DROP OWNED BY do_a;
REVOKE SELECT ON dot FROM do_b;
SELECT relacl FROM pg_class WHERE relname = 'dot';
SELECT attacl FROM pg_attribute WHERE attrelid = 'dot'::regclass AND attacl IS NOT NULL;
SELECT datacl FROM pg_database WHERE datname = 'postgres';
SELECT count(*) FROM pg_default_acl;
-- as do_a
DROP OWNED BY do_a CASCADE;
SELECT relacl FROM pg_class WHERE relname = 'dot';
-- as postgres
DROP OWNED BY do_b;
SELECT relacl FROM pg_class WHERE relname = 'dot';
SELECT datacl FROM pg_database WHERE datname = 'postgres';
DROP ROLE do_b;
SELECT count(*) FROM pg_auth_members WHERE roleid = 'do_c'::regrole;
DROP OWNED BY do_a;
SELECT relacl FROM pg_class WHERE relname = 'dot';
ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO PUBLIC;
SELECT defaclacl FROM pg_default_acl;
ALTER DEFAULT PRIVILEGES REVOKE INSERT ON TABLES FROM PUBLIC;
DROP TABLE dot;
DROP ROLE do_a, do_b, do_c;

-- session_authorization and role are settings of their own.
CREATE ROLE sa_a LOGIN;
CREATE ROLE sa_b LOGIN;
CREATE ROLE sa_c;
GRANT sa_c TO sa_a;
SET SESSION AUTHORIZATION current_user;
SET ROLE current_user;
SET SESSION AUTHORIZATION sa_a;
SET ROLE sa_c;
SET ROLE sa_b;
SET SESSION AUTHORIZATION sa_b;
SELECT session_user, current_user, current_setting('role');
RESET SESSION AUTHORIZATION;
BEGIN;
SET LOCAL SESSION AUTHORIZATION sa_a;
SET ROLE sa_c;
SELECT session_user, current_user;
COMMIT;
SELECT session_user, current_user;
BEGIN;
SET SESSION AUTHORIZATION sa_a;
ROLLBACK;
SELECT session_user, current_user;
RESET ROLE;
BEGIN;
SET ROLE sa_a;
SAVEPOINT s;
SET LOCAL SESSION AUTHORIZATION sa_b;
ROLLBACK TO s;
SELECT session_user, current_user;
COMMIT;
SELECT session_user, current_user;
RESET ROLE;
-- as sa_a
SET SESSION AUTHORIZATION sa_b;
SET SESSION AUTHORIZATION sa_a;
DROP ROLE CURRENT_USER;
-- as postgres
DROP ROLE CURRENT_USER;
DROP ROLE SESSION_USER;
DROP ROLE public;
DROP ROLE IF EXISTS sa_b, CURRENT_USER;
DROP ROLE sa_a, sa_b, sa_c;

-- lock_timeout ends waits for what others change in the catalogue.
CREATE ROLE lt_w SUPERUSER LOGIN;
CREATE ROLE lt_a;
CREATE TABLE lt_t (a int);
CREATE TABLE lt_u (a int);
CREATE VIEW lt_v AS SELECT a FROM lt_t;
-- as lt_w
SET lock_timeout = '100ms';
-- as postgres
BEGIN;
CREATE ROLE lt_new;
-- as lt_w
CREATE ROLE lt_new;
-- as postgres
ROLLBACK;
BEGIN;
CREATE TABLE lt_new (a int);
-- as lt_w
CREATE TABLE lt_new (a int);
CREATE VIEW lt_new AS SELECT 1 AS a;
CREATE SEQUENCE lt_new;
ALTER TABLE lt_u RENAME TO lt_new;
-- as postgres
ROLLBACK;
BEGIN;
GRANT SELECT ON lt_t TO lt_a;
-- as lt_w
GRANT INSERT ON lt_t TO lt_a;
REVOKE INSERT ON lt_t FROM lt_a;
DROP TABLE lt_t CASCADE;
-- as postgres
ROLLBACK;
BEGIN;
ALTER ROLE lt_a NOLOGIN;
-- as lt_w
ALTER ROLE lt_a LOGIN;
DROP ROLE lt_a, lt_w;
-- differs: roles are changed one after another here, with all that is said of them
ALTER ROLE lt_a SET work_mem = '1MB';
-- as postgres
ROLLBACK;
BEGIN;
CREATE VIEW lt_new AS SELECT a FROM lt_v;
-- as lt_w
DROP VIEW lt_v;
-- as postgres
ROLLBACK;
-- as lt_w
SET lock_timeout = 0;
SET statement_timeout = '100ms';
-- as postgres
BEGIN;
GRANT SELECT ON lt_t TO lt_a;
-- as lt_w
GRANT INSERT ON lt_t TO lt_a;
-- as postgres
ROLLBACK;
DROP VIEW lt_v;
DROP TABLE lt_t, lt_u;
DROP ROLE lt_a, lt_w;

-- Who may not look into a schema finds no types, operators, collations and functions there.
CREATE ROLE lo_a LOGIN;
GRANT CREATE ON SCHEMA public TO lo_a;
REVOKE USAGE ON SCHEMA pg_catalog FROM PUBLIC;
-- as lo_a
SELECT 1::int;
SELECT 1::int4, 1::pg_catalog.int4;
SELECT 1::int4, true::bool, 'x'::text;
SELECT 'x'::varchar(3);
SELECT now()::timestamp;
SELECT now()::timestamptz IS NULL;
SELECT 'int'::regtype;
SELECT 'int4'::regtype;
SELECT 'pg_catalog.int4'::regtype;
SELECT 'int4[]'::regtype, 'int8'::regtype::text;
SELECT 'varchar(3)'::regtype;
SELECT to_regtype('pg_catalog.int4');
SELECT to_regtype('int4');
SELECT 'abs(int)'::regprocedure;
SELECT 'abs(int4)'::regprocedure;
SELECT 'pg_catalog.now'::regproc;
SELECT 'now'::regproc;
SELECT to_regproc('pg_catalog.now');
SELECT 'pg_catalog.+(int4,int4)'::regoperator;
SELECT '+(int4,int4)'::regoperator;
SELECT 'pg_catalog.||/'::regoper;
SELECT 'pg_catalog."C"'::regcollation;
SELECT '"C"'::regcollation;
SELECT 1 OPERATOR(pg_catalog.+) 1;
SELECT 'a' COLLATE pg_catalog."C";
SELECT 'a' COLLATE "C";
SELECT extract(year FROM now()) IS NULL;
SELECT position('a' IN 'ba');
SELECT substring('abc' FROM 2);
SELECT substring('abc', 2);
SELECT trim('  x ');
SELECT 'a%b' LIKE 'a!%b' ESCAPE '!';
PREPARE lo_p (int) AS SELECT $1;
PREPARE lo_p (int4) AS SELECT $1;
SELECT has_function_privilege('pg_catalog.now()', 'execute');
SELECT has_function_privilege('now()', 'execute');
SELECT has_type_privilege('pg_catalog.int4', 'usage');
SELECT has_type_privilege('int', 'usage');
CREATE TABLE lo_t (a int);
CREATE TABLE lo_t (a int4);
ALTER TABLE lo_t ADD COLUMN b bigint;
CREATE SEQUENCE lo_s AS int;
CREATE SEQUENCE lo_s AS int4;
DROP SEQUENCE lo_s;
DROP TABLE lo_t;
-- as postgres
GRANT USAGE ON SCHEMA pg_catalog TO PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC, lo_a;
-- as lo_a
SELECT 'x'::public.nosuch;
SELECT public.nosuch(1);
SELECT 1 OPERATOR(public.+) 1;
SELECT 'a' COLLATE public.nosuch;
SELECT 'public.nosuch'::regtype;
SELECT 'public.nosuch'::regproc;
SELECT 'public.nosuch(int)'::regprocedure;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO lo_a;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO lo_a;
-- as postgres
GRANT USAGE ON SCHEMA public TO PUBLIC;
SELECT 'a' COLLATE nosuch."C";
SELECT 'nosuch.int4'::regtype;
SELECT to_regtype('nosuch.int4');
SELECT 'public.int4'::regtype;
DROP ROLE lo_a;

-- What functions about rights answer.
CREATE ROLE hp_a LOGIN;
CREATE ROLE hp_m LOGIN IN ROLE pg_monitor;
SELECT has_function_privilege('abs(nosuch)', 'execute');
SELECT has_function_privilege('abs', 'execute');
SELECT has_function_privilege('abs(int', 'execute');
SELECT has_function_privilege('abs(int, int)', 'execute');
SELECT has_function_privilege('hp_a', 'abs(int)', 'execute with grant option');
SELECT has_function_privilege('hp_a', 'pg_promote(bool, int)', 'execute');
SELECT has_function_privilege('hp_a', 'pg_promote(boolean,integer)'::regprocedure, 'execute');
SELECT has_function_privilege('hp_a', 'abs(int)'::regprocedure, 'execute');
SELECT has_table_privilege('pg_class', 'rule');
SELECT has_table_privilege('pg_class', 'select, RULE WITH GRANT OPTION');
SELECT has_column_privilege('pg_class', 'nosuch', 'select');
SELECT has_column_privilege('pg_class', 99::smallint, 'select');
SELECT has_column_privilege('hp_a', 'pg_class', 'ctid', 'select');
SELECT has_column_privilege('hp_a', 'pg_subscription', 'subname', 'select');
SELECT has_column_privilege('hp_a', 'pg_subscription', 'subconninfo', 'select');
SELECT has_any_column_privilege('hp_a', 'pg_subscription', 'select');
SELECT has_table_privilege('hp_a', 'pg_subscription', 'select');
-- as hp_a
SELECT subname FROM pg_subscription;
SELECT count(*) FROM pg_subscription;
SELECT subconninfo FROM pg_subscription;
SELECT * FROM pg_subscription;
SELECT 1 FROM pg_replication_origin_status;
SELECT pg_tablespace_size('pg_global') > 0;
SELECT pg_tablespace_size('pg_default') > 0;
SELECT pg_cancel_backend(pg_backend_pid());
SELECT pg_cancel_backend(999999), pg_terminate_backend(999999);
SELECT pg_database_size('template1') > 0, pg_database_size(0);
-- as hp_m
SELECT pg_current_logfile();
SELECT pg_tablespace_size('pg_global') > 0;
-- as postgres
REVOKE CONNECT ON DATABASE template1 FROM PUBLIC;
-- as hp_a
SELECT pg_database_size('template1') > 0;
SELECT pg_database_size(oid) > 0 FROM pg_database WHERE datname = 'template1';
-- as hp_m
SELECT pg_database_size('template1') > 0;
-- as postgres
SELECT pg_database_size('template1') > 0;
GRANT CONNECT ON DATABASE template1 TO PUBLIC;
SELECT pg_cancel_backend(pg_backend_pid());
SELECT 1;
PREPARE hp_p AS SELECT 1;
PREPARE hp_p AS SELECT nosuch FROM nosuch;
PREPARE hp_p AS SELECT 2;
DEALLOCATE hp_p;
DROP ROLE hp_a, hp_m;

-- Identity columns need no rights on their sequences, DEFAULT nextval() does.
CREATE ROLE id_a LOGIN;
CREATE TABLE id_t (a int GENERATED ALWAYS AS IDENTITY, b int);
CREATE TABLE id_s (a serial, b int);
GRANT INSERT ON id_t, id_s TO id_a;
-- as id_a
INSERT INTO id_t (b) VALUES (1);
INSERT INTO id_s (b) VALUES (1);
SELECT nextval('id_t_a_seq');
ANALYZE id_t (nosuch);
COPY id_t (nosuch) TO STDOUT;
-- as postgres
DROP TABLE id_t, id_s;
DROP ROLE id_a;

-- Types that are absent are told from those that nobody has.
-- absent: text search
SELECT 'english'::regconfig;
-- absent: ranges
SELECT '[1,2)'::int4range;
SELECT 'x'::nosuch;

-- No role administers itself.
CREATE ROLE sa_one LOGIN;
CREATE ROLE sa_two LOGIN;
GRANT pg_read_all_data TO sa_one;
-- as sa_one
GRANT sa_one TO sa_two;
GRANT sa_one TO sa_two WITH ADMIN OPTION;
REVOKE sa_one FROM sa_two;
SELECT pg_has_role('sa_one', 'member with admin option');
-- as postgres
GRANT sa_one TO sa_two;
-- as sa_two
REVOKE sa_one FROM sa_two;
-- as postgres
DROP ROLE sa_one, sa_two;

-- Functions that views stand for are granted, and so is each form of one that has several.
CREATE ROLE gf_a LOGIN;
GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO gf_a;
GRANT EXECUTE ON FUNCTION pg_show_all_file_settings() TO gf_a;
GRANT EXECUTE ON FUNCTION pg_ident_file_mappings() TO gf_a;
GRANT EXECUTE ON FUNCTION pg_current_logfile() TO gf_a;
GRANT EXECUTE ON FUNCTION pg_current_logfile(text) TO gf_a;
SELECT has_function_privilege('gf_a', 'pg_hba_file_rules()', 'EXECUTE');
-- absent: functions that are not there have no rights
GRANT EXECUTE ON FUNCTION pg_stat_reset() TO gf_a;
-- absent: functions that are not there have no rights
GRANT EXECUTE ON FUNCTION lo_import(text) TO gf_a;
-- absent: all may execute these
GRANT EXECUTE ON FUNCTION sum(int) TO gf_a;
-- absent: all may execute these
GRANT EXECUTE ON FUNCTION generate_series(int, int) TO gf_a;
GRANT EXECUTE ON FUNCTION nosuch() TO gf_a;
DROP OWNED BY gf_a;
DROP ROLE gf_a;

-- What stays for a session alone cannot be altered for the system.
ALTER SYSTEM SET seed = 0.5;
ALTER SYSTEM SET transaction_deferrable = on;

-- ALTER GROUP is for those who may alter the role.
CREATE ROLE ag_c LOGIN CREATEROLE;
CREATE ROLE ag_a LOGIN;
CREATE ROLE ag_s SUPERUSER;
CREATE ROLE ag_r REPLICATION;
CREATE ROLE ag_g;
CREATE ROLE ag_m;
GRANT ag_g TO ag_a WITH ADMIN OPTION;
-- as ag_c
ALTER GROUP ag_s ADD USER ag_m;
ALTER GROUP ag_r ADD USER ag_m;
ALTER GROUP ag_g ADD USER ag_m;
ALTER GROUP ag_g DROP USER ag_m;
ALTER GROUP ag_c ADD USER ag_m;
ALTER GROUP ag_nosuch ADD USER ag_m;
-- as ag_a
ALTER GROUP ag_g ADD USER ag_m;
ALTER GROUP ag_a ADD USER ag_m;
GRANT ag_g TO ag_m;
-- as postgres
SELECT count(*) FROM pg_auth_members WHERE roleid::regrole::text LIKE 'ag\_%';
DROP ROLE ag_c, ag_a, ag_s, ag_r, ag_g, ag_m;

-- lastval() is for those who may read or use the sequence; an owner's change needs no cursor over the table.
CREATE ROLE lv_a LOGIN;
CREATE TABLE lv_t (k int GENERATED BY DEFAULT AS IDENTITY, w serial);
CREATE SEQUENCE lv_s;
GRANT INSERT ON lv_t TO lv_a;
GRANT USAGE ON SEQUENCE lv_t_w_seq TO lv_a;
SELECT nextval('lv_s');
SET ROLE lv_a;
SELECT lastval();
SELECT currval('lv_s');
RESET ROLE;
SELECT lastval();
-- as lv_a
INSERT INTO lv_t (w) VALUES (1);
SELECT lastval();
INSERT INTO lv_t (k) VALUES (1);
SELECT lastval(), currval('lv_t_w_seq');
-- as postgres
BEGIN;
DECLARE lv_c CURSOR FOR SELECT * FROM lv_t;
ALTER TABLE lv_t OWNER TO lv_a;
ROLLBACK;
BEGIN;
DECLARE lv_c CURSOR FOR SELECT * FROM lv_t;
ALTER TABLE lv_t OWNER TO postgres;
ROLLBACK;
CREATE INDEX lv_i ON lv_t (w);
ALTER INDEX lv_i OWNER TO lv_a;
ALTER INDEX IF EXISTS lv_nosuch OWNER TO lv_a;
ALTER INDEX lv_nosuch OWNER TO lv_a;
ALTER INDEX lv_t OWNER TO lv_a;
ALTER INDEX lv_s OWNER TO lv_a;
SELECT relowner::regrole FROM pg_class WHERE relname = 'lv_i';
ALTER SEQUENCE lv_t_k_seq OWNER TO postgres;
ALTER SEQUENCE lv_t_w_seq OWNER TO lv_a;
DROP TABLE lv_t;
DROP SEQUENCE lv_s;
DROP ROLE lv_a;
ALTER DEFAULT PRIVILEGES FOR ROLE public GRANT SELECT ON TABLES TO pg_monitor;
SELECT count(*) FROM pg_default_acl WHERE defaclrole = 0;
