//! Transaction blocks, isolation between sessions, locks.

use crate::common::{Client, Collected, Node, until_it_waits};
use sql_interface::{CancelReason, Fetch, TransactionStatus};
use sql_session::Portal;
use sql_types::Datum;
use storage::WaitEvent;

#[tokio::test]
async fn a_message_of_several_statements_is_one_transaction() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int primary key)").await;
    assert_eq!(c.error("insert into t values (1); insert into t values (1)").await.code().as_str(), "23505");
    assert_eq!(c.text("select count(*) from t").await, "0");
    // COMMIT inside of it keeps what came before.
    assert_eq!(
        c.error("insert into t values (1); commit; insert into t values (1)").await.code().as_str(),
        "23505"
    );
    assert_eq!(c.text("select count(*) from t").await, "1");
    assert_eq!(c.session.take_notices()[0].message(), "there is no transaction in progress");
    // BEGIN takes what came before into the block.
    c.run("insert into t values (2); begin; insert into t values (3)").await;
    assert_eq!(c.session.transaction_status(), TransactionStatus::InTransaction);
    c.run("rollback").await;
    assert_eq!(c.text("select count(*) from t").await, "1");
}

#[tokio::test]
async fn what_stands_alone_is_committed_at_once_in_a_pipeline() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int primary key, a int)").await;
    c.execute_portal("create index concurrently ta on t (a)", Vec::new()).await.unwrap();
    // It has ended transactions by itself: the next one is no longer the first of its pipeline.
    let refused = c.execute_portal("vacuum t", Vec::new()).await.err().unwrap();
    assert_eq!(refused.message(), "VACUUM cannot be executed within a pipeline");
    c.session.sync().await.unwrap();
    // The error behind it has not undone it.
    assert_eq!(c.text("select count(*) from pg_class where relname = 'ta'").await, "1");
    c.run("vacuum t").await;
}

#[tokio::test]
async fn a_failed_block_refuses_all_but_its_end() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int primary key)").await;
    c.run("begin; insert into t values (1)").await;
    c.error("select 1/0").await;
    assert_eq!(c.session.transaction_status(), TransactionStatus::Failed);
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    assert_eq!(c.refused("select 1").await, ("25P02".into(), message.into()));
    assert_eq!(c.run("commit").await, "ROLLBACK");
    assert_eq!(c.session.transaction_status(), TransactionStatus::Idle);
    assert_eq!(c.text("select count(*) from t").await, "0");
}

#[tokio::test]
async fn savepoints_undo_rows_settings_and_failures() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int primary key)").await;
    c.run("begin; insert into t values (1); set a.b = 'one'; savepoint s").await;
    c.run("insert into t values (2); set a.b = 'two'; create table u (a int)").await;
    c.error("insert into t values (1)").await;
    assert_eq!(c.session.transaction_status(), TransactionStatus::Failed);
    c.run("rollback to s").await;
    assert_eq!(c.session.transaction_status(), TransactionStatus::InTransaction);
    assert_eq!(c.text("show a.b").await, "one");
    assert_eq!(c.error("select * from u").await.code().as_str(), "42P01");
    c.run("rollback to s; insert into t values (3); savepoint x; release s").await;
    assert_eq!(c.refused("rollback to x").await, ("3B001".into(), "savepoint \"x\" does not exist".into()));
    assert_eq!(c.run("rollback").await, "ROLLBACK");
    c.run("begin; insert into t values (1); savepoint s; insert into t values (2); rollback to s; commit")
        .await;
    assert_eq!(c.text("select * from t").await, "1");
    c.run("begin; set local a.b = 'local'; commit").await;
    assert_eq!(c.text("show a.b").await, "x");
    c.run("set a.b = 'kept'").await;
    assert_eq!(c.text("select current_setting('a.b')").await, "kept");
}

#[tokio::test]
async fn uncommitted_rows_are_seen_by_their_own_transaction_alone() {
    let node = Node::new().await;
    let (mut a, mut b) = (node.client().await, node.client().await);
    a.run("create table t (id int primary key, v int); insert into t values (1, 10)").await;
    a.run("begin; update t set v = 11 where id = 1; insert into t values (2, 20)").await;
    assert_eq!(a.text("select * from t order by id").await, "1|11;2|20");
    assert_eq!(b.text("select * from t order by id").await, "1|10");
    a.run("commit").await;
    assert_eq!(b.text("select * from t order by id").await, "1|11;2|20");
}

