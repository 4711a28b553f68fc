//! Statements over a real database: what they give, and how they fail.

use crate::common::{Client, Node};
use sql_types::{Datum, TypeId};
use sqlstate::SqlState;

#[tokio::test]
async fn a_table_is_made_filled_changed_and_dropped() {
    let node = Node::new().await;
    let mut c = node.client().await;
    assert_eq!(
        c.run("create table t (id int primary key, name text not null default 'x', n numeric(8,2))").await,
        "CREATE TABLE"
    );
    assert_eq!(c.run("insert into t values (1, 'one', 1.5), (2, 'two', null)").await, "INSERT 0 2");
    assert_eq!(c.run("insert into t (id) values (3)").await, "INSERT 0 1");
    assert_eq!(c.text("select * from t order by id").await, "1|one|1.50;2|two|-;3|x|-");
    assert_eq!(c.run("update t set n = coalesce(n, 0) + id where id >= 2").await, "UPDATE 2");
    assert_eq!(c.text("select id, n from t order by id desc").await, "3|3.00;2|2.00;1|1.50");
    assert_eq!(c.run("delete from t where name like 't%'").await, "DELETE 1");
    assert_eq!(
        c.text("select count(*), sum(n), min(name), avg(id) from t").await,
        "2|4.50|one|2.0000000000000000"
    );
    assert_eq!(c.text("insert into t values (9) returning id, name || '!' as shout").await, "9|x!");
    assert_eq!(c.text("update t set id = 10 where id = 9 returning id").await, "10");
    assert_eq!(c.text("delete from t where id = 10 returning *").await, "10|x|-");
    assert_eq!(c.run("drop table t").await, "DROP TABLE");
    assert_eq!(c.refused("select * from t").await, ("42P01".into(), "relation \"t\" does not exist".into()));
}

/// A query, and its rows.
const QUERIES: &[(&str, &str)] = &[
    ("select 1", "1"),
    ("select 1 + 2 as x, 'a' || 'b', null", "3|ab|-"),
    ("values (1, 'a'), (2, null) order by 1 desc", "2|-;1|a"),
    ("select * from (values (1), (2)) v(x) where x > 1", "2"),
    ("select * from generate_series(1, 4) g where g % 2 = 0", "2;4"),
    ("select generate_series(1, 3), 'x'", "1|x;2|x;3|x"),
    ("select g, generate_series(1, g) from generate_series(1, 2) g", "1|1;2|1;2|2"),
    ("select count(*) from generate_series(1, 10000)", "10000"),
    (
        "select x, count(*) from generate_series(1, 6) g, lateral (select g % 3 as x) s group by x order by x",
        "0|2;1|2;2|2",
    ),
    ("select 1 union select 2 union all select 2 order by 1", "1;2;2"),
    ("select 1 intersect select 1", "1"),
    ("select generate_series(1,3) except select 2", "1;3"),
    ("with a as (select 1 as x), b as (select x + 1 as y from a) select x, y from a, b", "1|2"),
    ("select (select max(g) from generate_series(1, 5) g), exists (select 1 where false)", "5|f"),
    ("select 3 in (select generate_series(1, 3)), 4 not in (select generate_series(1, 3))", "t|t"),
    ("select null in (select 1), 1 in (select null::int), 5 > all (select generate_series(1,4))", "-|-|t"),
    ("select array(select generate_series(1, 3))", "{1,2,3}"),
    ("select distinct g % 2 from generate_series(1, 5) g order by 1", "0;1"),
    ("select distinct on (g % 2) g from generate_series(1, 5) g order by g % 2, g desc", "4;5"),
    ("select g from generate_series(1, 5) g order by g desc limit 2 offset 1", "4;3"),
    ("select case when g > 1 then 'big' else 'small' end from generate_series(1, 2) g", "small;big"),
    (
        "select sum(g) filter (where g > 2), string_agg(g::text, ',' order by g desc) from generate_series(1, 4) g",
        "7|4,3,2,1",
    ),
    ("select g % 2 as k, sum(g) from generate_series(1, 5) g group by k having sum(g) > 6 order by 1", "1|9"),
    (
        "select a.g, b.g from generate_series(1,3) a(g) left join generate_series(2,3) b(g) on a.g = b.g order by 1",
        "1|-;2|2;3|3",
    ),
    (
        "select a.g, b.g from generate_series(1,2) a(g) full join generate_series(2,3) b(g) on a.g = b.g order by 1, 2",
        "1|-;2|2;-|3",
    ),
    (
        "select a.g, b.g from generate_series(1,2) a(g) right join generate_series(2,3) b(g) on a.g = b.g order by 2",
        "2|2;-|3",
    ),
    ("select * from generate_series(1,2) a(g) join generate_series(2,3) b(g) using (g)", "2"),
    (
        "select g from generate_series(1, 3) g where g = (select max(h) from generate_series(1, g) h) order by 1",
        "1;2;3",
    ),
    ("select n from pg_numbers where n <> 2 order by n", "1;3"),
    ("select node_twice(21), node_pair()", "42|(7,\"a b\")"),
    ("select word, number from node_pair(3)", "a b|3"),
    (
        "select case when g = 1 then node_twice(g) when g = 2 then (select 7) else 0 end from generate_series(1, 3) g",
        "2;7;0",
    ),
    (
        "select coalesce(g, (select 1 / 0)), g in (select h from generate_series(1, g) h where h > 1) from generate_series(1, 2) g",
        "1|f;2|t",
    ),
    ("select case when false then (select 1 union select 2) end, node_twice(node_twice(3))", "-|12"),
    ("select count(*), node_twice(4) from generate_series(1, 3)", "3|8"),
    ("select generate_series(1, (select 3))", "1;2;3"),
    ("select current_user, current_database()", "postgres|postgres"),
];

