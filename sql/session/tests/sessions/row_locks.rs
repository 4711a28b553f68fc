//! Locks of rows and keys between sessions.

use crate::answers::{ask, in_doubt, quorum_has_all, synchronous};
use crate::common::{Client, Node, until_it_waits};
use std::time::Duration;
use storage::WaitEvent;
use tokio::time::timeout;

/// What a statement ends with: its tag, or the SQLSTATE of its error.
async fn tag_or_code(client: &mut Client, sql: &str) -> String {
    match client.try_run(sql).await {
        Ok((_, tag)) => tag,
        Err(error) => error.code().as_str().to_owned(),
    }
}

/// More than any statement takes that waits for nobody.
const AT_ONCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_key_without_a_row_is_locked_by_nobody_who_looks_for_one() {
    let node = Node::new().await;
    let (mut a, mut b) = (node.client().await, node.client().await);
    a.run("create table t (id int primary key, v int unique); insert into t values (1, 10), (2, 20)").await;
    // One that goes while somebody waits for it: its key is free as soon as its deletion is committed.
    for (looks, tag) in [
        ("update t set v = 0 where id = 1 returning v", "UPDATE 0"),
        ("update t set id = 9 where id in (1, 7)", "UPDATE 0"),
        ("delete from t where v = 10", "DELETE 0"),
        ("select * from t where id = 1 for update", "SELECT 0"),
        ("insert into t values (3, 10) on conflict (v) do update set v = 11", "INSERT 0 1"),
    ] {
        b.run("begin; delete from t where id = 1").await;
        let canceller = a.session.canceller().clone();
        let waiting = tokio::spawn(async move {
            a.run("begin").await;
            let done = a.run(looks).await;
            (a, done)
        });
        until_it_waits(&canceller, WaitEvent::RowLock).await;
        b.run("commit").await;
        let done;
        (a, done) = waiting.await.unwrap();
        assert_eq!(done, tag, "{looks}");
        let inserted = timeout(AT_ONCE, b.run("insert into t values (1, 12)")).await;
        assert_eq!(inserted.as_deref(), Ok("INSERT 0 1"), "{looks}");
        a.run("rollback").await;
        b.run("update t set v = 10 where id = 1").await;
    }
    for (looks, tag) in [
        ("update t set v = 0 where id = 4", "UPDATE 0"),
        ("delete from t where id = 4", "DELETE 0"),
        ("insert into t values (4, 20) on conflict do nothing", "INSERT 0 0"),
    ] {
        a.run("begin").await;
        assert_eq!(a.run(looks).await, tag);
        let inserted = timeout(AT_ONCE, b.run("insert into t values (4, 40)")).await;
        assert_eq!(inserted.as_deref(), Ok("INSERT 0 1"), "{looks}");
        assert_eq!(b.run("delete from t where id = 4").await, "DELETE 1");
        a.run("commit").await;
    }
    // Nor is who inserts one waited for.
    a.run("begin; insert into t values (4, 40)").await;
    for (change, tag) in
        [("update t set v = 41 where id = 4", "UPDATE 0"), ("delete from t where id = 4", "DELETE 0")]
    {
        assert_eq!(timeout(AT_ONCE, b.run(change)).await.as_deref(), Ok(tag));
    }
    a.run("commit").await;
    assert_eq!(b.text("select v from t where id = 4").await, "40");
    // A row that is there is locked, whoever has it meanwhile.
    a.run("begin; update t set v = 42 where id = 4").await;
    let other = b.session.canceller().clone();
    let waiting = tokio::spawn(async move { b.run("update t set v = v + 1 where id = 4").await });
    until_it_waits(&other, WaitEvent::RowLock).await;
    a.run("commit").await;
    assert_eq!(waiting.await.unwrap(), "UPDATE 1");
    assert_eq!(a.text("select v from t where id = 4").await, "43");
}

