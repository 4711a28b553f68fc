-- Statements about rights, one a line, said in this order in one session of a superuser to PostgreSQL 15 and to
-- Plimsoll: rows, counts, SQLSTATEs, messages, details and warnings must be the same.

-- Roles.
create role ann login
create role bea login
create role cid login
create role staff nologin
create role boss createrole login
create role maker createdb login
create role plain noinherit login
create role owner1 login
create role bob superuser login
select rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, rolpassword, rolvaliduntil from pg_roles where rolname !~ '^pg_' order by 1
select rolname from pg_roles where rolname ~ '^pg_' order by 1
select r.rolname, m.rolname, admin_option from pg_auth_members a join pg_roles r on r.oid = a.roleid join pg_roles m on m.oid = a.member order by 1, 2
create role bypass bypassrls
select rolbypassrls from pg_roles where rolname = 'bypass'
alter role bypass nobypassrls
select rolbypassrls from pg_roles where rolname = 'bypass'
drop role bypass

-- PUBLIC may not create in public.
select nspname, pg_get_userbyid(nspowner), nspacl from pg_namespace where nspname in ('public', 'pg_catalog', 'information_schema') order by 1
select datname, datacl from pg_database order by 1
set session authorization ann
select current_user, session_user, current_role, user
show is_superuser
show session_authorization
create table t (a int)
create view v as select 1 as one
create sequence s
reset session authorization
select current_user, session_user
show is_superuser
grant create on schema public to ann, owner1
select nspacl from pg_namespace where nspname = 'public'

-- Tables.
set session authorization ann
create table t (id int primary key, a int, b text, c int default 0 check (c >= 0))
insert into t values (1, 10, 'x'), (2, 20, 'y')
create table empty (a int)
create view v as select id, a from t
create sequence s
select relname, relacl from pg_class where relname in ('t', 'v', 's') order by 1
set session authorization bea
select * from t
select count(*) from t
select 1 from t
select * from v
insert into t values (3)
update t set a = 1
update t set a = 1 where false
delete from t
truncate t
copy t to stdout
explain select * from t
lock table t in access share mode
alter table t add column z int
drop table t
create index on t (a)
comment on table t is 'x'
alter table t owner to bea
alter table t rename to u
select nextval('s')
select setval('s', 3)
select currval('s')
select last_value from s
drop view v
drop sequence s
alter sequence s restart
reindex table t
vacuum t
set session authorization ann
grant select on t to bea
select relacl from pg_class where relname = 't'
set session authorization bea
select id, a, b from t order by id
select count(*) from t
select * from t for update
select * from t for share
update t set a = a + 1
delete from t where id = 1
insert into t (id) values (9) returning id
prepare p as select a from t where id = $1
execute p(1)
set session authorization ann
revoke select on t from bea
set session authorization bea
execute p(1)
deallocate p
set session authorization ann
grant select, insert, update, delete on t to bea
set session authorization bea
insert into t (id, a) values (3, 30) returning id, a
update t set a = 31 where id = 3
delete from t where id = 3 returning id
select id from t for update
insert into t (id, a) values (1, 5) on conflict (id) do update set a = excluded.a returning a
truncate t
begin
lock table t in row exclusive mode
lock table t in access exclusive mode
rollback
begin
lock table t in access share mode nowait
rollback
set session authorization ann
revoke all on t from bea
select relacl from pg_class where relname = 't'

