//! The library as a program uses it, judged by psql and PostgreSQL's replication tools.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

use plimsoll::{Database, Datum, Direction, Error, Isolation, Options, Table, TransactionOptions};
use std::path::Path;
use std::process::Command;

const BIN: &str = "/usr/lib/postgresql/15/bin";

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("plim").tempdir_in("/tmp").unwrap()
}

async fn open(dir: &Path) -> Database {
    Options::new(dir.join("data")).create_if_missing().socket_dir(dir).open().await.unwrap()
}

/// Runs a program of PostgreSQL at the database's socket; what it printed.
async fn tool(dir: &Path, name: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(format!("{BIN}/{name}"));
    command
        .args(arguments)
        .env("PGHOST", dir)
        .env("PGPORT", "5432")
        .env("PGUSER", "postgres")
        .env("PGDATABASE", "postgres")
        .env("PGCONNECT_TIMEOUT", "20")
        .env("LC_ALL", "C");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} {arguments:?}: {}\n{out}\n{err}", output.status);
    out.trim_end().to_owned()
}

async fn psql(dir: &Path, sql: &str) -> String {
    tool(dir, "psql", &["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).await
}

async fn keys<K: plimsoll::Record, V: plimsoll::Record>(
    db: &Database,
    table: &Table<K, V>,
    range: impl std::ops::RangeBounds<K> + Clone,
    direction: Direction,
) -> Vec<K> {
    let rows = db
        .transaction(|mut tx| {
            let range = range.clone();
            async move { tx.scan(table, range, direction).await?.collect().await }
        })
        .await
        .unwrap();
    rows.into_iter().map(|(key, _)| key).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_typed_table_is_a_sql_table() {
    let folder = folder();
    let db = open(folder.path()).await;
    let prices = db.table::<(String, i32), (f64, Option<String>)>("prices").await.unwrap();
    db.put(&prices, &("pear".to_owned(), 2026), &(1.5, None)).await.unwrap();
    let described = psql(
        folder.path(),
        "select attname, format_type(atttypid, atttypmod), attnotnull from pg_attribute \
         where attrelid = 'prices'::regclass and attnum > 0 order by attnum",
    );
    assert_eq!(described.await, "key1|text|t\nkey2|integer|t\nvalue1|double precision|t\nvalue2|text|f");
    psql(folder.path(), "insert into prices values ('apple', 2025, 0.25, 'sweet')").await;
    let apple = db.get(&prices, &("apple".to_owned(), 2025)).await.unwrap();
    assert_eq!(apple, Some((0.25, Some("sweet".to_owned()))));
    assert_eq!(
        psql(folder.path(), "select * from prices order by key1 desc limit 1").await,
        "pear|2026|1.5|"
    );

    // Columns that the types do not name are left to their defaults.
    psql(folder.path(), "alter table prices add column note text default 'none'").await;
    db.put(&prices, &("plum".to_owned(), 1), &(2.0, None)).await.unwrap();
    assert_eq!(psql(folder.path(), "select note from prices where key1 = 'plum'").await, "none");

    let wrong = db.table::<(String, i32), (f64, Option<i64>)>("prices").await.unwrap_err();
    let what = "table \"prices\" has column \"value2\" of type text, and not bigint";
    assert_eq!(wrong.to_string(), what);
    let other_key = db.table::<String, i32>("prices").await.unwrap_err();
    assert_eq!(other_key.sqlstate().as_deref(), Some("42703"), "{other_key}");
    psql(folder.path(), "create table loose (key int, value int)").await;
    let no_key = db.table::<i32, i32>("loose").await.unwrap_err();
    assert_eq!(no_key.sqlstate().as_deref(), Some("42P10"), "{no_key}");
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_take_ranges_of_composite_keys_in_both_directions() {
    let folder = folder();
    let db = open(folder.path()).await;
    let table = &db.table::<(i32, i32), ()>("pairs").await.unwrap();
    db.transaction(|mut tx| async move {
        for a in 0..20 {
            for b in 0..20 {
                tx.insert(table, &(a, b), &()).await?;
            }
        }
        Ok(())
    })
    .await
    .unwrap();
    let all: Vec<(i32, i32)> = (0..20).flat_map(|a| (0..20).map(move |b| (a, b))).collect();
    assert_eq!(keys(&db, table, .., Direction::Ascending).await, all, "more than one batch");
    let bounds = [(3, 7), (3, 19), (4, 0), (12, 5), (20, 0), (-1, 30)];
    for low in bounds {
        for high in bounds {
            let half: Vec<_> = all.iter().copied().filter(|key| (low..high).contains(key)).collect();
            assert_eq!(keys(&db, table, low..high, Direction::Ascending).await, half, "{low:?}..{high:?}");
            let closed: Vec<_> = all.iter().rev().copied().filter(|key| (low..=high).contains(key)).collect();
            assert_eq!(
                keys(&db, table, low..=high, Direction::Descending).await,
                closed,
                "{low:?}..={high:?}"
            );
        }
    }
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_savepoint_undoes_its_part_alone() {
    let folder = folder();
    let db = open(folder.path()).await;
    let table = &db.table::<i64, String>("t").await.unwrap();
    db.transaction(|mut tx| async move {
        tx.insert(table, &1, &"one".to_owned()).await?;
        let outer = tx.savepoint().await?;
        tx.put(table, &2, &"two".to_owned()).await?;
        let inner = tx.savepoint().await?;
        tx.put(table, &3, &"three".to_owned()).await?;
        tx.release(inner).await?;
        let taken = tx.insert(table, &1, &"again".to_owned()).await;
        assert_eq!(taken.unwrap_err().sqlstate().as_deref(), Some("23505"));
        let failed = tx.get(table, &1).await;
        assert_eq!(failed.unwrap_err().sqlstate().as_deref(), Some("25P02"));
        tx.rollback_to(&outer).await?;
        assert_eq!(tx.get(table, &3).await?, None);
        tx.put(table, &4, &"four".to_owned()).await
    })
    .await
    .unwrap();
    assert_eq!(keys(&db, table, .., Direction::Ascending).await, [1, 4]);
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_commits_all_or_nothing_and_says_which() {
    let folder = folder();
    let db = open(folder.path()).await;
    let table = &db.table::<i64, i64>("t").await.unwrap();
    let refused: Result<(), Error> = db
        .transaction(|mut tx| async move {
            tx.put(table, &1, &1).await?;
            Err(Error::abort("changed my mind"))
        })
        .await;
    assert_eq!(refused.unwrap_err().to_string(), "changed my mind");
    // An error that the closure swallows still ends the transaction.
    let swallowed = db
        .transaction(|mut tx| async move {
            tx.put(table, &1, &1).await?;
            let _ = tx.sql("select 1 / 0", &[]).await;
            Ok(())
        })
        .await;
    assert!(matches!(swallowed, Err(Error::RolledBack)), "{swallowed:?}");
    let read_only = TransactionOptions::default().read_only();
    let written = db.transaction_with(&read_only, |mut tx| async move { tx.put(table, &1, &1).await }).await;
    assert_eq!(written.unwrap_err().sqlstate().as_deref(), Some("25006"));
    assert_eq!(db.get(table, &1).await.unwrap(), None);
    let default = TransactionOptions::default();
    let nothing =
        db.transaction_with(&default, |mut tx| async move { tx.get(table, &1).await }).await.unwrap();
    assert_eq!(nothing.position, None, "it wrote nothing");
    let options = TransactionOptions::default().isolation(Isolation::RepeatableRead);
    let mut runs = 0;
    let committed = db
        .transaction_with(&options, |mut tx| {
            runs += 1;
            let (db, run) = (&db, runs);
            async move {
                let before = tx.get(table, &7).await?.unwrap_or(0);
                if run == 1 {
                    // Somebody else is quicker.
                    db.put(table, &7, &100).await?;
                }
                tx.put(table, &7, &(before + 1)).await
            }
        })
        .await
        .unwrap();
    assert_eq!((runs, db.get(table, &7).await.unwrap()), (2, Some(101)), "it is run again after 40001");
    assert!(committed.position.is_some());
    assert!(!db.delete(table, &1).await.unwrap());
    assert!(db.delete(table, &7).await.unwrap());
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_sessions_are_seen_and_ended_like_all_others() {
    let folder = folder();
    let dir = folder.path();
    let db = open(dir).await;
    let table = &db.table::<i64, i64>("t").await.unwrap();
    let ended = db
        .transaction(|mut tx| async move {
            tx.put(table, &1, &1).await?;
            let own = tx.sql("select pg_backend_pid()", &[]).await?;
            let Some(Datum::Int4(pid)) = own[0].first() else { panic!("{own:?}") };
            let state = format!("select state from pg_stat_activity where pid = {pid}");
            assert_eq!(psql(dir, &state).await, "idle in transaction");
            assert_eq!(psql(dir, &format!("select pg_terminate_backend({pid})")).await, "t");
            tx.put(table, &2, &2).await
        })
        .await;
    assert_eq!(ended.unwrap_err().sqlstate().as_deref(), Some("57P01"));
    assert_eq!(db.get(table, &1).await.unwrap(), None, "a new session serves the next call");
    // A stop that comes from elsewhere ends the idle sessions too, and close returns.
    db.close().await.unwrap();
    assert!(matches!(db.get(table, &1).await, Err(Error::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_tools_follow_it_while_the_program_writes() {
    let folder = folder();
    let dir = folder.path();
    let db = open(dir).await;
    let table = &db.table::<i64, String>("t").await.unwrap();
    db.sql("select pg_create_physical_replication_slot('log')", &[]).await.unwrap();
    let (writer, written) = (db.clone(), table.clone());
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let mut id = 0;
        while stopped.try_recv().is_err() {
            writer.put(&written, &(id % 500), &format!("round {id}")).await.unwrap();
            id += 1;
        }
        id
    });
    let backup = dir.join("backup").display().to_string();
    tool(dir, "pg_basebackup", &["-D", &backup, "-X", "stream", "-c", "fast"]).await;
    tool(dir, "pg_verifybackup", &[&backup]).await;
    stop.send(()).unwrap();
    assert!(writing.await.unwrap() > 0);
    let end = psql(dir, "select pg_current_wal_flush_lsn()").await;
    // It stops once it has something beyond.
    db.put(table, &1, &"beyond".to_owned()).await.unwrap();
    let wal = dir.join("wal");
    std::fs::create_dir(&wal).unwrap();
    let wal = wal.display().to_string();
    tool(dir, "pg_receivewal", &["-D", &wal, "--slot", "log", "--endpos", &end, "--no-loop"]).await;

    // The backup is a database of its own.
    let copy = Options::new(&backup).open().await.unwrap();
    let rows = copy.sql("select count(*) > 0 from t", &[]).await.unwrap();
    assert_eq!(rows, [[Datum::Bool(true)]]);
    copy.close().await.unwrap();
    db.close().await.unwrap();
}