#[tokio::test]
async fn who_upserts_by_a_unique_column_waits_in_the_order_of_all_others() {
    let node = Node::new().await;
    let (mut a, mut b, mut c) = (node.client().await, node.client().await, node.client().await);
    a.run("create table t (k int primary key, u int unique, w int unique, n int default 0)").await;
    for (first, second, third, end, told, rows) in [
        // The row that the third one finds by its entry is about to lose it.
        (
            "insert into t values (3, 3, 3)",
            "insert into t values (3, 9, 9) on conflict (k) do update set w = 9",
            "insert into t values (4, 4, 3) on conflict (w) do update set n = 1",
            "commit",
            ["INSERT 0 1", "INSERT 0 1"],
            "3|3|9|0;4|4|3|0",
        ),
        // The key of the third one's new row is about to be inserted, with the entry that it found free.
        (
            "insert into t values (100, 3, 100)",
            "insert into t values (3, 3, 3)",
            "insert into t values (3, 5, 3) on conflict (w) do update set n = 1",
            "rollback",
            ["INSERT 0 1", "23505"],
            "3|3|3|0",
        ),
        (
            "insert into t values (100, 3, 100)",
            "insert into t values (3, 3, 3)",
            "insert into t values (3, 5, 3) on conflict (w) do nothing",
            "rollback",
            ["INSERT 0 1", "23505"],
            "3|3|3|0",
        ),
    ] {
        a.run("truncate t").await;
        a.run("begin").await;
        a.run(first).await;
        let mut waiting = Vec::new();
        for (mut client, sql) in [(b, second), (c, third)] {
            let canceller = client.session.canceller().clone();
            waiting.push(tokio::spawn(async move {
                let done = tag_or_code(&mut client, sql).await;
                (client, done)
            }));
            until_it_waits(&canceller, WaitEvent::RowLock).await;
        }
        a.run(end).await;
        let mut done = Vec::new();
        for one in waiting {
            done.push(one.await.unwrap());
        }
        let mut done = done.into_iter();
        let ((client_b, told_b), (client_c, told_c)) = (done.next().unwrap(), done.next().unwrap());
        (b, c) = (client_b, client_c);
        assert_eq!([told_b.as_str(), told_c.as_str()], told, "{third}");
        assert_eq!(a.text("select * from t order by k").await, rows, "{third}");
    }
}

#[tokio::test]
async fn row_locks_wait_fail_or_skip() {
    let node = Node::new().await;
    let (mut a, mut b) = (node.client().await, node.client().await);
    a.run("create table t (id int primary key); insert into t values (1), (2), (3)").await;
    a.run("begin").await;
    assert_eq!(a.text("select id from t where id = 1 for update").await, "1");
    let refused = b.refused("select * from t where id = 1 for update nowait").await;
    assert_eq!(refused, ("55P03".into(), "could not obtain lock on row in relation \"t\"".into()));
    assert_eq!(b.text("select id from t order by id limit 1 for update skip locked").await, "2");
    assert_eq!(b.text("select id from t order by id").await, "1;2;3");
    a.run("rollback").await;
    assert_eq!(b.text("select id from t where id = 1 for share nowait").await, "1");
    for lock in ["for no key update", "for key share", "for update of t"] {
        assert_eq!(b.text(&format!("select id from t order by id limit 1 {lock}")).await, "1", "{lock}");
    }
    b.run("begin read only").await;
    let refused = b.refused("select id from t for update").await;
    let message = "cannot execute SELECT FOR UPDATE in a read-only transaction";
    assert_eq!(refused, ("25006".into(), message.into()));
    b.run("rollback; begin read only").await;
    let message = "cannot execute INSERT in a read-only transaction";
    assert_eq!(b.refused("insert into t values (9)").await, ("25006".into(), message.into()));
    b.run("rollback").await;
}

#[tokio::test]
async fn many_who_upsert_past_one_primary_key_all_come_to_an_end() {
    let node = Node::new().await;
    let mut a = node.client().await;
    a.run("create table t (k int primary key, u int unique)").await;
    for (end, inserted) in [("rollback", 1), ("commit", 0)] {
        a.run("truncate t").await;
        a.run("begin; insert into t values (1, 100)").await;
        let mut waiting = Vec::new();
        for u in 0..4 {
            let mut client = node.client().await;
            let canceller = client.session.canceller().clone();
            waiting.push(tokio::spawn(async move {
                let sql = format!("insert into t values (1, {u}) on conflict (u) do update set k = 2");
                tag_or_code(&mut client, &sql).await
            }));
            until_it_waits(&canceller, WaitEvent::RowLock).await;
        }
        a.run(end).await;
        let mut told = Vec::new();
        for one in waiting {
            told.push(timeout(AT_ONCE, one).await.expect("it ends").unwrap());
        }
        let done = told.iter().filter(|told| *told == "INSERT 0 1").count();
        assert_eq!(done, inserted, "{end}: {told:?}");
        assert!(told.iter().all(|told| told == "INSERT 0 1" || told == "23505"), "{end}: {told:?}");
    }
}

