//! Storage in pieces: a version into a page, a key's way through the tree, a commit.
//!
//! `cargo bench -p benches --bench storage`; the database lies in a folder under $TMPDIR, so that decides
//! which disk is measured.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark; its groups are made by a macro")]

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use host::Host;
use std::hint::black_box;
use storage::page::Page;
use storage::records::{self, Insert, info};
use storage::{
    CreateOptions, Database, DatabaseOptions, Isolation, LockMode, LockWait, Opened, StartMode, SyncLevel,
    TreeId,
};
use tokio::runtime::Runtime;
use wal::{BlockNumber, Xid};

const ROWS: u32 = 100_000;
const ROWS_A_COMMIT: u32 = 1000;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn key(row: u32) -> [u8; 4] {
    row.to_be_bytes()
}

/// A tree of rows of 100 bytes, in a folder that goes with it.
struct Bench {
    runtime: Runtime,
    db: Database,
    tree: TreeId,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("data");
        let (host, runtime) = (Host::real(), runtime());
        Database::create(&host, &dir, &CreateOptions::default()).unwrap();
        let (db, tree) = runtime.block_on(async {
            let opened = Database::open(&host, DatabaseOptions::new(&dir), StartMode::Primary).unwrap();
            let Opened::Primary { db, .. } = opened else { unreachable!("it was asked for") };
            let mut transaction = db.begin(Isolation::ReadCommitted);
            let tree = transaction.create_tree(5).await.unwrap();
            transaction.commit(SyncLevel::Off).await.unwrap();
            for first in (0..ROWS).step_by(ROWS_A_COMMIT as usize) {
                let mut transaction = db.begin(Isolation::ReadCommitted);
                transaction.begin_statement().await.unwrap();
                for row in first..first + ROWS_A_COMMIT {
                    transaction.put(tree, key(row).to_vec(), vec![b'x'; 100]).unwrap();
                }
                transaction.commit(SyncLevel::Off).await.unwrap();
            }
            (db, tree)
        });
        Self { runtime, db, tree, _folder: folder }
    }

    fn close(self) {
        self.runtime.block_on(self.db.shutdown()).unwrap();
    }
}

/// Fifty versions into an empty leaf, by the function that redo uses too.
fn page_insert(criterion: &mut Criterion) {
    let value = [7; 100];
    let mut empty = Box::new(Page::ZERO);
    empty.init_tree_page(0, BlockNumber::INVALID, b"").unwrap();
    criterion.bench_function("page/fifty inserts", |bencher| {
        bencher.iter_batched_ref(
            || empty.clone(),
            |page| {
                let mut main = Vec::new();
                for row in 0..50 {
                    let key = key(row);
                    let index = page.lower_bound(&key);
                    main.clear();
                    Insert { index, flags: 0, epoch: None, cid: 0, key: &key, value: &value, like: None }
                        .encode(&mut main);
                    records::apply(info::INSERT, 0, page, &main, &[], Xid::new(700)).unwrap();
                }
            },
            BatchSize::SmallInput,
        );
    });
}

/// One row by its key: a snapshot, a descent, the value copied.
fn descent(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut random = fastrand::Rng::with_seed(1);
    criterion.bench_function("tree/get", |bencher| {
        bench.runtime.block_on(async {
            let mut transaction = bench.db.begin(Isolation::ReadCommitted);
            transaction.begin_statement().await.unwrap();
            bencher.iter(|| {
                let key = key(random.u32(..ROWS));
                let mut get = std::pin::pin!(transaction.get(bench.tree, &key));
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                // Everything is in the pool, so it never waits.
                black_box(get.as_mut().poll(&mut context).is_ready());
            });
        });
    });
    bench.close();
}

/// Lock, read, change and commit one row, as an UPDATE does, without and with waiting for the disk.
fn commit(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("commit of one row");
    for level in [SyncLevel::Off, SyncLevel::Local] {
        let mut random = fastrand::Rng::with_seed(2);
        group.bench_function(BenchmarkId::from_parameter(format!("{level:?}")), |bencher| {
            bencher.iter(|| {
                let key = key(random.u32(..ROWS));
                bench.runtime.block_on(async {
                    let mut transaction = bench.db.begin(Isolation::ReadCommitted);
                    transaction.begin_statement().await.unwrap();
                    let (mode, wait) = (LockMode::NoKeyExclusive, LockWait::Forever);
                    let locked = transaction.lock(bench.tree, &key, mode, wait).await.unwrap();
                    let mut value = Vec::from(locked.newest.unwrap());
                    value[50] = value[50].wrapping_add(1);
                    transaction.put(bench.tree, key.to_vec(), Bytes::from(value)).unwrap();
                    transaction.commit(level).await.unwrap();
                });
            });
        });
    }
    group.finish();
    bench.close();
}

criterion_group!(benches, page_insert, descent, commit);
criterion_main!(benches);