-- Columns.
grant select (id, a), update (a), insert (id, b) on t to bea
select attname, attacl from pg_attribute where attrelid = 't'::regclass and attacl is not null order by attnum
set session authorization bea
select id, a from t order by id
select * from t
select b from t
select id from t where b = 'x'
select id from t order by b
select count(*) from t
select t.id from t join t u on t.id = u.id order by 1
select t.id from t join t u using (id) order by 1
select t.id from t natural join t u order by 1
update t set a = 7 where id = 1
update t set b = 'z'
update t set a = length(b)
update t set a = 8 returning b
update t set a = 9 where id = 1 returning a
insert into t (id, b) values (5, 'n')
insert into t (id, a) values (6, 1)
insert into t values (7)
insert into t (id) values (8) returning b
insert into t (id, b) values (5, 'n') on conflict (id) do nothing
insert into t (id, b) values (5, 'n') on conflict do nothing
insert into t (id, b) values (5, 'n') on conflict (id) do update set a = 1
insert into t (id, b) values (5, 'n') on conflict (id) do update set b = 'q'
insert into t (id, b) values (5, 'n') on conflict (id) do update set a = excluded.id
insert into t (id, b) values (5, 'n') on conflict (id) do update set a = 2 where t.b = 'n'
delete from t where id = 5
select has_table_privilege('t', 'select'), has_column_privilege('t', 'a', 'select'), has_column_privilege('t', 'b', 'select'), has_any_column_privilege('t', 'select, update')
select exists (select 1 from t where a = 9), (select max(a) from t)
with w as (select id from t) select count(*) from w
select id from (select * from t) q
set session authorization ann
revoke select on t from bea
select attname, attacl from pg_attribute where attrelid = 't'::regclass and attacl is not null order by attnum
grant select (nosuch) on t to bea
grant delete (a) on t to bea
grant all (c) on t to bea
select attname, attacl from pg_attribute where attrelid = 't'::regclass and attacl is not null order by attnum
revoke all on t from bea
select attname, attacl from pg_attribute where attrelid = 't'::regclass and attacl is not null order by attnum
delete from t where id > 2

-- Views.
grant select on v to bea
set session authorization bea
select * from v order by id
select a from v where id = 1
select * from t
set session authorization ann
create or replace view v with (security_invoker) as select id, a from t
select reloptions from pg_class where relname = 'v'
set session authorization bea
select * from v order by id
set session authorization ann
alter view v reset (security_invoker)
select reloptions from pg_class where relname = 'v'
grant select (a) on v to cid
set session authorization cid
select a from v order by a
select id from v
set session authorization bea
select id from v order by id

-- Grant options.
set session authorization ann
grant select on t to bea with grant option
set session authorization bea
grant select on t to cid
grant select, update on t to cid
grant update on t to cid
grant all on t to cid
select relacl from pg_class where relname = 't'
set session authorization cid
select id from t order by id
grant select on t to plain
set session authorization ann
revoke select on t from bea
revoke grant option for select on t from bea
revoke select on t from bea restrict
revoke select on t from bea cascade
select relacl from pg_class where relname = 't'
grant select on t to public with grant option
grant select on t to public
set session authorization plain
select count(*) from t
revoke select on t from public
set session authorization ann
revoke select on t from public
grant select on t to nobody_here
grant frobnicate on t to bea
grant usage on t to bea
grant usage, select on t to bea
grant connect on t to bea
grant select on nosuch to bea
grant select on t to bea granted by bea
grant select on t to bea granted by ann
revoke all privileges on table t from bea
grant select on t to bea, cid
grant update on t to bea with grant option
set session authorization bea
grant update on t to cid with grant option
set session authorization cid
grant update on t to bea with grant option
reset session authorization
revoke all on t from bea cascade
revoke all on t from cid
select relacl from pg_class where relname = 't'
revoke all on t from ann
select relacl from pg_class where relname = 't'
set session authorization ann
select * from t
grant all on t to ann
select relacl from pg_class where relname = 't'
select count(*) from t

-- Sequences.
grant usage on sequence s to bea
set session authorization bea
select nextval('s')
select currval('s'), lastval()
select setval('s', 5)
select last_value from s
set session authorization ann
revoke all on sequence s from bea
set session authorization bea
select currval('s')
select nextval('s'::regclass)
set session authorization ann
grant select on sequence s to bea
set session authorization bea
select last_value from s
select nextval('s')
select has_sequence_privilege('s', 'usage'), has_sequence_privilege('s', 'select'), has_sequence_privilege('t', 'select')
set session authorization ann
grant update on s to bea
set session authorization bea
select setval('s', 5)
select nextval('s')
set session authorization ann
select relacl from pg_class where relname = 's'
grant insert on sequence s to bea
grant insert on s to bea
grant select on sequence t to bea
grant all on all sequences in schema public to cid
select relacl from pg_class where relname = 's'
create table n (id serial, x int)
grant insert on n to bea
set session authorization bea
insert into n (x) values (1)
insert into n values (1, 1)
set session authorization ann
grant usage on n_id_seq to bea
set session authorization bea
insert into n (x) values (1)
set session authorization ann

