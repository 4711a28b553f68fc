//! What stays in the pool while much goes through it, and who writes.

use crate::changes::store::{Fault, NewVersion, Store};
use crate::pages::pool::{PageKey, Ring};
use crate::testing::{Bench, TREE, bench};
use crate::tree::{Batch, Prepared, Tree};
use crate::{Direction, Error, Interrupt, KeyRange, TreeId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use wal::{BlockNumber, Lsn, Xid};

const OTHER: TreeId = TreeId::new(5, 16_385);

fn fill(store: &Store, tree: &Tree, rows: u32) {
    for number in 0..rows {
        let mut writer = store.writer();
        writer.allow_io(true);
        writer.set_xid(Xid::new(3));
        let version = NewVersion { cid: 0, value: Some(&[1; 100]) };
        writer.insert_version(tree, &mut Prepared::new(), &number.to_be_bytes(), version).unwrap();
    }
}

/// A tree of about 100 pages, one of about 1000, and a pool of 256.
fn two_trees() -> (Bench, Tree, Tree) {
    let bench = bench(256);
    bench.store.writer().create_tree(OTHER).unwrap();
    let (small, large) = (bench.store.tree(TREE).unwrap(), bench.store.tree(OTHER).unwrap());
    fill(&bench.store, &small, 6000);
    fill(&bench.store, &large, 60_000);
    bench.store.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
    (bench, small, large)
}

fn read_all(store: &Store, tree: &Tree, rows: u32) {
    for number in 0..rows {
        let found = store.run_blocking(|| tree.lookup(&number.to_be_bytes(), |_| true, &mut Vec::new()));
        assert!(found.unwrap().is_some());
    }
}

fn scan_all(store: &Store, tree: &Tree, ring: Option<&Ring>) {
    let mut scan = tree.scan(KeyRange::all(), Direction::Forward);
    let mut batch = Batch::default();
    while store.run_blocking_in(ring, || scan.next_batch(|_| true, 50, 1 << 16, &mut batch)).unwrap() {
        batch.clear();
    }
}

#[test]
fn a_scan_of_much_leaves_in_the_pool_what_others_use() {
    let (bench, small, large) = two_trees();
    let store = &bench.store;
    read_all(store, &small, 6000);
    let before = store.counters().reads;
    assert!(large.is_large());
    for _ in 0..3 {
        scan_all(store, &large.gently(), Some(&Ring::new()));
    }
    let scanned = store.counters().reads;
    assert!(scanned - before >= 3 * 900, "{} pages read by the scans", scanned - before);
    read_all(store, &small, 6000);
    assert_eq!(store.counters().reads, scanned, "the small tree was still there");
    // So that the test can fail: a scan that is not known as one pushes it out.
    scan_all(store, &large, None);
    let scanned = store.counters().reads;
    read_all(store, &small, 6000);
    assert!(store.counters().reads > scanned);
}

#[test]
fn the_background_writer_leaves_frames_that_can_be_taken_without_a_write() {
    let (bench, small, large) = two_trees();
    let store = &bench.store;
    fill(store, &small, 3000);
    let dirty = store.counters();
    let mut written = 0;
    for _ in 0..8 {
        // The clock's hand moves on as frames are taken; the first round finds pages in use.
        scan_all(store, &large.gently(), Some(&Ring::new()));
        written += store.pool().write_ahead(64, 1000).unwrap();
    }
    let after = store.counters();
    assert_eq!(after.background_writes - dirty.background_writes, written as u64);
    assert_eq!(store.pool().write_ahead(64, 1000).unwrap(), 0, "what is ready needs no second write");
    let before = store.counters().writes;
    let frames: Vec<_> = (0..64).map_while(|_| store.pool().set_aside().unwrap()).collect();
    assert_eq!(frames.len(), 64, "so many frames are free without a write");
    assert_eq!(store.counters().writes, before);
}

#[test]
fn pages_written_behind_a_load_are_the_next_to_leave_and_others_stay() {
    let (bench, small, large) = two_trees();
    let (store, pool) = (&bench.store, bench.store.pool());
    for number in 60_000..63_000_u32 {
        let mut writer = store.writer();
        writer.allow_io(true);
        writer.set_xid(Xid::new(3));
        let version = NewVersion { cid: 0, value: Some(&[1; 100]) };
        writer.insert_version(&large, &mut Prepared::new(), &number.to_be_bytes(), version).unwrap();
    }
    read_all(store, &small, 6000);
    let (before, end) = (store.counters(), large.page_count());
    let written = pool.write_behind(OTHER.file(), end - 40..end).unwrap();
    assert!(written >= 40, "{written}");
    assert_eq!(store.counters().writes - before.writes, written as u64);
    assert_eq!(pool.write_behind(OTHER.file(), end - 40..end).unwrap(), 0, "nothing is written twice");
    let frames: Vec<_> = (0..40).map_while(|_| pool.set_aside().unwrap()).collect();
    assert_eq!(frames.len(), 40);
    read_all(store, &small, 6000);
    let after = store.counters();
    assert_eq!((after.writes - before.writes, after.reads), (written as u64, before.reads));
}

#[test]
fn a_change_that_needs_many_frames_is_prepared_although_all_hold_changed_pages() {
    let (bench, small, large) = two_trees();
    let store = &bench.store;
    fill(store, &large, 60_000);
    let mut prepared = Prepared::new();
    store.run_blocking(|| small.prepare(b"key", 80_000, &mut prepared)).unwrap();
    assert!(prepared.holds_pages());
}

/// How far the operations are that [`hold_pages`] runs.
#[derive(Default)]
struct Progress {
    /// Those that had all their pages at once.
    complete: AtomicUsize,
    may_end: AtomicBool,
}

/// An operation that needs these pages all at once, and does not end before it may, or is ended.
async fn hold_pages(
    store: Store,
    progress: Arc<Progress>,
    blocks: std::ops::Range<u32>,
    interrupt: Interrupt,
) -> Result<(), Error> {
    let tree = store.tree(TREE).unwrap();
    let mut is_complete = false;
    let operation = || {
        let keys = blocks.clone().map(|block| PageKey::new(tree.relation().id(), BlockNumber::new(block)));
        let pins: Result<Vec<_>, _> = keys.map(|key| store.pool().pin(key).ok_or(Fault::Miss(key))).collect();
        pins?;
        progress
            .complete
            .fetch_add(usize::from(!std::mem::replace(&mut is_complete, true)), Ordering::Relaxed);
        if progress.may_end.load(Ordering::Relaxed) { Ok(()) } else { Err(Fault::Pause) }
    };
    store.run_until(&interrupt, None, operation).await
}

#[test]
fn operations_that_wait_for_their_thread_leave_frames_to_who_writes_in_place() {
    const OPERATIONS: u32 = 32;
    let bench = bench(128);
    let (store, tree) = (&bench.store, bench.store.tree(TREE).unwrap());
    fill(store, &tree, 60_000);
    assert!(tree.page_count() > 12 * (OPERATIONS + 2));
    let progress = Arc::new(Progress::default());
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        let mut operations = tokio::task::JoinSet::new();
        let begin = |number: u32, interrupt: &Interrupt| {
            let first = 20 + 12 * number;
            hold_pages(store.clone(), progress.clone(), first..first + 12, interrupt.clone())
        };
        for number in 0..OPERATIONS {
            operations.spawn(begin(number, &Interrupt::new()));
        }
        let mut turns = 0;
        while turns < 3000 || progress.complete.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
            turns += 1;
        }
        // One more waits for its turn, which does not come.
        let interrupt = Interrupt::new();
        let ended = tokio::spawn(begin(OPERATIONS, &interrupt));
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        interrupt.cancel();
        assert!(matches!(ended.await.unwrap(), Err(Error::Cancelled)));
        // None of them runs until this is through.
        fill(store, &tree, 100);
        progress.may_end.store(true, Ordering::Relaxed);
        while let Some(ended) = operations.join_next().await {
            ended.unwrap().unwrap();
        }
    });
    assert_eq!(progress.complete.load(Ordering::Relaxed), OPERATIONS as usize);
}
