//! Statements that decide something about all rows of a table look at all of them: also at those that a
//! REPEATABLE READ transaction does not see, and at those of commits in doubt.

use crate::answers::{ask, in_doubt, quorum_has_all, synchronous, told};
use crate::common::{Node, until_it_waits};
use storage::WaitEvent;

/// What is decided, and the error while there is a row that stands against it.
const DECISIONS: &[(&str, &str)] = &[
    ("alter table t add column n int not null", "23502"),
    ("alter table t add column n serial", "0A000"),
    ("alter table t add column n int generated always as identity", "0A000"),
    ("alter table t add column n int check (v is not null)", "23514"),
    ("alter table t alter column v set not null", "23502"),
    ("alter table t add check (v is not null)", "23514"),
];

/// The same of those that put all rows elsewhere, for which REPEATABLE READ is refused.
const REWRITES: &[(&str, &str)] = &[
    ("alter table t add primary key (v)", "23502"),
    ("alter table t add unique nulls not distinct (v)", "23505"),
    ("create unique index on t (v) nulls not distinct", "23505"),
];

#[tokio::test]
async fn a_row_in_doubt_stands_against_a_new_constraint() {
    let node = Node::new().await;
    for (decision, error) in DECISIONS.iter().chain(REWRITES) {
        let mut c = node.client().await;
        c.run("create table t (v int)").await;
        let writer = synchronous(&node).await;
        quorum_has_all(&node);
        let writing = ask(writer, "insert into t values (null), (null)");
        in_doubt(&node).await;
        let asking = node.client().await;
        let canceller = asking.session.canceller().clone();
        let answering = ask(asking, decision);
        // Who has written to the table holds it until that is seen.
        until_it_waits(&canceller, WaitEvent::TableLock).await;
        quorum_has_all(&node);
        assert_eq!(told(answering.await.unwrap().1), *error, "{decision}");
        writing.await.unwrap().1.unwrap();
        c.run("drop table t").await;
    }
}

#[tokio::test]
async fn a_row_that_a_repeatable_read_transaction_does_not_see_stands_against_a_new_constraint() {
    let node = Node::new().await;
    for (decision, error) in DECISIONS {
        let (mut c, mut other) = (node.client().await, node.client().await);
        c.run("create table t (v int)").await;
        c.run("begin isolation level repeatable read").await;
        assert_eq!(c.text("select 1").await, "1");
        other.run("insert into t values (null)").await;
        assert_eq!(c.error(decision).await.code().as_str(), *error, "{decision}");
        c.run("rollback").await;
        c.run("drop table t").await;
    }
}

#[tokio::test]
async fn a_repeatable_read_transaction_counts_its_own_rows_too() {
    let node = Node::new().await;
    for (decision, error) in DECISIONS {
        let mut c = node.client().await;
        c.run("create table t (v int)").await;
        c.run("begin isolation level repeatable read; select 1").await;
        c.run("insert into t values (null)").await;
        assert_eq!(c.error(decision).await.code().as_str(), *error, "{decision}");
        c.run("rollback").await;
        c.run("begin isolation level repeatable read; select 1").await;
        c.run(decision).await;
        c.run("commit").await;
        c.run("drop table t").await;
    }
}

#[tokio::test]
async fn a_role_that_owns_a_table_in_doubt_is_not_dropped() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create role owner login; create table t (v int)").await;
    let writer = synchronous(&node).await;
    quorum_has_all(&node);
    let writing = ask(writer, "alter table t owner to owner");
    in_doubt(&node).await;
    let asking = node.client().await;
    let canceller = asking.session.canceller().clone();
    let answering = ask(asking, "drop role owner");
    // Who changes roles holds them until it is seen.
    until_it_waits(&canceller, WaitEvent::RowLock).await;
    quorum_has_all(&node);
    assert_eq!(told(answering.await.unwrap().1), "2BP01");
    writing.await.unwrap().1.unwrap();
}