-- Membership.
reset session authorization
grant staff to bea
grant staff to bea
grant bea to staff
grant staff to staff
grant staff to ann with admin option
grant staff to ann
grant plain to staff
grant staff to plain
select r.rolname, m.rolname, g.rolname, admin_option from pg_auth_members a join pg_roles r on r.oid = a.roleid join pg_roles m on m.oid = a.member join pg_roles g on g.oid = a.grantor where r.rolname = 'staff' order by 1, 2
revoke plain from staff
grant staff to plain
grant select on t to staff
set session authorization bea
select id from t order by id
set role staff
select current_user, session_user
show role
select count(*) from t
set role none
show role
set role ann
set role nosuch
begin
set local role staff
select current_user
rollback
select current_user
begin
set role staff
savepoint one
set role bea
select current_user
rollback to one
select current_user
commit
select current_user
reset role
select current_user
set local role staff
grant staff to cid
set session authorization ann
grant staff to cid
revoke admin option for staff from cid
revoke staff from cid
revoke staff from cid
grant bob to cid
set session authorization plain
select count(*) from t
set role staff
select count(*) from t
reset role
set session authorization bea
select pg_has_role('staff', 'member'), pg_has_role('staff', 'usage'), pg_has_role('ann', 'member'), pg_has_role('plain', 'staff', 'usage'), pg_has_role('plain', 'staff', 'member'), pg_has_role('ann', 'staff', 'member with admin option')
select pg_has_role('nosuch', 'member')
select pg_has_role('staff', 'nosuch')
reset session authorization
select has_table_privilege('bea', 't', 'select'), has_table_privilege('plain', 't', 'select'), has_table_privilege('cid', 't', 'select'), has_table_privilege('public', 't', 'select'), has_table_privilege('bea', 't', 'insert, select'), has_table_privilege('bea', 't', 'select with grant option')
select has_table_privilege('t', 'frobnicate')
select has_table_privilege('nosuch', 'select')
select has_table_privilege('nosuch', 't', 'select')
select has_table_privilege(1::oid, 'select')
select has_schema_privilege('ann', 'public', 'create'), has_schema_privilege('bea', 'public', 'create'), has_schema_privilege('bea', 'public', 'usage'), has_schema_privilege('bea', 'pg_catalog', 'usage, create')
select has_schema_privilege('nosuch', 'usage')
select has_database_privilege('bea', 'postgres', 'connect'), has_database_privilege('bea', 'postgres', 'create'), has_database_privilege('bea', 'postgres', 'temp')
select has_function_privilege('bea', 'pg_reload_conf()', 'execute'), has_function_privilege('bea', 'pg_is_in_recovery()', 'execute')
select has_function_privilege('bea', 'nosuch()', 'execute')
select has_column_privilege('bea', 't', 'nosuch', 'select')
select has_column_privilege('bea', 't', 2::int2, 'select'), has_column_privilege('bea', 't', 77::int2, 'select')
grant pg_monitor to cid
grant pg_database_owner to cid
grant staff to pg_database_owner
create role pg_mine
alter role pg_monitor login
drop role pg_monitor
create role public
create role none
set role public

-- Roles that make roles.
set session authorization boss
create role r1
create role r2 superuser
create role r3 replication
create role r4 bypassrls
alter role r1 superuser
alter role r1 bypassrls
alter role bob login
grant staff to r1
revoke staff from r1
grant r1 to boss
create role r5 in role staff role ann admin bea
select m.rolname, admin_option from pg_auth_members a join pg_roles r on r.oid = a.roleid join pg_roles m on m.oid = a.member where r.rolname = 'r5' order by 1
drop role r1, r5
drop role bob
drop role boss
set session authorization maker
create role r6
alter role maker password null
alter role maker createrole
set session authorization bea
set session authorization ann
reset session authorization
set session authorization nosuch