#[tokio::test]
async fn read_committed_looks_again_at_a_row_that_it_waited_for() {
    let node = Node::new().await;
    let (mut a, mut b) = (node.client().await, node.client().await);
    a.run("create table t (id int primary key, v int); insert into t values (1, 10), (2, 20)").await;
    a.run("begin; update t set v = v + 1 where id = 1").await;
    let other = b.session.canceller().clone();
    let waiting = tokio::spawn(async move {
        let tag = b.run("update t set v = v + 100 where v < 15").await;
        (b, tag)
    });
    until_it_waits(&other, WaitEvent::RowLock).await;
    a.run("commit").await;
    let (mut b, tag) = waiting.await.unwrap();
    assert_eq!(tag, "UPDATE 1");
    assert_eq!(b.text("select v from t where id = 1").await, "111");
    // The newest version no longer fits the condition.
    a.run("begin; update t set v = 1000 where id = 1").await;
    let waiting = tokio::spawn(async move { b.run("delete from t where v = 111").await });
    until_it_waits(&other, WaitEvent::RowLock).await;
    a.run("commit").await;
    assert_eq!(waiting.await.unwrap(), "DELETE 0");
}

#[tokio::test]
async fn do_nothing_waits_for_who_may_take_the_row_away() {
    const BY_KEY: &str = "insert into t values (1, 70, 0) on conflict (id) do nothing";
    const BY_INDEX: &str = "insert into t values (7, 10, 0) on conflict (v) do nothing";
    const BY_ANY: &str = "insert into t values (7, 10, 0) on conflict do nothing returning id";
    const SELECTED: &str = "insert into t select id, 70, 0 from t where id = 1 on conflict do nothing";
    let node = Node::new().await;
    let (mut a, mut b) = (node.client().await, node.client().await);
    a.run("create table t (id int primary key, v int unique, w int)").await;
    let stories = [
        ("delete from t where id = 1", BY_KEY),
        ("delete from t where id = 1", BY_INDEX),
        ("delete from t where id = 1", SELECTED),
        ("update t set id = 100 where id = 1", BY_KEY),
        ("update t set v = 100 where id = 1", BY_INDEX),
        ("insert into t values (1, 0, 0) on conflict (id) do update set v = 55", BY_ANY),
    ];
    for (theirs, mine) in stories {
        for (end, tag) in [("commit", "INSERT 0 1"), ("rollback", "INSERT 0 0")] {
            a.run("truncate t; insert into t values (1, 10, 0), (2, 20, 0)").await;
            a.run(&format!("begin; {theirs}")).await;
            let other = b.session.canceller().clone();
            let waiting = tokio::spawn(async move {
                let told = b.run(mine).await;
                (b, told)
            });
            until_it_waits(&other, WaitEvent::RowLock).await;
            a.run(end).await;
            let told;
            (b, told) = waiting.await.unwrap();
            assert_eq!(told, tag, "{theirs}; {end}; {mine}");
        }
    }
    // The key stays: nobody is waited for.
    a.run("truncate t; insert into t values (1, 10, 0), (2, 20, 0)").await;
    for theirs in ["select * from t for update", "update t set w = 1", "select * from t for share"] {
        a.run(&format!("begin; {theirs}")).await;
        for mine in [BY_KEY, BY_INDEX, BY_ANY, SELECTED] {
            assert_eq!(b.run(mine).await, "INSERT 0 0", "{theirs}; {mine}");
        }
        a.run("commit").await;
    }
    // Nor is anybody kept from the row.
    b.run("begin").await;
    b.run(BY_KEY).await;
    b.run(BY_INDEX).await;
    assert_eq!(a.run("delete from t where id = 1").await, "DELETE 1");
    b.run("commit").await;
    // Who has locked the row may take it away in the end.
    a.run("begin; select * from t where id = 2 for update; delete from t where id = 2").await;
    let other = b.session.canceller().clone();
    let mine = "insert into t values (2, 70, 0) on conflict do nothing";
    let waiting = tokio::spawn(async move { b.run(mine).await });
    until_it_waits(&other, WaitEvent::RowLock).await;
    a.run("commit").await;
    assert_eq!(waiting.await.unwrap(), "INSERT 0 1");
}

