//! The anomalies of Hermitage's list, each as READ COMMITTED and REPEATABLE READ have it in PostgreSQL.

use super::*;
use Isolation::{ReadCommitted, RepeatableRead};
use sqlstate::SqlState;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Two accounts, as the list has them.
async fn accounts() -> (VirtualDisk, Database, TreeId) {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("1", "10"), ("2", "20")], SyncLevel::Off).await;
    (disk, db, tree)
}

/// Whether a future has to wait.
macro_rules! waits {
    ($future:expr) => {
        matches!($future.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
    };
}

async fn commit(transaction: Transaction) {
    transaction.commit(SyncLevel::Off).await.unwrap();
}

/// The next statement of a transaction reads `key`.
async fn next_read(transaction: &mut Transaction, tree: TreeId, key: &str) -> Option<String> {
    transaction.begin_statement().await.unwrap();
    get(transaction, tree, key).await
}

#[tokio::test]
async fn g0_writes_of_two_transactions_are_not_interleaved() {
    let (_disk, db, tree) = accounts().await;
    let mut first = statement(&db, ReadCommitted).await;
    let mut second = statement(&db, ReadCommitted).await;
    put(&mut first, tree, "1", "11").await.unwrap();
    {
        let mut blocked = pin!(put(&mut second, tree, "1", "12"));
        assert!(waits!(blocked));
        put(&mut first, tree, "2", "21").await.unwrap();
        commit(first).await;
        let locked = blocked.await.unwrap();
        assert!(locked.changed_since_snapshot);
        assert_eq!(text(locked.newest).as_deref(), Some("11"), "it goes on from the newest version");
    }
    put(&mut second, tree, "2", "22").await.unwrap();
    commit(second).await;
    assert_eq!(read(&db, tree, "1").await.as_deref(), Some("12"));
    assert_eq!(read(&db, tree, "2").await.as_deref(), Some("22"));
}

#[tokio::test]
async fn g1a_g1b_g1c_nobody_reads_aborted_intermediate_or_circular_values() {
    let (_disk, db, tree) = accounts().await;
    let mut writer = statement(&db, ReadCommitted).await;
    let mut other = statement(&db, ReadCommitted).await;
    put(&mut writer, tree, "1", "101").await.unwrap();
    assert_eq!(next_read(&mut other, tree, "1").await.as_deref(), Some("10"));
    writer.begin_statement().await.unwrap();
    put(&mut writer, tree, "1", "11").await.unwrap();
    put(&mut other, tree, "2", "22").await.unwrap();
    assert_eq!(next_read(&mut writer, tree, "2").await.as_deref(), Some("20"));
    assert_eq!(next_read(&mut other, tree, "1").await.as_deref(), Some("10"));
    writer.rollback();
    assert_eq!(next_read(&mut other, tree, "1").await.as_deref(), Some("10"));
    commit(other).await;
    assert_eq!(read(&db, tree, "2").await.as_deref(), Some("22"));
}

#[tokio::test]
async fn otv_an_observed_transaction_does_not_vanish() {
    let (_disk, db, tree) = accounts().await;
    let mut first = statement(&db, ReadCommitted).await;
    let mut second = statement(&db, ReadCommitted).await;
    let mut observer = statement(&db, ReadCommitted).await;
    put(&mut first, tree, "1", "11").await.unwrap();
    put(&mut first, tree, "2", "19").await.unwrap();
    {
        let mut blocked = pin!(put(&mut second, tree, "1", "12"));
        assert!(waits!(blocked));
        commit(first).await;
        blocked.await.unwrap();
    }
    assert_eq!(next_read(&mut observer, tree, "1").await.as_deref(), Some("11"));
    put(&mut second, tree, "2", "18").await.unwrap();
    assert_eq!(next_read(&mut observer, tree, "2").await.as_deref(), Some("19"));
    commit(second).await;
    assert_eq!(next_read(&mut observer, tree, "2").await.as_deref(), Some("18"));
    assert_eq!(next_read(&mut observer, tree, "1").await.as_deref(), Some("12"));
}

#[tokio::test]
async fn pmp_a_repeated_scan_finds_new_rows_only_under_read_committed() {
    for (isolation, expected) in [(ReadCommitted, 3), (RepeatableRead, 2)] {
        let (_disk, db, tree) = accounts().await;
        let mut reader = statement(&db, isolation).await;
        assert_eq!(rows(&reader, tree, crate::Direction::Forward).await.len(), 2);
        write(&db, tree, &[("3", "30")], SyncLevel::Off).await;
        reader.begin_statement().await.unwrap();
        assert_eq!(rows(&reader, tree, crate::Direction::Forward).await.len(), expected, "{isolation:?}");
    }
}

#[tokio::test]
async fn p4_a_lost_update_is_told_or_refused() {
    for isolation in [ReadCommitted, RepeatableRead] {
        let (_disk, db, tree) = accounts().await;
        let mut first = statement(&db, isolation).await;
        let mut second = statement(&db, isolation).await;
        assert_eq!(get(&first, tree, "1").await, get(&second, tree, "1").await);
        put(&mut first, tree, "1", "11").await.unwrap();
        let mut blocked = pin!(lock(&mut second, tree, "1"));
        assert!(waits!(blocked));
        commit(first).await;
        match blocked.await {
            Ok(locked) if isolation == ReadCommitted => {
                assert!(locked.changed_since_snapshot);
                assert_eq!(text(locked.newest).as_deref(), Some("11"));
            }
            Err(error) if isolation == RepeatableRead => assert_eq!(error.sqlstate().as_str(), "40001"),
            other => panic!("{isolation:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn g_single_read_skew_is_seen_only_under_read_committed() {
    for (isolation, expected) in [(ReadCommitted, "18"), (RepeatableRead, "20")] {
        let (_disk, db, tree) = accounts().await;
        let mut reader = statement(&db, isolation).await;
        assert_eq!(get(&reader, tree, "1").await.as_deref(), Some("10"));
        write(&db, tree, &[("1", "12"), ("2", "18")], SyncLevel::Off).await;
        assert_eq!(next_read(&mut reader, tree, "2").await.as_deref(), Some(expected), "{isolation:?}");
    }
}

#[tokio::test]
async fn g2_item_write_skew_is_allowed_under_repeatable_read() {
    let (_disk, db, tree) = accounts().await;
    let mut first = statement(&db, RepeatableRead).await;
    let mut second = statement(&db, RepeatableRead).await;
    assert_eq!(get(&first, tree, "2").await.as_deref(), Some("20"));
    assert_eq!(get(&second, tree, "1").await.as_deref(), Some("10"));
    put(&mut first, tree, "1", "11").await.unwrap();
    put(&mut second, tree, "2", "21").await.unwrap();
    commit(first).await;
    commit(second).await;
}

#[tokio::test]
async fn a_row_deleted_after_the_snapshot_is_told_apart_from_one_that_never_was() {
    let (_disk, db, tree) = accounts().await;
    let mut old = statement(&db, RepeatableRead).await;
    let mut newer = statement(&db, ReadCommitted).await;
    let mut deleting = statement(&db, ReadCommitted).await;
    lock(&mut deleting, tree, "1").await.unwrap();
    deleting.delete(tree, "1").unwrap();
    commit(deleting).await;
    let locked = lock(&mut newer, tree, "1").await.unwrap();
    assert!(locked.changed_since_snapshot && locked.newest.is_none());
    drop(newer);
    assert_eq!(get(&old, tree, "1").await.as_deref(), Some("10"));
    assert_eq!(lock(&mut old, tree, "1").await.unwrap_err().sqlstate().as_str(), "40001");
    let absent = lock(&mut old, tree, "9").await.unwrap();
    assert_eq!(absent, Locked::default());
}

#[tokio::test]
async fn a_statement_is_told_when_it_meets_its_own_write() {
    let (_disk, db, tree) = accounts().await;
    let mut own = statement(&db, ReadCommitted).await;
    put(&mut own, tree, "1", "11").await.unwrap();
    assert!(lock(&mut own, tree, "1").await.unwrap().written_since_read);
    own.begin_statement().await.unwrap();
    let later = lock(&mut own, tree, "1").await.unwrap();
    assert!(!later.written_since_read && !later.changed_since_snapshot);
    assert_eq!(text(later.newest).as_deref(), Some("11"));
}

#[tokio::test]
async fn a_deadlock_over_two_rows_has_one_victim_and_the_other_commits() {
    let (_disk, db, tree) = accounts().await;
    let run = |db: Database, own: &'static str, other: &'static str| async move {
        let mut transaction = statement(&db, ReadCommitted).await;
        put(&mut transaction, tree, own, "x").await?;
        tokio::task::yield_now().await;
        put(&mut transaction, tree, other, "x").await?;
        transaction.commit(SyncLevel::Off).await
    };
    let (first, second) =
        tokio::join!(tokio::spawn(run(db.clone(), "1", "2")), tokio::spawn(run(db.clone(), "2", "1")));
    let outcomes = [first.unwrap(), second.unwrap()];
    let states: Vec<_> =
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err().map(Error::sqlstate)).collect();
    assert_eq!(states, [SqlState::DEADLOCK_DETECTED]);
    assert_eq!(read(&db, tree, "1").await.as_deref(), Some("x"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_of_many_sessions_keep_the_sum() {
    transfers(false).await;
    transfers(true).await;
}

/// `background`: the log flushes on threads of its own.
async fn transfers(background: bool) {
    const ACCOUNTS: u64 = 8;
    let (disk, db, tree) = with_tree().await;
    drop(db);
    let (db, _) = try_open(&disk, DatabaseOptions { background, ..options() }).unwrap();
    let keys: Vec<String> = (0..ACCOUNTS).map(|account| account.to_string()).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (key.as_str(), "100")).collect();
    write(&db, tree, &pairs, SyncLevel::Off).await;
    let sessions: Vec<_> = (0..8_u64)
        .map(|session| {
            let db = db.clone();
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(session);
                let mut done = 0;
                while done < 200 {
                    let mut transaction = statement(&db, ReadCommitted).await;
                    let (from, to) = (random.u64(..ACCOUNTS), random.u64(..ACCOUNTS));
                    let moved = transfer(&mut transaction, tree, from, to, random.i64(1..9)).await;
                    match moved {
                        Ok(()) => {
                            let level = if random.bool() { SyncLevel::Off } else { SyncLevel::Local };
                            transaction.commit(level).await.unwrap();
                            done += 1;
                        }
                        Err(error) => assert_eq!(error.sqlstate().as_str(), "40P01"),
                    }
                }
            })
        })
        .collect();
    for session in sessions {
        session.await.unwrap();
    }
    let all = statement(&db, RepeatableRead).await;
    let sum: i64 = rows(&all, tree, crate::Direction::Forward)
        .await
        .iter()
        .map(|(_, value)| value.parse::<i64>().unwrap())
        .sum();
    assert_eq!(sum, 100 * ACCOUNTS as i64);
    db.store().tree(tree).unwrap().verify().unwrap();
}

/// Moves an amount between two rows, reading each under its lock.
pub(super) async fn transfer(
    transaction: &mut Transaction,
    tree: TreeId,
    from: u64,
    to: u64,
    amount: i64,
) -> Result<(), Error> {
    for (account, change) in [(from, -amount), (to, amount)] {
        let key = account.to_string();
        let locked = lock(transaction, tree, &key).await?;
        let balance: i64 = text(locked.newest).unwrap().parse().unwrap();
        transaction.put(tree, key, (balance + change).to_string())?;
    }
    Ok(())
}