#[tokio::test]
async fn queries_without_tables() {
    let node = Node::new().await;
    let mut c = node.client().await;
    for &(sql, expected) in QUERIES {
        assert_eq!(c.text(sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn joins_and_subqueries_over_tables() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table dept (id int primary key, name text)").await;
    c.run("create table emp (id int primary key, dept int, pay int)").await;
    c.run("insert into dept values (1, 'a'), (2, 'b'), (3, 'c')").await;
    c.run("insert into emp select g, g % 2 + 1, g * 10 from generate_series(1, 6) g").await;
    for (sql, expected) in [
        (
            "select d.name, count(*), sum(pay) from dept d join emp e on e.dept = d.id group by d.id order by d.id",
            "a|3|120;b|3|90",
        ),
        (
            "select d.name, e.id from dept d left join emp e on e.dept = d.id and e.pay > 40 order by d.id, e.id",
            "a|6;b|5;c|-",
        ),
        ("select name from dept where id in (select dept from emp) order by 1", "a;b"),
        ("select name from dept d where not exists (select 1 from emp e where e.dept = d.id)", "c"),
        ("select name, (select max(pay) from emp where dept = d.id) from dept d order by 1", "a|60;b|50;c|-"),
        ("select count(*) from dept, emp", "18"),
        ("select count(*) from dept d, emp e where d.id = e.dept and d.name = 'a'", "3"),
        ("select dept.* from dept, emp where emp.id = 1 and dept.id = emp.dept", "2|b"),
        ("select id from emp where id in (5, 1, 3, 99) order by id desc", "5;3;1"),
        ("select id from emp where id between 2 and 4 and pay <> 30", "2;4"),
        ("select id from emp where id > 4 or pay = 10 order by id", "1;5;6"),
    ] {
        assert_eq!(c.text(sql).await, expected, "{sql}");
    }
    c.run("create table big (id bigint primary key, d int, note text)").await;
    c.run("insert into big select g, g % 3 + 1, 'n' || g from generate_series(1, 3000) g").await;
    for (sql, expected, plan) in [
        (
            "select e.id, b.note from emp e join big b on b.id = e.id where e.id in (2, 5)",
            "2|n2;5|n5",
            "Nested Loop",
        ),
        (
            "select v.x, b.note from (values (7), (9999), (null)) v(x) left join big b on b.id = v.x order by 1",
            "7|n7;9999|-;-|-",
            "Nested Loop Left Join",
        ),
        ("select count(*) from dept, big b where b.d = dept.id and b.note like '%7%'", "813", "Hash Join"),
        (
            "select count(*) from big a, big b where a.id = b.id and a.d = b.d and a.d = 2",
            "1000",
            "Hash Join",
        ),
        (
            "select b.id from emp e join big b on b.id = e.id and b.d = e.dept where e.id < 4 order by 1",
            "1",
            "Nested Loop",
        ),
    ] {
        assert_eq!(c.text(sql).await, expected, "{sql}");
        let explained = c.text(&format!("explain {sql}")).await;
        assert!(explained.contains(plan), "{sql}: {explained}");
    }
    c.run("update emp set pay = pay + d.id from dept d where d.id = emp.dept and d.name = 'b'").await;
    assert_eq!(c.text("select id, pay from emp where dept = 2 order by id").await, "1|12;3|32;5|52");
    c.run("delete from emp using dept where dept.id = emp.dept and dept.name = 'a'").await;
    assert_eq!(c.text("select count(*) from emp").await, "3");
    c.run("delete from emp where pay = (select max(pay) from emp)").await;
    assert_eq!(c.text("select id from emp order by 1").await, "1;3");
}

#[tokio::test]
async fn conflicts_do_as_they_are_told() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table kv (k text primary key, v int)").await;
    c.run("insert into kv values ('a', 1)").await;
    let error = c.error("insert into kv values ('a', 2)").await;
    assert_eq!(error.code().as_str(), "23505");
    assert_eq!(error.message(), "duplicate key value violates unique constraint \"kv_pkey\"");
    assert_eq!(error.fields().detail.as_deref(), Some("Key (k)=(a) already exists."));
    assert_eq!(c.run("insert into kv values ('a', 3), ('b', 1) on conflict do nothing").await, "INSERT 0 1");
    assert_eq!(
        c.run("insert into kv values ('a', 10) on conflict (k) do update set v = kv.v + excluded.v").await,
        "INSERT 0 1"
    );
    assert_eq!(c.text("insert into kv values ('a', 5) on conflict (k) do update set v = excluded.v where kv.v > 100 returning v").await, "");
    assert_eq!(c.text("select * from kv order by k").await, "a|11;b|1");
    assert_eq!(
        c.error("insert into kv values ('z', 1), ('z', 2) on conflict (k) do update set v = 0")
            .await
            .code()
            .as_str(),
        "21000"
    );
    assert_eq!(
        c.error("insert into kv values ('z', 1) on conflict (v) do nothing").await.code().as_str(),
        "42P10"
    );
    assert_eq!(c.text("select count(*) from kv").await, "2");
}

#[tokio::test]
async fn keys_of_several_columns_are_searched_by_prefix_and_in_both_directions() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (a int, b text, c int, primary key (a, b))").await;
    c.run("insert into t select g / 3, 'k' || g % 3, g from generate_series(0, 11) g").await;
    for (sql, expected) in [
        ("select c from t where a = 1", "3;4;5"),
        ("select c from t where a = 1 order by a desc, b desc", "5;4;3"),
        ("select c from t where a = 1 and b > 'k0'", "4;5"),
        ("select c from t where a = 1 and b >= 'k0' and b < 'k2'", "3;4"),
        ("select c from t where a > 2 order by a, b", "9;10;11"),
        ("select c from t where a >= 3 and b = 'k1'", "10"),
        ("select c from t where a < 1 order by a desc, b desc limit 2", "2;1"),
        ("select c from t where a = 2 and b = 'k2'", "8"),
        ("select c from t where a = 5000000000", ""),
        ("select count(*) from t where a < 5000000000", "12"),
        ("select count(*) from t where a = null", "0"),
    ] {
        assert_eq!(c.text(sql).await, expected, "{sql}");
    }
    assert_eq!(c.operators("select * from t where a = 1 and b = 'x'").await, "Index Scan using t_pkey on t");
    assert_eq!(
        c.operators("select * from t where a = 1 order by b desc").await,
        "Index Scan Backward using t_pkey on t"
    );
    assert_eq!(c.operators("select * from t where c = 1").await, "Seq Scan on t");
}

#[tokio::test]
async fn prepared_statements_take_the_direct_path_with_their_parameters() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table acc (id int primary key, balance bigint not null, note varchar(5))").await;
    for id in 1..=3 {
        let (_, tag) = c
            .execute("insert into acc values ($1, $2)", vec![Datum::Int4(id), Datum::Int8(100)])
            .await
            .unwrap();
        assert_eq!(tag.to_string(), "INSERT 0 1");
    }
    let (_, tag) = c
        .execute("update acc set balance = balance + $1 where id = $2", vec![Datum::Int8(-7), Datum::Int4(2)])
        .await
        .unwrap();
    assert_eq!(tag.to_string(), "UPDATE 1");
    let (rows, tag) = c
        .execute("select balance, id, balance * 2 from acc where id = $1", vec![Datum::Int4(2)])
        .await
        .unwrap();
    assert_eq!(
        (rows, tag.to_string()),
        (vec![vec![Some("93".into()), Some("2".into()), Some("186".into())]], "SELECT 1".into())
    );
    let (rows, tag) = c.execute("select balance from acc where id = $1", vec![Datum::Int4(9)]).await.unwrap();
    assert_eq!((rows.len(), tag.to_string()), (0, "SELECT 0".into()));
    let upsert = "insert into acc values ($1, $2) on conflict (id) do update set balance = acc.balance + excluded.balance";
    for _ in 0..2 {
        c.execute(upsert, vec![Datum::Int4(5), Datum::Int8(1)]).await.unwrap();
    }
    assert_eq!(c.text("select balance from acc where id = 5").await, "2");
    let (_, tag) = c.execute("delete from acc where id = $1", vec![Datum::Int4(5)]).await.unwrap();
    assert_eq!(tag.to_string(), "DELETE 1");
    let prepared = c.session.prepare("select id from acc where id = $1 and note = $2", &[]).await.unwrap();
    let types: Vec<u32> = prepared.parameter_types().iter().map(|ty| ty.id.oid()).collect();
    assert_eq!(types, [23, 25]);
    let columns = prepared.columns().unwrap();
    assert_eq!((columns[0].name.as_str(), columns[0].attribute), ("id", 1));
    c.session.sync().await.unwrap();
    let error = c
        .execute("insert into acc values ($1, 1, $2)", vec![Datum::Int4(8), "toolong".into()])
        .await
        .unwrap_err();
    assert_eq!(error.code().as_str(), "22001");
    let error = c.execute("insert into acc (id) values ($1)", vec![Datum::Int4(8)]).await.unwrap_err();
    assert_eq!(error.code().as_str(), "23502");
}

