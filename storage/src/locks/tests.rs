use super::strength::Strength;
use super::*;
use crate::{Error, Interrupt, LockMode, LockWait, TableLockMode, TreeId};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

const TREE: TreeId = TreeId::new(5, 16384);

fn manager() -> Arc<LockManager> {
    LockManager::new(Duration::from_millis(20))
}

async fn row(set: &mut LockSet, key: &[u8], mode: LockMode, wait: LockWait) -> Result<Taken, Error> {
    set.take(LockRef::Row(TREE, key), mode.into(), wait, &Interrupt::new()).await
}

/// Polls once: None while it waits.
async fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| match std::pin::Pin::new(&mut *future).poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn row_modes_exclude_each_other_as_postgresql_has_it() {
    use LockMode::*;
    let modes = [Settled, KeyShare, Shared, NoKeyExclusive, Update, Exclusive];
    // But for the first, which looks whether there is a writer.
    let excludes = [
        [0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1, 1],
        [0, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1],
    ];
    for (held, expected) in modes.into_iter().zip(excludes) {
        for (asked, conflict) in modes.into_iter().zip(expected) {
            let manager = manager();
            let (mut first, mut second) = (manager.new_set(0), manager.new_set(0));
            row(&mut first, b"k", held, LockWait::NoWait).await.unwrap();
            let taken = row(&mut second, b"k", asked, LockWait::NoWait).await;
            assert_eq!(taken.is_err(), conflict == 1, "{asked:?} while {held:?} is held");
        }
    }
}

#[tokio::test]
async fn table_modes_exclude_each_other_as_postgresql_has_it() {
    use TableLockMode::*;
    let modes = [
        AccessShare,
        RowShare,
        RowExclusive,
        ShareUpdateExclusive,
        Share,
        ShareRowExclusive,
        Exclusive,
        AccessExclusive,
    ];
    // A row a mode, as the manual's table of conflicting lock modes.
    let excludes = [
        [0, 0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 1, 1, 1, 1, 1],
        [0, 0, 1, 1, 0, 1, 1, 1],
        [0, 0, 1, 1, 1, 1, 1, 1],
        [0, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 1, 1],
    ];
    for (held, expected) in modes.into_iter().zip(excludes) {
        for (asked, conflict) in modes.into_iter().zip(expected) {
            let (held_strength, asked_strength) = (Strength::from(held), Strength::from(asked));
            let found = held_strength.bit & asked_strength.excludes != 0;
            assert_eq!(found, conflict == 1, "{asked:?} while {held:?} is held");
        }
    }
}

#[tokio::test]
async fn waiters_are_served_in_order_of_arrival() {
    let manager = manager();
    let (mut a, mut b, mut c) = (manager.new_set(0), manager.new_set(0), manager.new_set(0));
    row(&mut a, b"k", LockMode::Shared, LockWait::Forever).await.unwrap();
    let mut writer = Box::pin(row(&mut b, b"k", LockMode::Exclusive, LockWait::Forever));
    assert!(poll(&mut writer).await.is_none());
    let mut reader = Box::pin(row(&mut c, b"k", LockMode::Shared, LockWait::Forever));
    assert!(poll(&mut reader).await.is_none(), "a reader does not overtake the writer that waits");
    drop(a);
    assert!(matches!(poll(&mut writer).await, Some(Ok(Taken::Yes))));
    assert!(poll(&mut reader).await.is_none());
    drop(writer);
    drop(b);
    reader.await.unwrap();
    drop(c);
    assert_eq!(manager.count(), 0);
}

