//! Rights: asked once a plan and again after a change, by whoever acts.

use crate::common::{Client, Node};
use sql_types::Datum;

/// A node with roles, and a table of `ann`'s.
async fn node() -> (Node, Client) {
    let node = Node::new().await;
    let mut owner = node.client().await;
    owner.run("create role ann login; create role bea login; create role staff").await;
    owner.run("grant create on schema public to ann").await;
    let mut ann = node.client_of("ann").await;
    ann.run("create table t (id int primary key, a int, b text)").await;
    ann.run("insert into t values (1, 10, 'x'), (2, 20, 'y')").await;
    (node, owner)
}

fn denied(what: &str) -> (String, String) {
    ("42501".to_owned(), format!("permission denied for {what}"))
}

#[tokio::test]
async fn a_prepared_statement_is_asked_again_after_a_change_of_rights() {
    let (node, mut owner) = node().await;
    let mut bea = node.client_of("bea").await;
    let read = "select a from t where id = $1";
    let one = || vec![Datum::Int4(1)];
    let refused = bea.execute(read, one()).await.unwrap_err();
    assert_eq!(refused.code().as_str(), "42501");
    for _ in 0..3 {
        owner.run("grant select on t to bea").await;
        let (rows, _) = bea.execute(read, one()).await.unwrap();
        assert_eq!(rows, [[Some("10".to_owned())]]);
        owner.run("revoke select on t from bea").await;
        assert!(bea.execute(read, one()).await.is_err());
    }
    owner.run("grant staff to bea; grant select on t to staff").await;
    assert!(bea.execute(read, one()).await.is_ok());
    owner.run("alter role bea noinherit").await;
    assert!(bea.execute(read, one()).await.is_err(), "what is not inherited does not count");
    bea.run("set role staff").await;
    assert!(bea.execute(read, one()).await.is_ok(), "until the session acts as that role");
    bea.run("reset role").await;
    assert!(bea.execute(read, one()).await.is_err(), "a plan that one role may run is not another's");
    owner.run("alter role bea superuser").await;
    assert!(bea.execute(read, one()).await.is_ok());
}

#[tokio::test]
async fn a_grant_is_seen_in_its_own_transaction_and_undone_with_it() {
    let (node, mut owner) = node().await;
    let mut bea = node.client_of("bea").await;
    owner.run("begin").await;
    owner.run("grant select on t to bea").await;
    owner.run("savepoint s; revoke select on t from bea").await;
    assert_eq!(owner.text("select has_table_privilege('bea', 't', 'select')").await, "f");
    owner.run("rollback to s").await;
    assert_eq!(owner.text("select has_table_privilege('bea', 't', 'select')").await, "t");
    assert_eq!(bea.refused("select * from t").await, denied("table t"));
    owner.run("rollback").await;
    assert_eq!(bea.refused("select * from t").await, denied("table t"));
    assert_eq!(owner.text("select relacl from pg_class where relname = 't'").await, "-");
}

#[tokio::test]
async fn direct_statements_are_asked_for_their_columns() {
    let (node, mut owner) = node().await;
    let mut bea = node.client_of("bea").await;
    owner.run("grant select (id, a), update (a), insert (id, a) on t to bea").await;
    let one = || vec![Datum::Int4(1)];
    assert!(bea.execute("select a from t where id = $1", one()).await.is_ok());
    assert!(bea.execute("select b from t where id = $1", one()).await.is_err());
    assert!(bea.execute("update t set a = 5 where id = $1", one()).await.is_ok());
    assert!(bea.execute("update t set b = 'q' where id = $1", one()).await.is_err());
    assert!(bea.execute("insert into t (id, a) values ($1, 1)", vec![Datum::Int4(7)]).await.is_ok());
    assert!(bea.execute("insert into t (id, b) values ($1, 'n')", vec![Datum::Int4(8)]).await.is_err());
    assert!(bea.execute("delete from t where id = $1", one()).await.is_err());
    assert!(bea.copy_in("copy t (id, a) from stdin", "9\t1\n").await.is_ok());
    assert!(bea.copy_in("copy t (id, b) from stdin", "9\tz\n").await.is_err());
    assert_eq!(bea.copy_out("copy t (id, a) to stdout").await, "1\t5\n2\t20\n7\t1\n9\t1\n");
}