/// A statement, and its SQLSTATE, message and position.
const ERRORS: &[(&str, &str, &str, Option<u32>)] = &[
    ("select nope from t", "42703", "column \"nope\" does not exist", Some(8)),
    ("select t.nope from t", "42703", "column t.nope does not exist", Some(8)),
    ("select x.id from t", "42P01", "missing FROM-clause entry for table \"x\"", Some(8)),
    ("select * from nope", "42P01", "relation \"nope\" does not exist", Some(15)),
    ("select id from t a, t b", "42702", "column reference \"id\" is ambiguous", Some(8)),
    ("select * from t, t", "42712", "table name \"t\" specified more than once", None),
    (
        "insert into t (id, nope) values (1, 2)",
        "42703",
        "column \"nope\" of relation \"t\" does not exist",
        Some(20),
    ),
    ("insert into t values (1, 'a', 2)", "42601", "INSERT has more expressions than target columns", None),
    (
        "insert into t (id) values (true)",
        "42804",
        "column \"id\" is of type integer but expression is of type boolean",
        None,
    ),
    (
        "insert into t values (1, 'toolong')",
        "23514",
        "new row for relation \"t\" violates check constraint \"t_v_check\"",
        None,
    ),
    (
        "insert into t values (null)",
        "23502",
        "null value in column \"id\" of relation \"t\" violates not-null constraint",
        None,
    ),
    (
        "select id, count(*) from t",
        "42803",
        "column \"t.id\" must appear in the GROUP BY clause or be used in an aggregate function",
        None,
    ),
    ("select * from t where count(*) > 1", "42803", "aggregate functions are not allowed in WHERE", None),
    ("select * from t where id", "42804", "argument of WHERE must be type boolean, not type integer", None),
    ("select 1/0", "22012", "division by zero", None),
    ("create table t (a int)", "42P07", "relation \"t\" already exists", None),
    ("create table u (a int, a int)", "42701", "column \"a\" specified more than once", None),
    ("drop table nope", "42P01", "table \"nope\" does not exist", None),
    ("select $1", "42P02", "there is no parameter $1", None),
    (
        "select (select 1 union select 2)",
        "21000",
        "more than one row returned by a subquery used as an expression",
        None,
    ),
    ("select 1 union select 1, 2", "42601", "each UNION query must have the same number of columns", None),
    ("set nonsense = 1", "42704", "unrecognized configuration parameter \"nonsense\"", None),
    ("execute nope", "26000", "prepared statement \"nope\" does not exist", None),
    ("begin isolation level serializable", "0A000", "isolation level SERIALIZABLE is not supported", None),
    ("savepoint a", "25P01", "SAVEPOINT can only be used in transaction blocks", None),
];

