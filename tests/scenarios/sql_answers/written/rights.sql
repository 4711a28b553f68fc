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
