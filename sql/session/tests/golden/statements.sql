create table t (id int primary key, a int, b text default 'dflt', c numeric(6,2), d timestamp, e bool);
insert into t default values;
insert into t (id) values (1);
insert into t values (2, 5, default, 1.005, '2020-01-02 03:04:05.678', true), (3, null, 'x', -2, null, false);
insert into t as x (id, a) values (4, 7) on conflict (id) do update set a = x.a + excluded.a;
insert into t as x (id, a) values (4, 7) on conflict (id) do update set a = x.a + excluded.a returning x.*;
insert into t (id, a) values (4, 100) on conflict on constraint t_pkey do update set a = excluded.a, b = 'upd' where t.a < 50 returning a, b;
update t set a = default, b = default where id = 4 returning *;
update t as y set a = y.id * 10, b = y.b || '!' where y.id in (1, 4) returning y.id, a, b;
update t set (a, b) = (1, 'two') where id = 1;
update only t set a = 3 where id = 1;
select * from t order by id;
select * from only t where id < 2;
table t order by id;
select id, a from t order by a nulls first, id desc;
select id, a from t order by a desc, id;
select id, a from t order by a desc nulls last, id fetch first 2 rows only;
select id from t order by id offset 1 limit 2;
select id from t order by id limit all;
select id from t order by id limit null offset 2;
select 1 where false;
select 1 as a, 2 as a;
select count(*), count(a), count(distinct e), sum(a), avg(a), min(b), max(c), bool_and(e), string_agg(b, '-' order by id) from t;
select e, count(*) from t group by e order by 1;
select e, count(*) from t group by 1 having count(*) > 1 order by e nulls first;
select a % 2 as k, array_agg(id order by id) from t group by k order by k;
select x.*, 1 from (select 1 as a, 'q' as b) x;
select x.a + 1 as y from (select 1 as a) x where x.a = 1 order by y;
with q as (select id from t where id > 1), r(z) as (select max(id) from q) select z, (select count(*) from q) from r;
select * from (values (1,'a'),(2,'b')) as v(n, s) join t on t.id = v.n order by n;
select v.n, t.id from (values (1),(9)) v(n) left join t on t.id = v.n order by 1;
select * from generate_series(1, 10, 3);
select * from generate_series(3, 1, -1) with ordinality;
select * from generate_series('2020-01-01'::timestamp, '2020-01-03', '1 day');
select generate_series(1, 2), generate_series(1, 3);
select g, g * 2 from generate_series(1, 3) as g;
select * from unnest(array[1, 2, null]);
select * from unnest('{a,b}'::text[]) u(x);
select coalesce(a, -1), nullif(id, 2), greatest(id, a), least(id, a) from t order by id;
select case id when 1 then 'one' when 2 then 'two' else 'many' end from t order by id;
select id between 2 and 3, id in (1, 3), id not in (1, null), b like '_%', b ilike 'X' from t order by id;
select a is null, a is not null, e is true, e is not true, e is unknown from t order by id;
select exists (select 1 from t where id = 99), (select a from t where id = 99);
select id from t where id = any (array[1, 3]) order by id;
select id from t where id = any (select id + 1 from t) order by id;
select id from t where id > all (select 1 union select 2) order by id;
select id from t where (id, a) in (select id, a from t where a is not null) order by id;
select 1 union all select 1 union select 2 order by 1;
(select 1 limit 1) union all (select 2 order by 1);
select 'a' as x union select null order by 1 nulls first;
select 1 except select 1;
select 1.0 union select 2;
select null union select 5 order by 1;
select distinct a from t order by a;
select distinct on (e) e, id from t order by e, id desc;
select t.id, s.id from t, t as s where t.id = s.id - 1 order by 1;
select t1.id from t t1 cross join t t2 where t2.id = 1 order by 1;
select id from t natural join (select 1 as id) q;
select id, x from t join (select 1 as id, 5 as x) q using (id);
select count(*) from t where id >= 2 and id <= 3;
select max(id) from t where id < 0;
select upper(b), length(b), substr(b, 1, 2), b || id from t order by id;
select cast('5' as int) + 1, '6'::bigint, 7::text || 'x', 1::bool;
select 10 / 3, 10 % 3, -10 / 3, 10.0 / 3, 2 ^ 10, 5 / 2.0;
select 1/0;
select 'x'::int;
select 2147483647 + 1;
select * from t where nosuch = 1;
select nosuch(1);
select 1 +;
select * from t where id = 'abc';
insert into t (id) values (1);
insert into t (id, id) values (1, 2);
insert into t values (10, 'x');
insert into t (id, c) values (11, 123456);
update t set nosuch = 1;
update t set id = null where id = 1;
delete from t where id = 3 returning id, b;
delete from t as z using (select 2 as k) q where z.id = q.k returning z.id, k;
truncate t;
select count(*) from t;
insert into t (id) select generate_series(1, 5);
insert into t select g, g from generate_series(6, 8) g on conflict do nothing;
create table u as select id, a * 2 as dbl from t where id > 5;
select * from u order by 1;
create table if not exists t (x int);
drop table if exists nosuch;
drop table u, nosuch;
drop table u;
alter table t add column f int default 3;
alter table t drop column b;
select * from t where id = 1;
alter table t rename column a to aa;
alter table t alter column aa set not null;
alter table t add constraint chk check (id > 0);
select aa from t where id = 6;
begin; insert into t (id) values (100); savepoint s1; insert into t (id) values (100); rollback to s1; select count(*) from t where id = 100; commit;
select count(*) from t where id = 100;
prepare q1 as select id from t where id = $1; execute q1(3); execute q1('4'); deallocate q1;
show transaction_isolation;
set nosuch.x = 5; show nosuch.x;
select current_setting('nosuch.x'), set_config('nosuch.x', '7', false), current_setting('nosuch.x');
select current_setting('nosuch.y', true);
begin; set transaction isolation level repeatable read; show transaction_isolation; commit;
begin read only; insert into t (id) values (5000); rollback;
lock table t;
begin; lock table t in share mode; commit;
commit;
rollback;
select pg_typeof(1), pg_typeof(1.5), pg_typeof('x'), pg_typeof(null), pg_typeof(now());
select '2020-01-01'::date - '2019-12-31'::date, age('2020-02-01'::timestamp, '2020-01-01'::timestamp);
select extract(year from d) from t where id = 1;
select to_char(timestamp '2020-01-02 03:04:05', 'YYYY-MM-DD HH24:MI:SS');
select 'abc' ~ 'b', 'abc' !~* 'B', 'abc' like 'a%' escape '\';
select e'a\nb', U&'d\0061t', $$dollar$$, $x$a$$b$x$;
select -5 % 3, abs(-5), round(2.5), round(-2.5), round(2.567, 2), ceil(1.1), floor(-1.1), sign(-3), trunc(1.9);
select 0.1 + 0.2, 0.1::float8 + 0.2::float8, 1e10, 1e-10::float8, 'NaN'::float8, 'infinity'::float8;
select '\x0102'::bytea, 'a'::char(5) || 'b', 'abc'::varchar(2), length('a  '::char(5));
select true and null, false and null, true or null, not null::bool;
create table acc (id int primary key, owner text not null, bal numeric(12,2) not null default 0, at timestamptz default '2020-01-01 00:00:00+00');
insert into acc (id, owner, bal) values (1, 'ann', 100), (2, 'bob', 50.5), (3, 'cid', 0);
select owner, bal, at from acc where bal > 10 order by bal desc;
update acc set bal = bal - 30 where owner = 'ann' returning id, bal;
select sum(bal), avg(bal), min(at), max(owner) from acc;
select owner from acc where owner like 'a%' or owner ~ 'd$' order by owner;
insert into acc values (4, null);
insert into acc values (5, 'eve', 99999999999);
insert into acc (id, owner) values (6, 'fay') on conflict (id) do nothing returning id;
insert into acc (id, owner) values (6, 'fay') on conflict (id) do nothing returning id;
insert into acc (id, owner) select id + 10, owner || '2' from acc where id < 3 returning id, owner;
delete from acc where id > 10;
select a.owner, b.owner from acc a join acc b on b.id = a.id + 1 order by a.id;
select a.owner, (select count(*) from acc b where b.bal >= a.bal) as rank from acc a order by rank, owner;
select owner from acc a where exists (select 1 from acc b where b.id = a.id and b.bal = 0) order by 1;
select owner, case when bal = 0 then 'none' when bal < 60 then 'some' else 'much' end as how from acc order by id;
select * from (select owner, bal from acc order by bal desc limit 2) top order by owner;
select bal > 0 as rich, count(*), sum(bal) from acc group by bal > 0 order by 1;
select left(owner, 1) as l, string_agg(owner, '+' order by owner desc) from acc group by l order by l;
select owner, bal from acc order by 2 desc, 1 limit 1;
select count(*) from acc where at < now();
select id from acc order by -id limit 2;
select id % 2 as odd, max(bal) - min(bal) from acc group by odd order by odd;
select acc.* from acc where (id, owner) = (1, 'ann');
select coalesce(sum(bal), 0) from acc where id = 99;
select count(*) from acc having count(*) > 100;
select id from acc where id not in (select id from acc where bal > 0) order by id;
select distinct bal > 0 from acc order by 1;
select x, y from (values (1, 'a'), (2, 'b'), (3, null)) as s(x, y) where y is not null order by x desc;
select sum(x) from (select 1 as x union all select 2 union all select 3) s;
select n, (select string_agg(m::text, ',' order by m) from generate_series(1, n) m) from generate_series(1, 3) n;
select a, b from generate_series(1, 2) a, generate_series(a, 2) b order by 1, 2;
select l.v from (values (1), (2)) o(v), lateral (select o.v * 10 as v) l order by 1;
select o.v, l.w from (values (1), (2)) o(v) left join lateral (select 5 as w where o.v = 2) l on true order by 1;
select * from (values (1), (2)) a(x) full join (values (2), (3)) b(y) on a.x = b.y order by x, y;
select 1 in (select 1 where false), 1 not in (select null::int), null = any (select 1);
select (select 1, 2);
select (select x from (values (1), (2)) v(x));
select * from acc where bal = (select max(bal) from acc);
select id from acc where owner in ('ann', 'bob') and not bal < 60;
select sum(distinct x), count(distinct x) from (values (1), (1), (2)) v(x);
select x from (values (3), (1), (2)) v(x) order by x using >;
select id from acc union select id + 100 from acc order by id desc limit 3;
select id from acc intersect select 2;
select 1 limit -1;
select 1 offset -1;
select id, owner from acc group by id order by id;
select owner, count(*) from acc group by id, owner order by id;
select bal from acc group by id order by bal;
select bal from acc group by owner;
select id as x from acc where x = 1;
select id as x from acc order by x limit 1;
select acc.id from acc a;
select a.id from acc a, acc a;
select * from acc, (select 1 as id) q where id = 1;
select count(id, owner) from acc;
select max(owner, id) from acc;
select id from acc group by nosuch;
select 1 where 1;
select * from acc limit 'x';
select * from nosuchschema.acc;
select * from public.acc where public.acc.id = 2;
insert into acc (id) select 1, 2;
insert into acc (id, owner) values (1);
insert into acc (nosuch) values (1);
insert into nosuch values (1);
insert into acc values (7, 'x', 'notanumber');
update acc set id = 1, id = 2;
update acc set bal = 'x' where id = 1;
update nosuch set a = 1;
delete from acc where nosuch;
delete from nosuch;
select 1 union select 'a';
select 1, 2 union select 1;
create table acc (x int);
create table bad (x nosuchtype);
create table bad (x int primary key, y int primary key);
create table bad (x int, primary key (y));
create table bad (x int check (nosuch > 1));
create table bad (x int default nosuch);
create table bad (x int default 'abc');
create table bad (x varchar(0));
create table nokey (a int, b int);
insert into nokey values (1, 1), (1, 1), (2, null);
update nokey set b = 5 where a = 1;
delete from nokey where b is null;
select * from nokey;
insert into nokey values (3, 3) on conflict (a) do nothing;
insert into nokey values (3, 3) on conflict do nothing;
create table pair (a int, b text, c int, constraint pk primary key (b, a));
insert into pair values (1, 'x', 1), (2, 'x', 2), (1, 'y', 3);
insert into pair values (1, 'x', 9);
insert into pair values (1, 'x', 9) on conflict (a, b) do update set c = excluded.c returning *;
insert into pair values (1, null, 9);
select * from pair where b = 'x' order by b, a desc;
update pair set a = 5 where b = 'y';
update pair set b = 'x', a = 2 where c = 3;
select a from pair where (b, a) = ('y', 5);
alter table pair add column d timestamp default '2020-02-02';
select * from pair order by b, a;
alter table pair add column d int;
alter table pair add column e int not null;
alter table pair drop column nosuch;
alter table pair drop column if exists nosuch;
alter table pair alter c set default 42;
insert into pair (a, b) values (9, 'z') returning *;
alter table pair alter c drop default, alter c set not null;
insert into pair (a, b) values (10, 'z');
alter table pair rename to pairs;
select count(*) from pairs;
select count(*) from pair;
alter table if exists pair rename to x;
alter table pairs add primary key (c);
drop table pairs;
begin; create table tmp1 (a int primary key); insert into tmp1 values (1); select * from tmp1; rollback;
select * from tmp1;
begin; drop table nokey; select * from nokey;
rollback;
select count(*) from nokey;
begin; truncate nokey; insert into nokey values (9, 9); select * from nokey; rollback; select * from nokey;
begin; insert into nokey values (100, 1); savepoint a; insert into nokey values (101, 1); savepoint b; insert into nokey values (102, 1); rollback to a; insert into nokey values (103, 1); release a; commit; select a from nokey where a >= 100 order by 1;
begin; select 1/0; select 1; commit;
savepoint x;
release savepoint x;
begin; release savepoint nosuch;
start transaction isolation level repeatable read, read only; show transaction_read_only; insert into nokey values (1); rollback;
begin; insert into nokey values (7, 7); commit and chain; show transaction_isolation; rollback;
set transaction isolation level repeatable read;
set local work_mem = '8MB';
create role golden login nosuperuser connection limit 3 password null;
select rolname, rolsuper, rolcanlogin, rolconnlimit from pg_roles where rolname = 'golden';
create role golden;
alter role golden createdb;
select rolcreatedb from pg_roles where rolname = 'golden';
drop role golden;
drop role golden;
drop role if exists golden;
prepare p2 (int) as select $1 + 1 as r; execute p2(1); execute p2('x');
prepare p3 as insert into nokey values ($1, $2) returning a; execute p3(50, 51); execute p3(1);
execute nosuch;
deallocate nosuch;
select relname, relkind from pg_class where relname in ('acc', 'acc_pkey') order by 1;
select attname, format_type(atttypid, atttypmod), attnotnull from pg_attribute where attrelid = 'acc'::regclass and attnum > 0 order by attnum;
select 'acc'::regclass, 'acc'::regclass::oid = (select oid from pg_class where relname = 'acc');
select 'nosuch'::regclass;
select table_name, column_name, data_type, is_nullable from information_schema.columns where table_name = 'acc' order by ordinal_position;
select conname, contype, pg_get_constraintdef(oid) from pg_constraint where conrelid = 'acc'::regclass;
select indexrelid::regclass, indisprimary from pg_index where indrelid = 'acc'::regclass;
select has_table_privilege('acc', 'select'), pg_table_is_visible('acc'::regclass), obj_description('acc'::regclass);
select current_schema, current_schemas(true), current_user, session_user, current_database();
select nspname from pg_namespace where nspname in ('public', 'pg_catalog', 'information_schema') order by 1;
vacuum;
analyze acc;
vacuum nosuch;
begin; vacuum;
checkpoint;
discard all;
select 1; select 2; select nosuch; select 3;
select ';', $$;$$ -- ; comment
/* ; */ select 5 /* nested /* ; */ */;
;
select 'unterminated
select "quoted" from (select 1 as "quoted") q;
select "Quoted" from (select 1 as "quoted") q;
SELECT ID FROM ACC WHERE OWNER = 'ann';
values (1, 2), (3, 4) order by 1 desc limit 1;
values (1, 2), (3);
values (1), ('x');
select * from acc for update of nosuch;
select count(*) from acc for update;
select count(*) from acc for share;
select id from acc union select id from acc for share;
select id from acc union (select id from acc for update);
values (1) for share;
select id from acc where id = 1 for update;
select id from acc order by id limit 1 for no key update skip locked;
table acc order by id limit 1;
create table nothing ()
insert into nothing default values returning *
select count(*) from nothing
delete from nothing returning nothing.*
create table own (a int generated always as identity primary key, b text, c int[])
insert into own (b) values ('x') on conflict (a) do update set excluded.b = 'y'
insert into own values (1, 'x') on conflict (a) do update set own.b = 'y'
insert into own (a) values (1) returning nosuch
insert into own (a) values (1)
update own set own.b = 'y'
update own set b.x = 1
update own set c.x = 1
update own set a = 1, nosuch = 2
update own set a = 1 returning nosuch
update own set a = 1
begin isolation level repeatable read, read only, deferrable; commit and chain; show transaction_deferrable; show transaction_read_only; rollback and chain; show transaction_deferrable; rollback
set constraints all deferred
begin; set constraints all deferred; commit
create table named (a text); alter table named alter a add generated always as identity
create table counted (a int); alter table counted alter a add generated always as identity
select array(select array[1, 2])
select array(select array[v, v + 1] from generate_series(1, 3) v order by v desc), array(select array[1] where false)
select array_dims(array(select '[0:1]={a,b}'::text[]))
select array(select array[1] union all select null)
select array(select array[1] union all select '{}' order by 1 desc)
select array(select '{}'::int[])
select array(select array[1, 2] union all select array[3])
select array(select array[[[[[[1]]]]]])
select array_fill(1, array[2, 2]), array_fill('a'::text, array[2])
select array_to_string(array_agg(oid::regclass order by oid), ',') from pg_class where relname in ('pg_proc', 'pg_class')
select concat(array['pg_class'::regclass]), format('%s', array['pg_proc'::regclass]), quote_literal(array['pg_class'::regclass])
select array['pg_class'::regclass, null]::varchar[], array['pg_class'::regclass]::text, array['integer'::regtype]::varchar[]
select array['a"b\c', 'd e', '', 'null', '"', '\']::text