#[tokio::test]
async fn who_excludes_nobody_before_him_does_not_wait_for_them() {
    use TableLockMode::*;
    let manager = manager();
    let [mut holder, mut writer, mut indexer, mut reader] = [(); 4].map(|()| manager.new_set(0));
    let interrupt = Interrupt::new();
    let take = |set: &mut LockSet, mode: TableLockMode| {
        let (interrupt, mut set) = (interrupt.clone(), std::mem::replace(set, manager.new_set(0)));
        Box::pin(async move {
            set.take(LockRef::Table(TREE), mode.into(), LockWait::Forever, &interrupt).await.map(|_| set)
        })
    };
    let held = take(&mut holder, AccessExclusive).await.unwrap();
    let mut writes = take(&mut writer, RowExclusive);
    let mut indexes = take(&mut indexer, Share);
    let mut reads = take(&mut reader, AccessShare);
    assert!(poll(&mut writes).await.is_none());
    assert!(poll(&mut indexes).await.is_none());
    assert!(poll(&mut reads).await.is_none());
    drop(held);
    let written = poll(&mut writes).await.unwrap().unwrap();
    assert!(poll(&mut indexes).await.is_none(), "a writer keeps it waiting");
    assert!(poll(&mut reads).await.is_some(), "nobody keeps a reader waiting");
    drop(written);
    assert!(poll(&mut indexes).await.is_some());
}

#[tokio::test]
async fn a_dropped_wait_leaves_the_queue_and_lets_the_next_in() {
    let manager = manager();
    let (mut a, mut b, mut c) = (manager.new_set(0), manager.new_set(0), manager.new_set(0));
    row(&mut a, b"k", LockMode::Shared, LockWait::Forever).await.unwrap();
    let mut writer = Box::pin(row(&mut b, b"k", LockMode::Exclusive, LockWait::Forever));
    assert!(poll(&mut writer).await.is_none());
    let mut reader = Box::pin(row(&mut c, b"k", LockMode::Shared, LockWait::Forever));
    assert!(poll(&mut reader).await.is_none());
    drop(writer);
    reader.await.unwrap();
    // Granted, but dropped before it heard of it.
    let mut late = Box::pin(row(&mut b, b"k", LockMode::Exclusive, LockWait::Forever));
    assert!(poll(&mut late).await.is_none());
    drop((a, c));
    drop(late);
    drop(b);
    assert_eq!(manager.count(), 0);
}

#[tokio::test]
async fn a_cycle_of_waits_has_one_victim() {
    let manager = manager();
    let (mut a, mut b) = (manager.new_set(0), manager.new_set(0));
    row(&mut a, b"1", LockMode::Exclusive, LockWait::Forever).await.unwrap();
    row(&mut b, b"2", LockMode::Exclusive, LockWait::Forever).await.unwrap();
    let first =
        tokio::spawn(async move { (row(&mut a, b"2", LockMode::Exclusive, LockWait::Forever).await, a).0 });
    let second = row(&mut b, b"1", LockMode::Exclusive, LockWait::Forever).await;
    drop(b);
    let first = first.await.unwrap();
    let victims = [&first, &second].into_iter().filter(|taken| matches!(taken, Err(Error::Deadlock { .. })));
    assert_eq!(victims.count(), 1, "{first:?} {second:?}");
    assert_eq!(manager.count(), 0);
}

#[tokio::test]
async fn who_gives_up_frees_the_others_at_once() {
    let manager = manager();
    let (mut a, mut b) = (manager.new_set(0), manager.new_set(0));
    let owners = [a.owner, b.owner];
    row(&mut a, b"1", LockMode::Exclusive, LockWait::Forever).await.unwrap();
    row(&mut b, b"2", LockMode::Exclusive, LockWait::Forever).await.unwrap();
    let mut first = Box::pin(row(&mut a, b"2", LockMode::Exclusive, LockWait::Forever));
    let mut second = Box::pin(row(&mut b, b"1", LockMode::Exclusive, LockWait::Forever));
    assert!(poll(&mut first).await.is_none() && poll(&mut second).await.is_none());
    // Both look before the one that gave up has left its queue.
    let victims = owners.map(|owner| manager.give_up(owner).is_some());
    assert_eq!(victims, [true, false]);
}

#[tokio::test]
async fn a_place_that_comes_to_who_has_left_is_told_of() {
    let manager = manager();
    let (mut a, mut b) = (manager.new_set(0), manager.new_set(0));
    let (place, mode, interrupt) = (LockRef::Place(1), LockMode::Exclusive, Interrupt::new());
    a.take(place, mode.into(), LockWait::NoWait, &interrupt).await.unwrap();
    let mut waiting = Box::pin(b.take(place, mode.into(), LockWait::Forever, &interrupt));
    assert!(poll(&mut waiting).await.is_none());
    drop(a);
    let mut freed = Box::pin(manager.place_freed().notified());
    assert!(poll(&mut freed).await.is_none());
    drop(waiting);
    assert!(poll(&mut freed).await.is_some());
}