#[tokio::test]
async fn errors_carry_postgres_codes_messages_and_positions() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int primary key, v text check (length(v) < 5))").await;
    for &(sql, code, message, position) in ERRORS {
        let error = c.error(sql).await;
        assert_eq!((error.code().as_str(), error.message()), (code, message), "{sql}");
        if position.is_some() {
            assert_eq!(error.fields().position, position, "{sql}");
        }
    }
}

#[tokio::test]
async fn tables_change_shape() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (a int, b text)").await;
    c.run("insert into t values (1, 'x'), (2, 'y')").await;
    c.run("alter table t add column c int not null default 7").await;
    c.run("insert into t values (3, 'z', 9)").await;
    assert_eq!(c.text("select * from t order by a").await, "1|x|7;2|y|7;3|z|9");
    c.run("alter table t drop column b").await;
    assert_eq!(c.text("select * from t order by a").await, "1|7;2|7;3|9");
    c.run("alter table t add primary key (a)").await;
    assert_eq!(c.error("insert into t values (1, 1)").await.code().as_str(), "23505");
    assert_eq!(c.text("select * from t where a = 2").await, "2|7");
    c.run("alter table t rename to u; alter table u rename column c to d").await;
    assert_eq!(c.text("select d from u where a = 3").await, "9");
    c.run("truncate u").await;
    assert_eq!(c.text("select count(*) from u").await, "0");
    c.run("create table w as select g as n, 'v' || g as v from generate_series(1, 3) g").await;
    assert_eq!(c.text("select * from w order by n").await, "1|v1;2|v2;3|v3");
    c.run("insert into w values (3, 'dup')").await;
    let error = c.error("alter table w add primary key (n)").await;
    assert_eq!(error.message(), "could not create unique index \"w_pkey\"");
    assert_eq!(error.fields().detail.as_deref(), Some("Key (n)=(3) is duplicated."));
    assert_eq!(c.text("select count(*) from w").await, "4");
    assert_eq!(c.run("create table if not exists w (a int)").await, "CREATE TABLE");
    assert_eq!(c.session.take_notices().len(), 1);
}