/// As READ COMMITTED has it in PostgreSQL: a changed row is looked at again by all conditions, not by that of
/// WHERE alone.
#[tokio::test]
async fn a_locked_row_is_looked_at_again_by_the_conditions_of_joins() {
    let node = Node::new().await;
    let (mut a, mut b) = (node.client().await, node.client().await);
    a.run("create table q (id int primary key, n int); create table j (id int primary key, q int, st text)")
        .await;
    for (change, locks, rows) in [
        (
            "update j set st = 'taken' where id = 1",
            "select j.id, st from q join j on j.q = q.id and st = 'new' order by 1 limit 1 for update of j",
            "2|new",
        ),
        (
            "update j set q = 2 where id = 1",
            "select j.id, j.q, n from q join j on j.q = q.id order by j.id for update of j",
            "2|1|10",
        ),
        (
            "update j set q = 2 where id = 1",
            "select j.id, q, x.n from j natural join (select id as q, n from q) x order by j.id for update of j",
            "2|1|10",
        ),
        (
            "update j set q = 2 where id = 1",
            "select j.id, j.q, q.id, n from j left join q on j.q = q.id order by j.id for update of j",
            "1|2|-|-;2|1|1|10",
        ),
        (
            "update j set q = 2 where id = 1",
            "select q.id, j.id, j.q from q right join j on j.q = q.id order by j.id for update of j",
            "-|1|2;1|2|1",
        ),
        (
            "update j set q = 2 where id = 1",
            "select j.id, k.id, q.n from j join j k on k.q = j.q and k.id = 2 left join q on q.id = j.q \
             order by j.id for share of j",
            "2|2|10",
        ),
    ] {
        a.run("truncate q; truncate j; insert into q values (1, 10)").await;
        a.run("insert into j values (1, 1, 'new'), (2, 1, 'new')").await;
        a.run("begin").await;
        a.run(change).await;
        let canceller = b.session.canceller().clone();
        let waiting = tokio::spawn(async move {
            let read = b.text(locks).await;
            (b, read)
        });
        until_it_waits(&canceller, WaitEvent::RowLock).await;
        a.run("commit").await;
        let read;
        (b, read) = waiting.await.unwrap();
        assert_eq!(read, rows, "{locks}");
    }
    for locks in [
        "select * from q, lateral (select * from j where j.q = q.id) l for update of q",
        "select * from j join q on j.q = (select max(id) from q) for update of j",
    ] {
        assert_eq!(b.refused(locks).await.0, "0A000", "{locks}");
    }
}

#[tokio::test]
async fn a_lock_passes_on_once_what_was_done_under_it_is_seen() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table doors (id int primary key); insert into doors values (1)").await;
    c.run("create table entries (n int not null)").await;
    let (row, table) = (WaitEvent::RowLock, WaitEvent::TableLock);
    let row_lock = "select from doors where id = 1 for update";
    for (number, (first, second, waits_for)) in [
        (row_lock, row_lock, row),
        ("select from doors where id = 1 for share", row_lock, row),
        ("lock table doors in exclusive mode", "lock table doors in exclusive mode", table),
        ("select", "lock table entries in share mode", table),
    ]
    .into_iter()
    .enumerate()
    {
        let mut writer = synchronous(&node).await;
        quorum_has_all(&node);
        writer.run(&format!("begin; {first}")).await;
        writer.run("insert into entries select coalesce(max(n), 0) + 1 from entries").await;
        let writing = ask(writer, "commit");
        in_doubt(&node).await;
        let mut next = node.client().await;
        next.run("begin").await;
        let canceller = next.session.canceller().clone();
        let locking = ask(next, second);
        until_it_waits(&canceller, waits_for).await;
        quorum_has_all(&node);
        let (mut next, locked) = locking.await.unwrap();
        locked.unwrap();
        let newest = next.text("select max(n) from entries").await;
        assert_eq!(newest, (number + 1).to_string(), "under {second} after {first}");
        next.run("commit").await;
        writing.await.unwrap().1.unwrap();
    }
}
