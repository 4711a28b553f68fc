//! Definitions, while those of others are in doubt or newer than a snapshot.

use crate::answers::{ask, in_doubt, quorum_has_all, synchronous};
use crate::common::Node;

#[tokio::test]
async fn definitions_at_off_do_not_wait_for_one_that_waits_for_a_standby() {
    let node = Node::new().await;
    node.client().await.run("create table t (n int)").await;
    let stalled = synchronous(&node).await;
    quorum_has_all(&node);
    let stalled = ask(stalled, "create table first (n int)");
    in_doubt(&node).await;
    for sql in
        ["create table second (n int)", "truncate t", "create role one", "create view v as select 1 as n"]
    {
        // What one session does rests on what it has done before.
        let mut second = node.client().await;
        second.run(&format!("set synchronous_commit = off; {sql}")).await;
    }
    assert!(!stalled.is_finished());
    quorum_has_all(&node);
    stalled.await.unwrap().1.unwrap();
    let mut reader = node.client().await;
    let tables = "select string_agg(relname, ' ' order by relname) from pg_class where relname in ('first', 'second', 'v')";
    assert_eq!(reader.text(tables).await, "first second v");
}

#[tokio::test]
async fn a_transaction_with_a_snapshot_locks_no_table_that_was_replaced_since() {
    let node = Node::new().await;
    let (mut a, mut b) = (node.client().await, node.client().await);
    for replaces in
        ["truncate t; insert into t values (1, 99)", "drop table t; create table t (k int, n int)"]
    {
        for locks in [
            "select n from t where k = 1 for update",
            "select n from t where k = 1 for key share",
            "declare c cursor for select n from t for update",
            "lock table t in access exclusive mode",
            "lock table t in access share mode",
        ] {
            b.run("drop table if exists t; create table t (k int primary key, n int)").await;
            b.run("insert into t values (1, 10)").await;
            a.run("begin isolation level repeatable read; select 1 from pg_class limit 1").await;
            b.run(replaces).await;
            assert_eq!(a.refused(locks).await.0, "40001", "{locks} after {replaces}");
            a.run("rollback").await;
        }
    }
    // What keeps the table as it is lets others work on it, and they do not keep it from locking.
    b.run("drop table t; create table t (k int primary key, n int)").await;
    for locks in ["lock table t in access share mode", "select * from t for update"] {
        a.run(&format!("begin isolation level repeatable read; select * from t; {locks}")).await;
        b.run("create index i on t (n)").await;
        a.run("commit").await;
        b.run("drop index i").await;
        a.run("begin isolation level repeatable read; select 1 from pg_class limit 1").await;
        b.run("alter table t alter n set default 1").await;
        a.run(&format!("{locks}; commit")).await;
    }
    a.run("begin isolation level repeatable read; select 1; create table own (n int)").await;
    a.run("insert into own values (1); select * from own for update; lock table own").await;
    a.run("truncate own; lock table own; commit").await;
}

#[tokio::test]
async fn a_definition_that_names_a_sequence_by_its_oid_keeps_it() {
    let node = Node::new().await;
    let mut client = node.client().await;
    client.run("create sequence s").await;
    let oid = client.text("select 's'::regclass::oid").await;
    client.run(&format!("create table t (n bigint default nextval('{oid}'::regclass))")).await;
    assert_eq!(client.refused("drop sequence s").await.0, "2BP01");
    client.run("alter sequence s rename to renamed; insert into t default values").await;
    assert_eq!(client.text("select n from t").await, "1");
}
