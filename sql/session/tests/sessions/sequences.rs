//! Sequences: numbers that come once, whatever becomes of those who took them.

use crate::answers::{ask, told};
use crate::common::{Node, until_it_waits};
use sql_catalogue::codec::CATALOGUE_TREE;
use sql_interface::CancelReason;
use std::collections::HashSet;
use storage::{Direction, Isolation, KeyRange, WaitEvent};

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

/// A sequence, what is done with it, how it is altered, what it shows then, and the numbers that it gives.
const ALTERED: &[(&str, &str, &str, &str, &str)] = &[
    ("minvalue -1000", "setval('s', 1), nextval('s'), nextval('s')", "increment by -1", "3|t", "2;1;0"),
    ("", "nextval('s')", "increment by 100", "1|t", "101;201;301"),
    ("", "nextval('s')", "maxvalue 10", "1|t", "2;3;4"),
    ("", "nextval('s'), nextval('s')", "minvalue -5", "2|t", "3;4;5"),
    ("", "nextval('s')", "cache 5", "1|t", "2;3;4"),
    ("cache 5", "nextval('s')", "cache 2", "5|t", "6;7;8"),
    ("", "nextval('s')", "as smallint", "1|t", "2;3;4"),
    ("maxvalue 4", "nextval('s'), nextval('s'), nextval('s')", "cycle", "3|t", "4;1;2"),
    ("", "setval('s', 7, false)", "increment by 10", "7|f", "7;17;27"),
    ("", "setval('s', 7, false)", "start 3", "7|f", "7;8;9"),
    ("start 5", "1", "increment by 2", "5|f", "5;7;9"),
    ("", "nextval('s'), nextval('s')", "restart", "1|f", "1;2;3"),
    ("", "nextval('s')", "restart 30 increment by -1", "30|f", "30;29;28"),
    ("", "nextval('s')", "restart 30; alter sequence s increment by 10", "30|f", "30;40;50"),
    ("", "nextval('s')", "increment by 2; alter sequence s increment by 3", "1|t", "4;7;10"),
];

#[tokio::test]
async fn an_altered_sequence_goes_on_from_where_it_stood_also_after_a_restart() {
    for clean in [true, false] {
        let mut node = Node::new().await;
        let mut c = node.client().await;
        for (at, (options, first, ..)) in ALTERED.iter().enumerate() {
            c.run(&format!("create sequence s {options}; select {first}")).await;
            c.run(&format!("alter sequence s rename to s{at}")).await;
        }
        c.run("create table t (a serial, b int generated always as identity)").await;
        let twice = "insert into t values (default, default), (default, default) returning a, b";
        assert_eq!(c.text(twice).await, "1|1;2|2");
        for (at, (_, _, change, ..)) in ALTERED.iter().enumerate() {
            let change = change.replace("sequence s ", &format!("sequence s{at} "));
            c.run(&format!("alter sequence s{at} {change}")).await;
        }
        c.run("alter sequence t_a_seq increment by 10; alter sequence t_b_seq increment by 20").await;
        drop(c);
        if clean {
            node.engine.database().shutdown().await.unwrap();
        }
        node = node.crash().await;
        let mut c = node.client().await;
        for (at, (options, first, change, stands, next)) in ALTERED.iter().enumerate() {
            let what = format!("{options}: {first}, {change}, stopped {clean}");
            assert_eq!(c.text(&format!("select last_value, is_called from s{at}")).await, *stands, "{what}");
            let taken = c.text(&format!("select nextval('s{at}') from generate_series(1, 3)")).await;
            assert_eq!(taken, *next, "{what}");
        }
        assert_eq!(c.text("insert into t values (default, default) returning a, b").await, "12|22");
    }
}

#[tokio::test]
async fn after_a_clean_stop_no_number_is_left_out() {
    let mut node = Node::new().await;
    let mut c = node.client().await;
    c.run("create sequence s; create sequence few maxvalue 3; create sequence many cache 10").await;
    c.run("create sequence unused; create sequence set").await;
    for sequence in ["s", "few", "many"] {
        c.run(&format!("select nextval('{sequence}')")).await;
    }
    c.run("select nextval('set'), setval('set', 9, false)").await;
    node.engine.store_sequence_positions().await.unwrap();
    // Who comes after that loses nothing in a crash but what it reserved itself.
    assert_eq!(c.text("select nextval('s')").await, "2");
    drop(c);
    node.engine.store_sequence_positions().await.unwrap();
    node.engine.database().shutdown().await.unwrap();
    node = node.crash().await;
    let mut c = node.client().await;
    let stands =
        "select (select last_value from s), (select last_value from few), (select is_called from set)";
    assert_eq!(c.text(stands).await, "2|1|f");
    let next = "select nextval('s'), nextval('few'), nextval('many'), nextval('unused'), nextval('set')";
    assert_eq!(c.text(next).await, "3|2|11|1|9");
    assert_eq!(c.text("select nextval('few')").await, "3");
}