-- Predefined roles.
grant pg_read_all_data to plain
alter role plain inherit
set session authorization plain
select count(*) from t
select count(*) from v
select last_value > 0 from s
insert into t (id) values (90)
reset session authorization
revoke pg_read_all_data from plain
grant pg_write_all_data to plain
set session authorization plain
insert into t (id) values (90)
update t set a = 1
update t set a = 1 where id = 90
delete from t
truncate t
reset session authorization
revoke pg_write_all_data from plain
delete from t where id >= 90
grant pg_checkpoint to plain
set session authorization plain
checkpoint
set session authorization cid
select current_setting('data_directory') <> ''
select count(*) from pg_settings where name = 'data_directory'
select pg_reload_conf()
select pg_switch_wal()
select pg_create_restore_point('x')
select count(*) > 0 from pg_ls_waldir()
select pg_stat_reset_shared('wal')
select pg_promote()
select pg_wal_replay_pause()
select size > 0 from pg_stat_file('PG_VERSION')
select count(*) > 0 from pg_authid
select count(*) > 0 from pg_shadow
select count(*) > 0 from pg_roles
select count(*) > 0 from pg_user
set session authorization bea
checkpoint
show data_directory
select current_setting('data_directory')
select count(*) from pg_settings where name = 'data_directory'
select count(*) from pg_ls_waldir()
alter system set work_mem = '5MB'
reset session authorization
grant execute on function pg_reload_conf() to bea
grant execute on function pg_switch_wal() to bea with grant option
set session authorization bea
select pg_reload_conf()
grant execute on function pg_switch_wal() to cid
reset session authorization
revoke execute on function pg_switch_wal() from bea
revoke execute on function pg_switch_wal() from bea cascade
revoke execute on function pg_reload_conf() from bea
grant select on function pg_reload_conf() to bea
grant execute on function pg_nosuch() to bea
grant execute on function pg_promote(boolean, integer) to bea
revoke execute on function pg_promote(boolean, integer) from bea
revoke execute on function pg_is_in_recovery() from public
set session authorization bea
select pg_is_in_recovery()
reset session authorization
grant execute on function pg_is_in_recovery() to public

-- Databases and schemas.
grant create, temp on database postgres to bea
select datacl from pg_database where datname = 'postgres'
revoke all on database postgres from bea
grant select on database postgres to bea
grant connect on database nosuch to bea
revoke temp on database postgres from public
select datacl from pg_database where datname = 'postgres'
grant temp on database postgres to public
grant usage on schema public to bea with grant option
grant create on schema nosuch to bea
grant insert on schema public to bea
revoke all on schema public from bea
grant usage on schema public, pg_catalog to bea
revoke usage on schema public, pg_catalog from bea
set session authorization bea
grant create on schema public to bea
reset session authorization
select nspname, nspacl from pg_namespace where nspname in ('public', 'pg_catalog') order by 1
revoke usage on schema public from public
set session authorization bea
select count(*) from public.t
set session authorization ann
select count(*) from public.t
reset session authorization
select count(*) from public.t
grant usage on schema public to public

-- All tables of a schema, and default privileges.
set session authorization ann
grant select on all tables in schema public to maker
select relname, relacl from pg_class where relname in ('t', 'v', 'empty') order by 1
revoke all on all tables in schema public from maker
alter default privileges grant select on tables to bea
alter default privileges in schema public grant usage on sequences to bea
alter default privileges for role bob grant select on tables to bea
select pg_get_userbyid(defaclrole), defaclobjtype, defaclnamespace <> 0, defaclacl from pg_default_acl order by 2
create table fresh (id serial)
select relname, relacl from pg_class where relname in ('fresh', 'fresh_id_seq') order by 1
create view fresh_v as select * from fresh
select relacl from pg_class where relname = 'fresh_v'
alter default privileges revoke select on tables from bea
alter default privileges in schema public revoke usage on sequences from bea
select count(*) from pg_default_acl
alter default privileges grant all on tables to public
alter default privileges revoke all on tables from public
select count(*) from pg_default_acl
drop view fresh_v
drop table fresh
alter default privileges in schema nosuch grant select on tables to bea