#[tokio::test]
async fn check_constraints_go_with_their_columns() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (a int check (a > 0), b int, c int, check (a < b), constraint cc check (c > 0 and t.b > 1))")
        .await;
    let names = "select conname from pg_constraint where contype = 'c' order by 1";
    assert_eq!(c.text(names).await, "cc;t_a_check;t_check");
    c.run("alter table t drop column a").await;
    assert_eq!(c.text(names).await, "cc", "those that name the column are gone");
    c.run("alter table t rename column b to \"B b\"").await;
    assert_eq!(
        c.text("select pg_get_constraintdef(oid) from pg_constraint where conname = 'cc'").await,
        "CHECK (c > 0 AND t.\"B b\" > 1)"
    );
    let error = c.error("insert into t values (1, 1)").await;
    assert_eq!(error.message(), "new row for relation \"t\" violates check constraint \"cc\"");
    c.run("insert into t values (2, 1)").await;
    let refused = c.error("alter table t add column d int default 5 check (d < 5)").await;
    assert_eq!(refused.message(), "check constraint \"t_d_check\" of relation \"t\" is violated by some row");
    c.run("alter table t add column d int default 4 check (d < 5)").await;
    assert_eq!(c.error("insert into t values (2, 1, 5)").await.code().as_str(), "23514");
    assert_eq!(c.error("alter table t add constraint cc check (c > 0)").await.code().as_str(), "42710");
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_crash() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int primary key, v text); insert into t values (1, 'kept')").await;
    c.run("begin; insert into t values (2, 'lost')").await;
    drop(c);
    let node = node.crash().await;
    let mut c = node.client().await;
    assert_eq!(c.text("select * from t").await, "1|kept");
    c.run("create table u (a int)").await;
    assert_eq!(c.text("select tablename from pg_tables where schemaname = 'public' order by 1").await, "t;u");
}

