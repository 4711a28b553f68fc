//! Sequences: numbers that come once, whatever becomes of those who took them.

use crate::common::Node;
use std::collections::HashSet;

/// The numbers of a result.
fn numbers(text: &str) -> Vec<i64> {
    text.split(';').map(|number| number.parse().unwrap()).collect()
}

#[tokio::test]
async fn no_number_comes_twice_after_crashes_and_rollbacks() {
    let mut node = Node::new().await;
    let mut seen = HashSet::new();
    let mut highest = 0;
    {
        let mut c = node.client().await;
        c.run("create sequence s; create table t (id bigserial primary key, v int)").await;
    }
    for round in 0..6 {
        let mut c = node.client().await;
        let taken = 1 + round * 17;
        let got = numbers(&c.text(&format!("select nextval('s') from generate_series(1, {taken})")).await);
        assert!(got.windows(2).all(|pair| pair[1] == pair[0] + 1), "a session alone sees no gap: {got:?}");
        // PostgreSQL loses no more than this in a crash either.
        assert!(got[0] > highest && got[0] <= highest + 33, "{} after {highest}", got[0]);
        for number in got {
            assert!(seen.insert(number), "{number} came twice");
            highest = highest.max(number);
        }
        c.run("begin; insert into t (v) select 1 from generate_series(1, 40)").await;
        let inside = numbers(&c.text("select id from t order by id desc limit 1").await)[0];
        c.run(if round % 2 == 0 { "rollback" } else { "commit" }).await;
        let after = numbers(&c.text("insert into t (v) values (2) returning id").await)[0];
        assert!(after > inside, "{after} after {inside}");
        drop(c);
        node = node.crash().await;
    }
}

#[tokio::test]
async fn sessions_side_by_side_share_the_numbers_out() {
    let node = Node::new().await;
    node.client().await.run("create sequence s").await;
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut c = node.client().await;
        workers.spawn(async move {
            let mut got = Vec::new();
            for _ in 0..50 {
                got.extend(numbers(
                    &c.text("select nextval('s'), pg_backend_pid()").await.replace("|42", ""),
                ));
            }
            assert!(got.is_sorted(), "each session's numbers go up");
            got
        });
    }
    let mut all = Vec::new();
    while let Some(got) = workers.join_next().await {
        all.extend(got.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (1..=400).collect::<Vec<i64>>(), "each comes once, and none is left out");
}

#[tokio::test]
async fn a_definition_that_changes_leaves_no_reservation_behind() {
    let mut node = Node::new().await;
    let mut c = node.client().await;
    c.run("create sequence s; select nextval('s')").await;
    c.run("alter sequence s increment 1000").await;
    assert_eq!(c.text("select nextval('s'), nextval('s')").await, "1001|2001");
    drop(c);
    node = node.crash().await;
    let mut c = node.client().await;
    let next = numbers(&c.text("select nextval('s')").await)[0];
    assert!(next > 2001, "{next}");
}

#[tokio::test]
async fn a_query_that_is_open_takes_no_number_of_a_sequence_that_is_gone_or_out_of_reach() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create role r; create sequence s; grant usage on sequence s to r").await;
    c.run("begin; declare k cursor for select nextval('s'); drop sequence s").await;
    assert_eq!(c.refused("fetch k").await.0, "42704");
    c.run("rollback; begin; declare k cursor for select nextval('s'); set local role r").await;
    assert_eq!(c.text("fetch k").await, "1");
    c.run("rollback; begin; declare k cursor for select setval('s', 5); set local role r").await;
    assert_eq!(c.refused("fetch k").await.0, "42501");
    c.run("rollback; begin; declare k cursor for select nextval('s') from generate_series(1, 3)").await;
    c.run("create table t (id int); fetch k").await;
    assert_eq!(c.text("fetch k").await, "3");
    assert_eq!(c.text("select count(*) from t").await, "0");
    c.run("rollback").await;
}

#[tokio::test]
async fn numbers_go_by_the_newest_definition_also_where_a_snapshot_stays() {
    let node = Node::new().await;
    let (mut c, mut other) = (node.client().await, node.client().await);
    c.run("create sequence s").await;
    assert_eq!(c.text("select nextval('s')").await, "1");
    c.run("begin isolation level repeatable read").await;
    c.run("select 1 from pg_class limit 1").await;
    other.run("alter sequence s restart 30").await;
    assert_eq!(c.text("select nextval('s'), nextval('s')").await, "30|31");
    other.run("alter sequence s increment 10 maxvalue 50").await;
    assert_eq!(c.text("select nextval('s')").await, "41");
    assert_eq!(c.refused("select nextval('s')").await.0, "2200H");
    c.run("rollback").await;
    assert_eq!(other.refused("select nextval('s')").await.0, "2200H");
}