#[tokio::test]
async fn a_check_constraint_reads_columns_that_its_writer_may_not() {
    let (node, mut owner) = node().await;
    owner
        .run("create table c (a int, secret int default 1 check (secret > 0)); grant insert (a) on c to bea")
        .await;
    let mut bea = node.client_of("bea").await;
    bea.run("insert into c (a) values (1)").await;
    assert_eq!(bea.refused("select a from c").await, denied("table c"));
}

#[tokio::test]
async fn a_view_reads_with_its_owners_rights_and_its_numbers_are_the_readers() {
    let (node, mut owner) = node().await;
    let mut ann = node.client_of("ann").await;
    ann.run("create sequence s; create view v as select id, a from t").await;
    ann.run("create view inner_v as select b from t; create view outer_v as select * from inner_v").await;
    ann.run("grant select on v, outer_v to bea").await;
    let mut bea = node.client_of("bea").await;
    assert_eq!(bea.text("select count(*) from v").await, "2");
    assert_eq!(bea.text("select b from outer_v order by b").await, "x;y");
    assert_eq!(bea.refused("select * from inner_v").await, denied("view inner_v"));
    ann.run("alter view outer_v set (security_invoker = true)").await;
    assert_eq!(bea.refused("select * from outer_v").await, denied("view inner_v"));
    owner.run("alter table t owner to postgres").await;
    assert_eq!(bea.refused("select * from v").await, denied("table t"), "the view's owner may not any more");
    owner.run("create view n as select nextval('s') as n; grant select on n to bea").await;
    assert_eq!(bea.refused("select * from n").await, denied("sequence s"));
}

#[tokio::test]
async fn who_makes_a_view_needs_no_rights_until_it_is_read() {
    let (node, mut owner) = node().await;
    owner.run("create table secret (a int); grant create on schema public to bea").await;
    let mut bea = node.client_of("bea").await;
    bea.run("create view peek as select * from secret").await;
    assert_eq!(bea.refused("select * from peek").await, denied("table secret"));
    assert_eq!(owner.refused("select * from peek").await, denied("table secret"));
    bea.run("prepare p as select * from secret").await;
    assert_eq!(bea.refused("execute p").await, denied("table secret"));
    assert_eq!(bea.refused("create table copy as select * from secret").await, denied("table secret"));
    assert_eq!(bea.refused("explain select * from secret").await, denied("table secret"));
    bea.run("begin").await;
    assert_eq!(bea.refused("declare c cursor for select * from secret").await, denied("table secret"));
    bea.run("rollback").await;
}

#[tokio::test]
async fn functions_of_administration_are_granted_like_tables() {
    let (node, mut owner) = node().await;
    let mut bea = node.client_of("bea").await;
    let call = "select pg_reload_conf()";
    assert_eq!(bea.refused(call).await, denied("function pg_reload_conf"));
    owner.run("grant execute on function pg_reload_conf() to bea").await;
    assert_eq!(bea.text(call).await, "t");
    owner.run("revoke execute on function node_twice(int) from public").await;
    assert_eq!(bea.refused("select node_twice(2)").await, denied("function node_twice"));
    assert_eq!(bea.text("select * from pg_numbers where n = 1").await, "1");
    owner.run("revoke select on pg_numbers from public").await;
    assert_eq!(bea.refused("select * from pg_numbers").await, denied("view pg_numbers"));
    assert_eq!(owner.text("select node_twice(2)").await, "4");
}