#[tokio::test]
async fn two_readers_that_both_want_to_write_are_a_deadlock() {
    let manager = manager();
    let (mut a, mut b) = (manager.new_set(0), manager.new_set(0));
    row(&mut a, b"1", LockMode::Shared, LockWait::Forever).await.unwrap();
    row(&mut b, b"1", LockMode::Shared, LockWait::Forever).await.unwrap();
    let first = tokio::spawn(async move { row(&mut a, b"1", LockMode::Exclusive, LockWait::Forever).await });
    let second = row(&mut b, b"1", LockMode::Exclusive, LockWait::Forever).await;
    drop(b);
    let first = first.await.unwrap();
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
}

#[tokio::test]
async fn timeouts_nowait_skip_and_cancel_end_a_wait_each_in_its_way() {
    let manager = manager();
    let (mut a, mut b) = (manager.new_set(0), manager.new_set(0));
    row(&mut a, b"k", LockMode::Exclusive, LockWait::Forever).await.unwrap();
    let short = LockWait::AtMost(Duration::from_millis(5));
    let timed_out = row(&mut b, b"k", LockMode::Shared, short).await;
    assert!(matches!(timed_out, Err(Error::LockNotAvailable { timed_out: true })));
    let refused = row(&mut b, b"k", LockMode::Shared, LockWait::NoWait).await;
    assert!(matches!(refused, Err(Error::LockNotAvailable { timed_out: false })));
    assert_eq!(row(&mut b, b"k", LockMode::Shared, LockWait::Skip).await.unwrap(), Taken::Skipped);
    let interrupt = Interrupt::new();
    let switch = interrupt.clone();
    let waiting = b.take(LockRef::Row(TREE, b"k"), LockMode::Shared.into(), LockWait::Forever, &interrupt);
    let (cancelled, ()) = tokio::join!(waiting, async move { switch.cancel() });
    assert!(matches!(cancelled, Err(Error::Cancelled)));
    drop(a);
    row(&mut b, b"k", LockMode::Exclusive, LockWait::NoWait).await.unwrap();
}

#[tokio::test]
async fn a_row_is_free_for_all_but_those_who_meet_another_holder() {
    let manager = manager();
    let (mut a, b) = (manager.new_set(0), manager.new_set(0));
    assert!(b.are_rows_free());
    a.take(LockRef::Table(TREE), LockMode::Exclusive.into(), LockWait::NoWait, &Interrupt::new())
        .await
        .unwrap();
    assert!(b.are_rows_free(), "a table is no row");
    row(&mut a, b"k", LockMode::KeyShare, LockWait::NoWait).await.unwrap();
    assert!(!b.are_rows_free() && !b.is_free(TREE, b"k") && b.is_free(TREE, b"l"));
    assert!(a.is_free(TREE, b"k"), "one's own lock is in nobody's way");
    drop(a);
    assert!(b.are_rows_free() && b.is_free(TREE, b"k"));
}

#[tokio::test]
async fn a_savepoint_gives_back_what_was_taken_after_it_and_no_more() {
    let manager = manager();
    let (mut a, mut b) = (manager.new_set(0), manager.new_set(0));
    row(&mut a, b"k", LockMode::Shared, LockWait::Forever).await.unwrap();
    let mark = a.mark();
    row(&mut a, b"k", LockMode::Exclusive, LockWait::Forever).await.unwrap();
    row(&mut a, b"l", LockMode::Exclusive, LockWait::Forever).await.unwrap();
    assert!(row(&mut b, b"k", LockMode::Shared, LockWait::NoWait).await.is_err());
    a.release_after(mark);
    row(&mut b, b"k", LockMode::Shared, LockWait::NoWait).await.unwrap();
    row(&mut b, b"l", LockMode::Exclusive, LockWait::NoWait).await.unwrap();
    assert!(row(&mut b, b"k", LockMode::Exclusive, LockWait::NoWait).await.is_err());
}