#[tokio::test]
async fn repeatable_read_keeps_its_snapshot_and_refuses_lost_updates() {
    let node = Node::new().await;
    let (mut a, mut b) = (node.client().await, node.client().await);
    a.run("create table t (id int primary key, v int); insert into t values (1, 10)").await;
    b.run("begin isolation level repeatable read").await;
    assert_eq!(b.text("select v from t").await, "10");
    a.run("update t set v = 11; insert into t values (2, 20)").await;
    assert_eq!(b.text("select v from t").await, "10");
    assert_eq!(b.text("show transaction_isolation").await, "repeatable read");
    let error = b.error("update t set v = v + 1 where id = 1").await;
    assert_eq!(
        (error.code().as_str(), error.message()),
        ("40001", "could not serialize access due to concurrent update")
    );
    b.run("rollback").await;
    assert_eq!(b.text("select v from t order by id").await, "11;20");
}

#[tokio::test]
async fn on_a_fenced_server_every_transaction_is_read_only_also_one_that_began_before() {
    let node = Node::new().await;
    let (mut old, mut new) = (node.client().await, node.client().await);
    old.run("create table t (id int primary key); create sequence s").await;
    old.run("begin").await;
    assert_eq!(old.text("show transaction_read_only").await, "off");
    node.engine.database().fence("timeline 2 was promoted");
    let fenced = ("25006".to_owned(), "this server is fenced: timeline 2 was promoted".to_owned());
    for statement in [
        "insert into t values (1)",
        "select id from t for update",
        "select nextval('s')",
        "create table u (id int)",
        "begin read write",
    ] {
        assert_eq!(new.refused(statement).await, fenced, "{statement}");
    }
    for client in [&mut old, &mut new] {
        assert_eq!(client.text("show transaction_read_only").await, "on");
    }
    assert_eq!(old.refused("insert into t values (1)").await, fenced);
    old.run("rollback").await;
    // What it says holds behind a savepoint, too, whose transaction goes on.
    old.run("begin; savepoint a").await;
    let error = old.error("insert into t values (1)").await;
    assert_eq!(error.fields().detail.as_deref(), Some("The statement has written nothing."));
    old.run("rollback to a; commit").await;
    assert_eq!(old.text("select count(*) from t").await, "0");
}

#[tokio::test]
async fn a_deadlock_is_found_and_one_side_told() {
    let node = Node::new().await;
    let (mut a, mut b) = (node.client().await, node.client().await);
    a.run("create table t (id int primary key, v int); insert into t values (1, 0), (2, 0)").await;
    a.run("begin; update t set v = 1 where id = 1").await;
    b.run("begin; update t set v = 1 where id = 2").await;
    let other = a.session.canceller().clone();
    let first = tokio::spawn(async move { a.try_run("update t set v = 2 where id = 2").await.map(|_| ()) });
    until_it_waits(&other, WaitEvent::RowLock).await;
    let second = b.try_run("update t set v = 2 where id = 1").await.map(|_| ());
    if second.is_err() {
        b.run("rollback").await;
    }
    let first = first.await.unwrap();
    let failed: Vec<_> = [first, second].into_iter().filter_map(Result::err).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].code().as_str(), "40P01");
}

#[tokio::test]
async fn a_waiting_statement_can_be_cancelled() {
    let node = Node::new().await;
    let (mut a, mut b) = (node.client().await, node.client().await);
    a.run("create table t (id int primary key); insert into t values (1)").await;
    a.run("begin; delete from t").await;
    let canceller = b.session.canceller().clone();
    let waiting = tokio::spawn(async move {
        let error = b.error("delete from t").await;
        (b, error)
    });
    until_it_waits(&canceller, WaitEvent::RowLock).await;
    canceller.cancel(CancelReason::StatementTimeout);
    let (mut b, error) = waiting.await.unwrap();
    let message = "canceling statement due to statement timeout";
    assert_eq!((error.code().as_str(), error.message()), ("57014", message));
    canceller.clear();
    // Whether it sleeps already or not.
    let sleeping = tokio::spawn(async move { b.error("select pg_sleep(10)").await });
    canceller.cancel(CancelReason::User);
    assert_eq!(sleeping.await.unwrap().message(), "canceling statement due to user request");
}

