//! COPY, settings, roles and privileges, system views.

use crate::common::Node;

#[tokio::test]
async fn copy_brings_rows_in_and_out_unchanged() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int primary key, v text, d date default '2020-01-02')").await;
    let data = "1\ta\\tb\t2024-02-29\n2\t\\N\t\\N\n3\t\\\\N\t1999-12-31\n";
    assert_eq!(c.copy_in("copy t from stdin", data).await.unwrap(), "COPY 3");
    assert_eq!(c.copy_out("copy t to stdout").await, data);
    assert_eq!(
        c.copy_in("copy t (id, v) from stdin with (format csv, header)", "id,v\n4,\"x,\"\"y\"\"\"\n5,\n")
            .await
            .unwrap(),
        "COPY 2"
    );
    assert_eq!(
        c.text("select * from t where id > 3 order by id").await,
        "4|x,\"y\"|2020-01-02;5|-|2020-01-02"
    );
    assert_eq!(
        c.copy_out("copy (select id, v from t where id >= 4 order by id) to stdout (format csv, header, force_quote *)").await,
        "id,v\n\"4\",\"x,\"\"y\"\"\"\n\"5\",\n"
    );
    assert_eq!(c.run("truncate t").await, "TRUNCATE TABLE");
    assert_eq!(c.copy_in("copy t from stdin", "").await.unwrap(), "COPY 0");
}

#[tokio::test]
async fn a_block_makes_a_table_and_loads_it() {
    let node = Node::new().await;
    let (mut c, mut other) = (node.client().await, node.client().await);
    for end in ["rollback", "commit"] {
        c.run("begin").await;
        c.run("create table t (id int primary key, v text)").await;
        assert_eq!(c.copy_in("copy t from stdin", "1\ta\n2\tb\n").await.unwrap(), "COPY 2");
        let unknown = other.try_run("select * from t").await.unwrap_err();
        assert_eq!(unknown.code().as_str(), "42P01");
        // As the server does when it waits for the next message.
        c.session.release_snapshot();
        c.run(end).await;
    }
    assert_eq!(other.text("select * from t order by id").await, "1|a;2|b");
}

#[tokio::test]
async fn copy_names_the_line_that_is_wrong_and_keeps_nothing() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int primary key, v varchar(3))").await;
    for (data, code, message, context) in [
        ("1\ta\n2\n", "22P04", "missing data for column \"v\"", "COPY t, line 2: \"2\""),
        ("1\ta\tb\n", "22P04", "extra data after last expected column", "COPY t, line 1: \"1\ta\tb\""),
        (
            "1\ta\nx\tb\n",
            "22P02",
            "invalid input syntax for type integer: \"x\"",
            "COPY t, line 2, column id: \"x\"",
        ),
        (
            "1\ta\n1\tb\n",
            "23505",
            "duplicate key value violates unique constraint \"t_pkey\"",
            "COPY t, line 2",
        ),
        (
            "1\tlong\n",
            "22001",
            "value too long for type character varying(3)",
            "COPY t, line 1, column v: \"long\"",
        ),
    ] {
        let error = c.copy_in("copy t from stdin", data).await.unwrap_err();
        assert_eq!((error.code().as_str(), error.message()), (code, message), "{data:?}");
        assert_eq!(error.fields().context.as_deref(), Some(context), "{data:?}");
        assert_eq!(c.text("select count(*) from t").await, "0");
    }
}