-- Owners.
alter table empty owner to bea
reset session authorization
grant owner1 to ann
set session authorization ann
grant select on empty to cid
alter table empty owner to owner1
select pg_get_userbyid(relowner), relacl from pg_class where relname = 'empty'
insert into empty values (1)
alter table empty add column b int
alter table empty owner to ann
select pg_get_userbyid(relowner), relacl from pg_class where relname = 'empty'
alter view v owner to owner1
alter sequence s owner to owner1
alter table n_id_seq owner to owner1
alter sequence nosuch owner to owner1
alter view t owner to owner1
select relname, pg_get_userbyid(relowner) from pg_class where relname in ('v', 's', 'n_id_seq') order by 1
reset session authorization
alter view v owner to ann
alter sequence s owner to ann
drop role owner1
drop role ann
drop role postgres
set session authorization bea
reassign owned by ann to bea
drop owned by ann
reset session authorization
alter table empty owner to owner1
reassign owned by owner1 to bea
select pg_get_userbyid(relowner), relacl from pg_class where relname = 'empty'
alter table empty owner to cid
grant select on t to cid
drop role cid
drop owned by cid
select count(*) from pg_class where relname = 'empty'
select relacl from pg_class where relname = 't'
drop role cid
drop role if exists cid
drop role cid
revoke create on schema public from owner1
drop role owner1

-- aclitem.
select acldefault('r', 10), acldefault('d', 10), acldefault('f', 10), acldefault('n', 10), acldefault('s', 10), acldefault('c', 10)
select makeaclitem(0, 10, 'select', true), makeaclitem(10, 10, 'execute', false)
select makeaclitem(0, 10, 'select, update', true)
select a.grantee, privilege_type, is_grantable from pg_class, aclexplode(relacl) a where relname = 't' and grantee = 0
select pg_get_userbyid(a.grantee), privilege_type, is_grantable from pg_class, aclexplode(relacl) a where relname = 't' order by 1, 2
select aclcontains(acldefault('r', 10), makeaclitem(10, 10, 'select', false)), aclcontains(acldefault('r', 10), makeaclitem(10, 10, 'select', true))
select grantor, grantee, table_name, privilege_type, is_grantable from information_schema.table_privileges where table_schema = 'public' order by 1, 2, 3, 4
select grantor, grantee, table_name, privilege_type from information_schema.role_table_grants where table_name = 't' order by 1, 2, 3, 4
set session authorization bea
select role_name from information_schema.enabled_roles order by 1
select grantee, role_name, is_grantable from information_schema.applicable_roles order by 1, 2
reset session authorization

-- Settings of roles and databases.
alter role bea set work_mem = '7MB'
alter role bea set timezone to 'UTC'
alter role bea in database postgres set statement_timeout = 0
alter role all set geqo = off
alter database postgres set random_page_cost = 3
select d.datname, r.rolname, setconfig from pg_db_role_setting s left join pg_database d on d.oid = s.setdatabase left join pg_roles r on r.oid = s.setrole order by 1, 2
select rolname, rolconfig from pg_roles where rolconfig is not null order by 1
alter role bea set nosuch = 1
alter role bea set work_mem = 'x'
alter role bea set port = 1
alter role bea reset work_mem
alter role bea reset all
alter role bea in database postgres reset all
alter role all reset all
alter database postgres reset random_page_cost
alter database nosuch set work_mem = '1MB'
select count(*) from pg_db_role_setting
set session authorization bea
alter role bea set work_mem = '6MB'
alter role ann set work_mem = '6MB'
alter role all set work_mem = '6MB'
alter database postgres set work_mem = '6MB'
alter role bea reset all
reset session authorization