#[tokio::test]
async fn schema_changes_wait_for_readers_and_old_plans_are_made_anew() {
    let node = Node::new().await;
    let (mut a, mut b) = (node.client().await, node.client().await);
    a.run("create table t (id int primary key, v int); insert into t values (1, 10)").await;
    let prepared = b.session.prepare("select v from t where id = $1", &[]).await.unwrap();
    b.session.store("p", prepared).unwrap();
    b.session.sync().await.unwrap();
    b.run("begin; select * from t").await;
    let other = a.session.canceller().clone();
    let dropping = tokio::spawn(async move {
        a.run("drop table t").await;
        a
    });
    until_it_waits(&other, WaitEvent::TableLock).await;
    b.run("commit").await;
    let mut a = dropping.await.unwrap();
    assert_eq!(b.error("execute p(1)").await.code().as_str(), "42P01");
    a.run("create table t (id int primary key, v int); insert into t values (1, 77)").await;
    assert_eq!(b.text("execute p(1)").await, "77");
    a.run("truncate t; insert into t values (1, 78)").await;
    assert_eq!(b.text("execute p(1)").await, "78");
    a.run("drop table t; create table t (id int primary key, v text)").await;
    let refused = b.refused("execute p(1)").await;
    assert_eq!(refused, ("0A000".into(), "cached plan must not change result type".into()));
}

#[tokio::test]
async fn a_portal_gives_its_rows_in_portions() {
    let node = Node::new().await;
    let mut c = node.client().await;
    let prepared = c.session.prepare("select g from generate_series(1, $1) g", &[]).await.unwrap();
    let mut portal = c.session.open(prepared, vec![Datum::Int4(5)]).await.unwrap();
    let mut out = Collected::default();
    assert_eq!(c.session.fetch(&mut portal, 2, &mut out).await.unwrap(), Fetch::Suspended);
    assert_eq!(out.rows.len(), 2);
    assert_eq!(c.session.fetch(&mut portal, 2, &mut out).await.unwrap(), Fetch::Suspended);
    let last = c.session.fetch(&mut portal, 2, &mut out).await.unwrap();
    assert_eq!((last, out.rows.len()), (Fetch::Complete(sql_interface::CommandTag::Select(5)), 5));
    c.session.sync().await.unwrap();
    // Its transaction is over, and so is a portal that was not read to its end.
    let prepared = c.session.prepare("select g from generate_series(1, $1) g", &[]).await.unwrap();
    let mut portal = c.session.open(prepared, vec![Datum::Int4(5)]).await.unwrap();
    c.session.fetch(&mut portal, 1, &mut out).await.unwrap();
    c.session.sync().await.unwrap();
    assert_eq!(c.session.fetch(&mut portal, 1, &mut out).await.unwrap_err().code().as_str(), "34000");
}

/// A portal of a text without parameters, and its first row.
async fn begun(c: &mut Client, sql: &str) -> Box<Portal> {
    let prepared = c.session.prepare(sql, &[]).await.unwrap();
    let mut portal = c.session.open(prepared, Vec::new()).await.unwrap();
    assert_eq!(c.session.fetch(&mut portal, 1, &mut Collected::default()).await.unwrap(), Fetch::Suspended);
    portal
}

async fn goes_on(c: &mut Client, portal: &mut Portal) -> Result<Fetch, String> {
    let fetched = c.session.fetch(portal, 1, &mut Collected::default()).await;
    fetched.map_err(|error| error.code().to_string())
}

#[tokio::test]
async fn a_portal_ends_with_the_savepoint_that_it_was_opened_behind() {
    let node = Node::new().await;
    let mut c = node.client().await;
    let sql = "select g from generate_series(1, 9) g";
    c.run("begin").await;
    let mut outside = begun(&mut c, sql).await;
    c.run("savepoint a").await;
    let mut in_a = begun(&mut c, sql).await;
    c.run("savepoint b").await;
    let mut released = begun(&mut c, sql).await;
    c.run("release b; savepoint b").await;
    let mut in_b = begun(&mut c, sql).await;
    c.run("rollback to b").await;
    for portal in [&mut outside, &mut in_a, &mut released] {
        assert_eq!(goes_on(&mut c, portal).await, Ok(Fetch::Suspended));
    }
    assert!(in_b.has_ended());
    assert_eq!(goes_on(&mut c, &mut in_b).await, Err("34000".into()));
    c.run("rollback to a").await;
    assert!(in_a.has_ended() && released.has_ended() && !outside.has_ended());
    assert_eq!(goes_on(&mut c, &mut outside).await, Ok(Fetch::Suspended));
}