#[tokio::test]
async fn a_sequence_whose_alter_was_rolled_back_goes_on_by_its_old_rules() {
    let mut node = Node::new().await;
    let mut c = node.client().await;
    c.run("create sequence s minvalue -100; select setval('s', 7)").await;
    for end in ["rollback", "rollback to a; commit"] {
        c.run("begin; savepoint a; alter sequence s increment by -1").await;
        let before = numbers(&c.text("select last_value from s").await)[0];
        assert_eq!(
            c.text("select nextval('s'), nextval('s')").await,
            format!("{}|{}", before - 1, before - 2)
        );
        c.run(end).await;
        assert_eq!(c.text("select nextval('s')").await, (before + 1).to_string());
    }
    c.run("begin; alter sequence s increment by -1; select nextval('s')").await;
    drop(c);
    node = node.crash().await;
    let mut c = node.client().await;
    let next = numbers(&c.text("select nextval('s'), nextval('s')").await.replace('|', ";"));
    assert!(next[0] > 9 && next[1] == next[0] + 1, "{next:?}");
}

#[tokio::test]
async fn nobody_takes_numbers_of_a_sequence_that_another_session_is_altering() {
    let node = Node::new().await;
    for (end, taken) in [("commit", 103), ("rollback", 4)] {
        let (mut c, other) = (node.client().await, node.client().await);
        let mut idle = node.client().await;
        c.run("drop sequence if exists s; create sequence s cache 3").await;
        // One session has numbers of its own left, others find some that are reserved.
        assert_eq!(idle.text("select nextval('s')").await, "1");
        c.run("begin; alter sequence s increment by 100").await;
        let canceller = other.session.canceller().clone();
        let waiting = ask(other, "select nextval('s')");
        until_it_waits(&canceller, WaitEvent::RowLock).await;
        let sets = node.client().await;
        let canceller = sets.session.canceller().clone();
        let setting = ask(sets, "select setval('s', 50)");
        until_it_waits(&canceller, WaitEvent::RowLock).await;
        canceller.cancel(CancelReason::StatementTimeout);
        assert_eq!(told(setting.await.unwrap().1), "57014");
        c.run(end).await;
        let (mut other, answer) = waiting.await.unwrap();
        answer.unwrap();
        assert_eq!(other.text("select currval('s')").await, taken.to_string(), "after {end}");
        let next = numbers(&c.text("select nextval('s')").await)[0];
        assert!(next > taken, "{next} after {taken}");
    }
}

#[tokio::test]
async fn who_waits_for_a_sequence_that_is_being_altered_is_found_in_a_deadlock() {
    let node = Node::new().await;
    let (mut alters, mut takes) = (node.client().await, node.client().await);
    alters.run("create sequence s; create table t (id int primary key); insert into t values (1)").await;
    assert_eq!(alters.text("select nextval('s')").await, "1");
    alters.run("begin; alter sequence s increment by 2").await;
    takes.run("begin; select id from t for update").await;
    let canceller = takes.session.canceller().clone();
    let taking = ask(takes, "select nextval('s')");
    until_it_waits(&canceller, WaitEvent::RowLock).await;
    let altered = told(alters.try_run("select id from t for update").await.map(|(_, tag)| tag));
    alters.run(if altered == "40P01" { "rollback" } else { "commit" }).await;
    let taken = told(taking.await.unwrap().1);
    assert_ne!(altered == "40P01", taken == "40P01", "one gives way: {altered}, {taken}");
}

/// States of sequences that are stored.
async fn states(node: &Node) -> usize {
    let mut transaction = node.engine.database().begin(Isolation::ReadCommitted);
    transaction.begin_statement().await.unwrap();
    let mut scan = transaction.scan(CATALOGUE_TREE, KeyRange::prefix(vec![0xf0_u8]), Direction::Forward);
    let mut entries = Vec::new();
    while scan.next_batch(&transaction, 100, &mut entries).await.unwrap() {}
    entries.len()
}

#[tokio::test]
async fn nothing_is_left_of_the_states_that_a_sequence_has_had() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int generated by default as identity, v int); create sequence s").await;
    assert_eq!(states(&node).await, 0);
    for round in 0..5 {
        c.run("truncate t restart identity; insert into t (v) values (1)").await;
        c.run(&format!("select nextval('s'); alter sequence s increment by {}", round + 2)).await;
        c.run("begin; alter sequence s increment by 50; select nextval('s'); rollback").await;
        c.run("begin; create sequence given_up; select nextval('given_up'); rollback").await;
    }
    // Of `s` the last rollback has left one, and each rolled back creation one.
    assert_eq!(states(&node).await, 2 + 1 + 5);
    let mut making = node.client().await;
    making.run("begin; create sequence made; select nextval('made')").await;
    assert_eq!(node.engine.remove_forsaken_states().await.unwrap(), 5);
    assert_eq!(node.engine.remove_forsaken_states().await.unwrap(), 0);
    making.run("commit").await;
    assert_eq!(making.text("select nextval('made')").await, "2");
    c.run("drop table t; drop sequence s; drop sequence made").await;
    assert_eq!(states(&node).await, 0);
}
