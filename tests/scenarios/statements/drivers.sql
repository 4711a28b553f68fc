-- What drivers and tools ask first, and what they ask of the catalogue.
select to_regtype('int4'), to_regtype('pg_catalog.text'), to_regtype('numeric(10,2)'), to_regtype('nosuch'), to_regtype('int4[]')
select to_regtype('character varying'), to_regtype('"char"'), to_regtype('timestamp with time zone'), to_regtype('nosuch.int4')
select to_regclass('pg_class'), to_regclass('nosuch'), to_regclass('pg_catalog.pg_type'), to_regclass('"PG_CLASS"')
select to_regproc('now'), to_regproc('abs'), to_regproc('nosuch'), to_regproc('pg_catalog.version')
select to_regprocedure('abs(int4)'), to_regprocedure('abs(nosuch)'), to_regprocedure('now()')
select to_regrole('postgres'), to_regrole('nosuch'), to_regnamespace('public'), to_regnamespace('nosuch')
select to_regoper('~~*'), to_regoper('='), to_regoperator('=(int4,int4)'), to_regoperator('nosuch(int4,int4)')
select to_regcollation('C'), to_regcollation('nosuch')
select 'now'::regproc, 'array_in'::regproc, 'int4in'::regproc::oid
select 'abs'::regproc
select 'nosuch'::regproc
select 'abs(int4)'::regprocedure, 'abs(int4)'::regprocedure::oid
select 'abs(nosuch)'::regprocedure
select 'int4'::regtype, 'varchar'::regtype::oid, 25::regtype, 'nosuch'::regtype
select 23::regtype::text, 'text'::regtype = 25
select 'pg_class'::regclass, 1249::regclass, 'pg_class'::regclass::oid, 99999::regclass
select 'nosuch'::regclass
select 'postgres'::regrole, 10::regrole, 'nosuch'::regrole
select 'public'::regnamespace::oid, 11::regnamespace, 2200::regnamespace::text
select 'nosuch'::regnamespace
select '=(int4,int4)'::regoperator, '=(int4,int4)'::regoperator::oid
select 'C'::regcollation, 100::regcollation
select '-'::regproc, 0::regclass, 0::regtype
select typname from pg_type where typinput = 'array_in'::regproc and typelem = 23
select typinput='array_in'::regproc as is_array, typtype, typname, oid from pg_type where oid = 1007
select typname, typlen, typbyval, typtype, typcategory, typelem, typarray, typinput, typoutput, typreceive, typsend from pg_type where oid in (16, 20, 23, 25, 1007, 1043, 1184, 1700) order by oid
select typalign, typstorage, typmodin, typmodout, typanalyze, typsubscript, typcollation from pg_type where oid in (23, 1043, 1007) order by oid
select oid, typname from pg_type where typname = 'int4' and typnamespace = 'pg_catalog'::regnamespace
select t.typname, e.typname from pg_type t join pg_type e on e.oid = t.typelem where t.typname = '_int8'
select nspname from pg_namespace where nspname in ('public', 'pg_catalog', 'information_schema') order by 1
select pg_catalog.pg_get_userbyid(10), pg_get_userbyid(0)
select current_schemas(false), current_schemas(true), current_schema()
select pg_encoding_to_char(6), pg_char_to_encoding('utf8'), pg_char_to_encoding('UTF-8'), pg_char_to_encoding('nosuch')
select quote_ident('a'), quote_ident('A b'), quote_ident('select'), quote_literal('it''s'), quote_literal(5), quote_nullable(null)
select format('%s %I %L %%', 'a', 'B c', 'it''s'), format('%2$s %1$s', 'a', 'b'), format('%10s|%-5s|', 'x', 'y')
select format('%s'), 1
select format('%z', 1)
select array_to_string(array[1,null,3], ','), array_to_string(array[1,null,3], ',', '*'), array_to_string('{}'::int[], ',')
select generate_subscripts(array['a','b','c'], 1)
select generate_subscripts(array['a','b','c'], 1, true)
select * from generate_subscripts('{{1,2},{3,4}}'::int[], 2) as s(i)
select s, (array[7,8,9])[s] from generate_subscripts(array[7,8,9], 1) as s
select '1 2 3'::int2vector, '23 25'::oidvector, ('1 2 3'::int2vector)[0], ('1 2 3'::int2vector)[1]
select 2 = any ('1 2 3'::int2vector), 5 = any ('1 2 3'::int2vector), '1 2'::int2vector::int2[]
select array_upper('1 2 3'::int2vector, 1), array_lower('1 2 3'::int2vector, 1), array_to_string('1 2'::int2vector, ',')
select oidvectortypes('23 25'), oidvectortypes('')
select format_type(23, null), format_type(1043, 24), format_type(1700, 655366), format_type(1007, -1), format_type(0, null), format_type(99999, -1), format_type(1042, 14)
select pg_table_is_visible('pg_class'::regclass), pg_type_is_visible(23), pg_function_is_visible('now'::regproc), pg_collation_is_visible(100)
select obj_description('pg_class'::regclass, 'nosuch'), col_description(0, 1), shobj_description(0, 'pg_database')
create table d (id serial primary key, name text not null default 'x', price numeric(10,2) check (price > 0), tags text[], unique (name, price))
create index d_price on d (price desc, name)
create view d_view as select id, name from d
select attname, format_type(atttypid, atttypmod), attnotnull, atthasdef, attnum from pg_attribute where attrelid = 'd'::regclass and attnum > 0 and not attisdropped order by attnum
select a.attname, pg_get_expr(d.adbin, d.adrelid) from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum where d.adrelid = 'd'::regclass order by a.attnum
select relname, relkind, relnatts, relchecks, relhasindex, relpersistence from pg_class where relname in ('d', 'd_price', 'd_id_seq', 'd_view') order by relname
select indexrelid::regclass, indkey, indnatts, indisunique, indisprimary, indoption from pg_index where indrelid = 'd'::regclass order by 1::text
select indexrelid::regclass::text, indkey, indclass, indcollation from pg_index where indrelid = 'd'::regclass order by 1
select pg_get_indexdef('d_price'::regclass), pg_get_indexdef('d_pkey'::regclass), pg_get_indexdef('d_price'::regclass, 1, false)
-- differs: the expression of a CHECK is shown as it was written, and its columns are not noted
select conname, contype, conkey, pg_get_constraintdef(oid) from pg_constraint where conrelid = 'd'::regclass order by conname
select pg_get_serial_sequence('d', 'id'), pg_get_serial_sequence('d', 'name')
select pg_get_viewdef('d_view'::regclass) is not null
select count(*) from pg_depend where objid = 'd_id_seq'::regclass and deptype = 'a'
select a.attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey) where i.indrelid = 'd'::regclass and i.indisprimary
select i.relname, array_agg(a.attname order by a.attnum) from pg_class t, pg_class i, pg_index ix, pg_attribute a where t.oid = ix.indrelid and i.oid = ix.indexrelid and a.attrelid = t.oid and a.attnum = any (ix.indkey) and t.relname = 'd' group by i.relname order by i.relname
select table_name, table_type from information_schema.tables where table_schema = 'public' order by table_name
select column_name, data_type, is_nullable, ordinal_position, udt_name from information_schema.columns where table_name = 'd' order by ordinal_position
select amname, amtype from pg_am where amname in ('heap', 'btree') order by amname
select collname, collprovider, collencoding from pg_collation where collname in ('C', 'POSIX', 'default') order by oid
select oprname, oprleft::regtype, oprright::regtype, oprresult::regtype from pg_operator where oprname = '=' and oprleft = 23 order by oprright
select castsource::regtype, casttarget::regtype, castcontext from pg_cast where castsource = 23 and casttarget in (16, 20, 21, 700, 701, 1700) order by casttarget
select opcname, opcintype::regtype, opcdefault from pg_opclass where opcmethod = 403 and opcname in ('int4_ops', 'text_ops') order by opcname
select proname, pronargs, prorettype::regtype, proargtypes, provolatile, prokind from pg_proc where proname = 'abs' order by oid
-- differs: there is no type money, and so no sum of it
select proname, prokind, prorettype::regtype from pg_proc where proname in ('now', 'sum', 'generate_series') and pronargs < 2 order by oid
select count(*) from pg_enum
select count(*) from pg_extension where extname <> 'plpgsql'
select count(*) from pg_trigger
select count(*) from pg_policy
select count(*) from pg_publication
select count(*) from pg_statistic_ext
select count(*) from pg_foreign_server
select count(*) from pg_inherits
select count(*) from pg_largeobject_metadata
select count(*) from pg_prepared_xacts
select count(*) from pg_stat_progress_vacuum
select count(*) from pg_stat_progress_basebackup
select count(*) from pg_cursors
-- differs: expressions in the catalogue are text, not pg_node_tree
select attname, atttypid::regtype from pg_attribute where attrelid = 'pg_index'::regclass and attnum > 0 order by attnum
select attname from pg_attribute where attrelid = 'pg_proc'::regclass and attnum > 0 order by attnum
select attname from pg_attribute where attrelid = 'pg_type'::regclass and attnum > 0 order by attnum
select relkind from pg_class where oid = 'pg_class'::regclass
prepare p1 (int, text) as select $1, $2
select name, parameter_types, from_sql from pg_prepared_statements order by name
deallocate p1
select count(*) from pg_prepared_statements
begin
declare c1 cursor for select 1
select name, is_holdable, is_binary from pg_cursors where name = 'c1'
close c1
select count(*) from pg_cursors where name = 'c1'
commit
select pg_advisory_lock(1), pg_advisory_lock(1, 2), pg_try_advisory_lock(1), pg_try_advisory_lock_shared(1)
select locktype, classid, objid, objsubid, mode, granted from pg_locks where locktype = 'advisory' order by classid, objid, objsubid, mode
select pg_advisory_unlock(1), pg_advisory_unlock(1), pg_advisory_unlock(1), pg_advisory_unlock_shared(1), pg_advisory_unlock(1, 2)
select count(*) from pg_locks where locktype = 'advisory'
select pg_advisory_lock(-1), pg_advisory_lock(4294967296), pg_advisory_lock(-1, -2)
select classid, objid, objsubid from pg_locks where locktype = 'advisory' order by 1, 2, 3
select pg_advisory_unlock_all()
select count(*) from pg_locks where locktype = 'advisory'
begin
select pg_advisory_xact_lock(5), pg_try_advisory_xact_lock(5), pg_advisory_xact_lock_shared(6)
savepoint s
select pg_advisory_xact_lock(7), pg_advisory_lock(8)
rollback to s
select objid, mode from pg_locks where locktype = 'advisory' order by objid
select pg_advisory_unlock(5)
commit
select objid, mode from pg_locks where locktype = 'advisory' order by objid
select pg_advisory_unlock_all()
select pg_advisory_lock(null)
select pg_advisory_lock('x')
set time zone interval '-08:00' hour to minute
show timezone
select timestamptz '2024-01-01 00:00Z'
set time zone interval '+05:30' hour to minute
select timestamptz '2024-01-01 00:00Z'
set time zone -3
select timestamptz '2024-01-01 00:00Z'
set time zone 'UTC'
set time zone interval '1 month'
select pg_catalog.substring('abcdef', 2, 3), pg_catalog.substr('abcdef', 2), pg_catalog.btrim('  x '), pg_catalog.ltrim('xxa', 'x')
select substring('abcdef' from 2 for 3), substring('abc' for 2), trim(both 'x' from 'xax'), trim(leading from '  a'), position('b' in 'abc'), overlay('abcdef' placing 'X' from 2 for 2)
select pg_catalog.lower('A'), pg_catalog.length('abc'), pg_catalog.now() is not null, pg_catalog.date_part('year', date '2024-05-01')
select pg_catalog.position('b', 'abc'), pg_catalog.overlay('abcdef', 'X', 2, 1), pg_catalog.timezone('UTC', timestamp '2024-01-01')
select pg_catalog.current_setting('server_encoding'), pg_catalog.set_config('application_name', 'x', false)
select 1 operator(pg_catalog.=) 1, 2 operator(pg_catalog.+) 3, 'abc' operator(pg_catalog.~) 'b', 'a' operator(pg_catalog.||) 'b'
select 1 operator(pg_catalog.=) any (array[1,2]), 3 operator(pg_catalog.<>) all (array[1,2]), 1 operator(pg_catalog.=) any (select 1)
select relname from pg_class where relname operator(pg_catalog.~) '^(pg_class)$' collate pg_catalog.default and pg_catalog.pg_table_is_visible(oid)
-- absent: operators of other schemas
select 1 operator(nosuch.=) 1
insert into d (name, price) values ('a', 1), ('b', 2)
select tableoid::regclass, name from d order by name
select d.tableoid = 'd'::regclass::oid, e.tableoid::regclass from d join d e using (id) order by d.id
select tableoid::regclass from pg_class where relname = 'pg_type'
select pg_relation_size('nosuch'), 1
select pg_size_pretty(0::bigint), pg_size_pretty(10239::bigint), pg_size_pretty(10240::bigint), pg_size_pretty(1073741824::bigint), pg_size_pretty(-20000::numeric)
select pg_size_bytes('1 kB'), pg_size_bytes('2MB'), pg_size_bytes('1.5 GB'), pg_size_bytes('100'), pg_size_bytes('-1kB')
select pg_size_bytes('1 XB')
select pg_database_size('postgres') > 0, pg_database_size(current_database()) > 0, pg_database_size(99999::oid)
select pg_database_size('nosuch')
select pg_tablespace_size('pg_default') > 0, pg_tablespace_size('pg_global') > 0
select pg_tablespace_size('nosuch')
select count(*) > 0 from pg_ls_dir('.') as f where f in ('postgresql.conf', 'PG_VERSION')
select * from pg_ls_dir('nosuch')
select * from pg_ls_dir('nosuch', true, false)
select count(*) > 0 from pg_ls_waldir()
select size > 0, isdir from pg_stat_file('postgresql.conf')
select isdir from pg_stat_file('base')
select * from pg_stat_file('nosuch', true)
select * from pg_stat_file('nosuch')
select pg_read_file('PG_VERSION'), pg_read_file('PG_VERSION', 0, 2), pg_read_binary_file('PG_VERSION', 0, 2)
select pg_read_file('nosuch')
select pg_read_file('nosuch', 0, 1, true)
select pg_read_file('nosuch', true)
select pg_read_file('PG_VERSION', 0, -1)
select pg_read_file('PG_VERSION', -3, 2)
select count(*) > 0 from pg_file_settings
select array_dims(array[1,2]), array_remove(array[1,2,1], 1), array_replace(array[1,2], 2, 9), array_positions(array[1,2,1], 1), trim_array(array[1,2,3], 1), array_fill(7, array[2])
select trim_array(array[1], 2)
-- differs: nothing is compiled while it runs
select pg_my_temp_schema(), pg_is_other_temp_schema(0), pg_jit_available()
select has_table_privilege('d', 'select'), has_schema_privilege('public', 'usage'), has_database_privilege('postgres', 'connect')
drop view d_view
drop table d