#[tokio::test]
async fn roles_own_what_they_make_and_see_nothing_else() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create role bob login password 'x'; create table secret (a int)").await;
    assert_eq!(
        c.text("select rolname, rolcanlogin, rolpassword from pg_authid where rolname = 'bob'").await,
        "bob|t|SCRAM-SHA-256$4096:x"
    );
    assert_eq!(
        node.engine.role("bob").await.unwrap().unwrap().password.as_deref(),
        Some("SCRAM-SHA-256$4096:x")
    );
    assert_eq!(node.engine.role("nobody").await.unwrap(), None);
    let mut b = node.client_of("bob").await;
    assert_eq!(
        b.refused("select * from secret").await,
        ("42501".into(), "permission denied for table secret".into())
    );
    assert_eq!(
        b.refused("drop table secret").await,
        ("42501".into(), "must be owner of table secret".into())
    );
    assert_eq!(b.refused("create role eve").await.0, "42501");
    assert_eq!(b.refused("checkpoint").await.0, "42501");
    assert_eq!(b.refused("alter system set a.b = 1").await.0, "42501");
    assert_eq!(
        b.refused("create table mine (a int)").await,
        ("42501".into(), "permission denied for schema public".into())
    );
    c.run("grant create on schema public to bob").await;
    b.run("create table mine (a int); insert into mine values (1)").await;
    assert_eq!(b.text("select tableowner from pg_tables where tablename = 'mine'").await, "bob");
    assert_eq!(b.text("select current_user").await, "bob");
    b.run("alter role bob password 'y'").await;
    assert_eq!(c.refused("drop role bob").await.0, "2BP01");
    assert_eq!(c.text("select count(*) from mine").await, "1");
    c.run("alter role bob superuser").await;
    assert_eq!(b.text("select count(*) from secret").await, "0");
    c.run("drop table mine; revoke create on schema public from bob; drop role bob").await;
    assert_eq!(c.refused("drop role bob").await, ("42704".into(), "role \"bob\" does not exist".into()));
}

#[tokio::test]
async fn system_views_tell_of_tables_and_columns() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int, v varchar(5) not null default 'x', primary key (id))").await;
    for (sql, expected) in [
        ("select relname, relkind from pg_class where relnamespace = 2200 order by 1", "t|r;t_pkey|i"),
        (
            "select attname, atttypid, attnotnull, atttypmod from pg_attribute where attrelid = 't'::regclass order by attnum",
            "id|23|t|-1;v|1043|t|9",
        ),
        (
            "select column_name, data_type, character_maximum_length, is_nullable from information_schema.columns where table_name = 't' order by ordinal_position",
            "id|integer|-|NO;v|character varying|5|NO",
        ),
        ("select table_name from information_schema.tables where table_schema = 'public'", "t"),
        ("select datname from pg_database where datallowconn order by oid", "template1;postgres"),
        ("select typname from pg_type where oid = 23", "int4"),
        (
            "select relname, relnamespace::regnamespace, relowner::regrole from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'",
            "t|public|postgres",
        ),
        (
            "select conname, pg_get_constraintdef(oid) from pg_constraint where conrelid = 't'::regclass",
            "t_pkey|PRIMARY KEY (id)",
        ),
        (
            "select pg_get_expr(adbin, adrelid), pg_relation_size('t') % 8192 from pg_attrdef where adrelid = 't'::regclass",
            "'x'::character varying|0",
        ),
        (
            "select indexdef from pg_indexes where tablename = 't'",
            "CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)",
        ),
        (
            "select n.nspname, c.relname, pg_get_userbyid(c.relowner) from pg_catalog.pg_class c left join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r','p','') and n.nspname <> 'pg_catalog' and n.nspname !~ '^pg_toast' and pg_catalog.pg_table_is_visible(c.oid) order by 1, 2",
            "public|t|postgres",
        ),
    ] {
        assert_eq!(c.text(sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn what_needs_too_much_memory_is_refused() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("set work_mem = '64kB'").await;
    let error = c.error("select g from generate_series(1, 200000) g order by g desc").await;
    assert_eq!(error.code().as_str(), "53200");
    // With a LIMIT only the best rows are kept.
    assert_eq!(
        c.text("select g from generate_series(1, 200000) g order by g desc limit 2").await,
        "200000;199999"
    );
    assert_eq!(c.text("select count(*) from generate_series(1, 200000) g").await, "200000");
}

#[tokio::test]
async fn prepared_statements_by_name_live_until_deallocated() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("prepare p (int, text) as select $1 + 1, $2 || '!'").await;
    assert_eq!(c.text("execute p(41, 'x')").await, "42|x!");
    assert_eq!(c.refused("execute p(1)").await.0, "42601");
    assert_eq!(c.refused("prepare p as select 1").await.0, "42P05");
    c.run("deallocate p").await;
    assert_eq!(c.refused("execute p(41, 'x')").await.0, "26000");
    assert_eq!(c.run("discard all").await, "DISCARD ALL");
}