#[tokio::test]
async fn set_role_ends_with_what_it_was_said_in() {
    let (node, mut owner) = node().await;
    owner.run("grant staff to bea").await;
    let mut bea = node.client_of("bea").await;
    bea.run("begin").await;
    bea.run("set role staff").await;
    assert_eq!(bea.error("select 1 / 0").await.code().as_str(), "22012");
    bea.run("rollback").await;
    assert_eq!(bea.text("select current_user").await, "bea");
    bea.run("begin").await;
    bea.run("set local role staff").await;
    assert_eq!(bea.text("select current_user").await, "staff");
    bea.run("commit").await;
    assert_eq!(bea.text("select current_user").await, "bea");
    bea.run("set role staff").await;
    assert_eq!(bea.text("select current_user, session_user").await, "staff|bea");
    bea.run("discard all").await;
    assert_eq!(bea.text("select current_user").await, "bea");
    bea.run("begin").await;
    assert_eq!(bea.text("select set_config('role', 'staff', true)").await, "staff");
    assert_eq!(bea.text("select current_user").await, "staff");
    bea.run("rollback").await;
    assert_eq!(bea.text("select current_user").await, "bea");
    assert_eq!(bea.refused("select set_config('role', 'ann', true)").await.0, "42501");
    bea.run("begin; set role staff; set transaction isolation level repeatable read; commit").await;
    assert_eq!(bea.text("select current_user").await, "staff");
    owner.run("drop role staff").await;
    assert_eq!(bea.refused("select * from t").await, denied("table t"));
}

#[tokio::test]
async fn rights_outlive_a_crash_and_go_with_their_objects() {
    let (node, mut owner) = node().await;
    owner
        .run("grant select (a) on t to bea; grant update on t to bea; grant staff to bea with admin option")
        .await;
    owner.run("create sequence s; grant usage on s to bea; alter role staff bypassrls").await;
    owner.run("alter default privileges grant select on tables to bea; grant create on database postgres to bea").await;
    drop(owner);
    let node = node.crash().await;
    let mut owner = node.client().await;
    let lists = "select relname, relacl from pg_class where relname in ('s', 't') order by 1";
    assert_eq!(
        owner.text(lists).await,
        "s|{postgres=rwU/postgres,bea=U/postgres};t|{ann=arwdDxt/ann,bea=w/ann}"
    );
    let columns =
        "select attname, attacl from pg_attribute where attrelid = 't'::regclass and attacl is not null";
    assert_eq!(owner.text(columns).await, "a|{bea=r/ann}");
    assert_eq!(
        owner.text("select admin_option from pg_auth_members where roleid = 'staff'::regrole").await,
        "t"
    );
    assert_eq!(owner.text("select rolbypassrls from pg_roles where rolname = 'staff'").await, "t");
    assert_eq!(
        owner.error("drop role bea").await.fields().detail.as_deref(),
        Some(
            "privileges for database postgres\nprivileges for table t\nprivileges for column a of table t\n\
             privileges for sequence s\n\
             privileges for default privileges on new relations belonging to role postgres"
        )
    );
    owner.run("drop table t; drop sequence s").await;
    assert_eq!(
        owner.error("drop role bea").await.fields().detail.as_deref(),
        Some(
            "privileges for database postgres\n\
             privileges for default privileges on new relations belonging to role postgres"
        )
    );
    owner.run("drop owned by bea; drop role bea").await;
    assert_eq!(owner.text("select count(*) from pg_auth_members where roleid = 'staff'::regrole").await, "0");
}

#[tokio::test]
async fn two_grants_of_roles_at_once_make_no_loop() {
    let (node, mut owner) = node().await;
    let mut other = node.client().await;
    owner.run("create role one; create role two").await;
    owner.run("begin").await;
    owner.run("grant one to two").await;
    let waiting = tokio::spawn(async move { other.refused("grant two to one").await });
    tokio::task::yield_now().await;
    owner.run("commit").await;
    let (code, message) = waiting.await.unwrap();
    assert_eq!((code.as_str(), message.as_str()), ("0LP01", "role \"two\" is a member of role \"one\""));
}

#[tokio::test]
async fn whoever_reads_all_data_may_grant_no_column_and_is_warned_of_it() {
    let (node, mut owner) = node().await;
    owner.run("grant pg_read_all_data to bea").await;
    let mut bea = node.client_of("bea").await;
    for (sql, code) in [
        ("grant select (a) on t to staff", "01007"),
        ("grant update (a) on t to staff", "01007"),
        ("revoke select (a) on t from staff", "01006"),
    ] {
        bea.run(sql).await;
        let notices = bea.session.take_notices();
        let codes: Vec<String> = notices.iter().map(|notice| notice.code().to_string()).collect();
        assert_eq!(codes, [code], "{sql}");
    }
    owner.run("revoke pg_read_all_data from bea").await;
    let refused = bea.refused("grant select (a) on t to staff").await;
    assert_eq!(refused, denied("column \"a\" of relation \"t\""));
}