#[tokio::test]
async fn a_set_returning_function_in_the_arguments_of_another_is_absent() {
    let node = Node::new().await;
    let mut c = node.client().await;
    for sql in [
        "select unnest(array[unnest(array[1, 2]), 3])",
        "select generate_series(1, generate_series(1, 2))",
        "select g, generate_series(1, 1 + generate_series(1, g)) from generate_series(1, 2) g",
    ] {
        assert_eq!(c.refused(sql).await.0, "0A000", "{sql}");
    }
    assert_eq!(c.text("select unnest(array[1, 2]), generate_series(1, 2)").await, "1|1;2|2");
}

#[tokio::test]
async fn names_that_are_key_words_print_in_quotes_wherever_a_name_is_printed() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table \"order\" (\"user\" serial primary key, note int, check (\"user\" > 0))").await;
    c.run("create index on \"order\" (\"user\", note)").await;
    c.run("create table \"value\" (\"name\" int primary key)").await;
    for (sql, answer) in [
        ("select 'public.\"order\"'::regclass", "\"order\""),
        ("select 'value'::regclass", "value"),
        ("explain select * from \"order\"", "Seq Scan on \"order\""),
        (
            "explain select * from value where name = 1",
            "Index Scan using value_pkey on value;  Index Cond: (name = 1)",
        ),
        (
            "select indexdef from pg_indexes where indexname = 'order_pkey'",
            "CREATE UNIQUE INDEX order_pkey ON public.\"order\" USING btree (\"user\")",
        ),
        (
            "select pg_get_constraintdef(oid) from pg_constraint where conname = 'order_pkey'",
            "PRIMARY KEY (\"user\")",
        ),
        ("select quote_ident('order') || format('%I', 'value')", "\"order\"value"),
    ] {
        assert_eq!(c.text(sql).await, answer, "{sql}");
    }
    let error = c.error("insert into \"order\" values (1); insert into \"order\" values (1)").await;
    assert_eq!(error.fields().detail.as_deref(), Some("Key (\"user\")=(1) already exists."));
}

#[tokio::test]
async fn a_text_that_is_parsed_again_is_analysed_by_what_others_have_changed() {
    let node = Node::new().await;
    let (mut reader, mut other) = (node.client().await, node.client().await);
    let read = async |reader: &mut Client| {
        let (rows, _) = reader.execute("select * from changed", vec![]).await.unwrap();
        rows.first().map_or(0, Vec::len)
    };
    other.run("create table changed (a int); insert into changed values (1)").await;
    assert_eq!(read(&mut reader).await, 1);
    other.run("alter table changed add column b int default 2").await;
    assert_eq!(read(&mut reader).await, 2);
    let with = "insert into changed (a) values ($1)";
    reader.execute(with, vec![Datum::Int4(3)]).await.unwrap();
    other.run("drop table changed").await;
    let gone = reader.session.prepare(with, &[]).await.err().unwrap();
    assert_eq!(gone.code(), SqlState::UNDEFINED_TABLE);
    reader.session.sync().await.unwrap();
    other.run("create table changed (a text)").await;
    let prepared = reader.session.prepare(with, &[]).await.unwrap();
    assert_eq!(prepared.parameter_types().iter().map(|ty| ty.id).collect::<Vec<_>>(), [TypeId::Text]);
}