#[tokio::test]
async fn a_portal_that_failed_cannot_be_run_again_and_one_at_its_end_says_that_nothing_was_done() {
    let node = Node::new().await;
    let mut c = node.client().await;
    let sql = "select 1 / (g - 2) from generate_series(1, 9) g";
    c.run(&format!("begin; declare k cursor for {sql}; fetch from k")).await;
    let mut portal = begun(&mut c, sql).await;
    c.run("savepoint s").await;
    assert_eq!(goes_on(&mut c, &mut portal).await, Err("22012".into()));
    c.run("rollback to s").await;
    assert_eq!(goes_on(&mut c, &mut portal).await, Err("55000".into()));
    c.run("rollback to s").await;
    assert_eq!(c.refused("fetch from k").await.0, "22012");
    c.run("rollback to s").await;
    assert_eq!(c.refused("fetch from k").await, ("55000".into(), "portal \"k\" cannot be run".into()));
    c.run("rollback; create table t (id int primary key)").await;
    let prepared = c.session.prepare("insert into t values (1) returning id", &[]).await.unwrap();
    let mut portal = c.session.open(prepared, Vec::new()).await.unwrap();
    for rows in [1, 0] {
        let done = c.session.fetch(&mut portal, 0, &mut Collected::default()).await.unwrap();
        assert_eq!(done, Fetch::Complete(sql_interface::CommandTag::Insert(rows)));
    }
}

#[tokio::test]
async fn what_was_bound_to_one_table_does_not_change_another_of_its_name() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int); create table other (id int); insert into other values (7)").await;
    c.run("begin").await;
    let prepared = c.session.prepare("delete from t", &[]).await.unwrap();
    let mut portal = c.session.open(prepared, Vec::new()).await.unwrap();
    c.run("alter table t rename to gone; alter table other rename to t").await;
    assert!(c.session.is_behind(&portal));
    let refused = c.session.renew(&mut portal).await.unwrap_err();
    assert_eq!(refused.code().as_str(), "0A000");
    c.run("rollback").await;
    assert_eq!(c.text("select * from other").await, "7");
}

#[tokio::test]
async fn what_changes_rows_sees_what_others_committed_while_its_client_was_waited_for() {
    let node = Node::new().await;
    let (mut c, mut other) = (node.client().await, node.client().await);
    c.run("create table t (id int); insert into t values (1)").await;
    c.run("begin").await;
    let prepared = c.session.prepare("delete from t", &[]).await.unwrap();
    let mut portal = c.session.open(prepared, Vec::new()).await.unwrap();
    other.run("insert into t values (2)").await;
    c.session.note_wait();
    assert!(c.session.is_behind(&portal));
    c.session.renew(&mut portal).await.unwrap();
    let done = c.session.fetch(&mut portal, 0, &mut Collected::default()).await.unwrap();
    assert_eq!(done, Fetch::Complete(sql_interface::CommandTag::Delete(2)));
    c.run("rollback").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_between_accounts_keep_the_sum() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table acc (id int primary key, v bigint); insert into acc select g, 100 from generate_series(1, 10) g").await;
    let mut workers = Vec::new();
    for worker in 0..4_i32 {
        let mut c = node.client().await;
        workers.push(tokio::spawn(async move {
            let mut done = 0;
            for round in 0..50_i32 {
                let (from, to) = ((worker * 7 + round) % 10 + 1, (worker * 3 + round * 5) % 10 + 1);
                c.run("begin").await;
                let debit = c
                    .execute(
                        "update acc set v = v - $1 where id = $2",
                        vec![Datum::Int8(1), Datum::Int4(from)],
                    )
                    .await;
                let credit = match debit {
                    Ok(_) => {
                        c.execute(
                            "update acc set v = v + $1 where id = $2",
                            vec![Datum::Int8(1), Datum::Int4(to)],
                        )
                        .await
                    }
                    Err(error) => Err(error),
                };
                match credit {
                    Ok(_) => {
                        c.run("commit").await;
                        done += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.code().as_str(), "40P01", "{error}");
                        c.run("rollback").await;
                    }
                }
            }
            done
        }));
    }
    let mut done = 0;
    for worker in workers {
        done += worker.await.unwrap();
    }
    assert!(done > 100, "only {done} transfers went through");
    assert_eq!(c.text("select sum(v), count(*) from acc").await, "1000|10");
}
