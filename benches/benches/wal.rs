//! The log's hot path in pieces: checksum, encoding, insertion, and commits that wait for the disk.
//!
//! `cargo bench -p benches --bench wal`; the commits write to a folder under $TMPDIR, so that decides which
//! disk is measured.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark; its groups are made by a macro")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use host::Host;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};
use wal::crc::crc32c;
use wal::{
    BlockNumber, BlockRef, EncodedRecord, Fork, Lsn, RecordBuilder, RelFile, Rmgr, SegmentSize, SystemId,
    TimelineId, WalWriter, WriteStart, WriterConfig,
};

/// A writer on the real disk in a new log.
fn open(dir: &Path, fsync: bool) -> WalWriter {
    let config = WriterConfig { fsync, ..WriterConfig::new(SystemId::new(1), TimelineId::FIRST) };
    let start = WriteStart {
        insert_at: Lsn::new(SegmentSize::DEFAULT.bytes()),
        previous: Lsn::INVALID,
        overwrites_contrecord: false,
        forked_from: None,
    };
    WalWriter::open(&Host::real(), dir, config, start).unwrap()
}

fn builder(data: &[u8]) -> RecordBuilder<'_> {
    let block = BlockRef {
        id: 0,
        rel: RelFile::new(5, 16384),
        fork: Fork::Main,
        block: BlockNumber::new(7),
        will_init: false,
        image: None,
        data,
    };
    RecordBuilder::new(Rmgr::ENGINE, 0x10, 700).block(block)
}

fn record(len: usize) -> EncodedRecord {
    builder(&vec![7; len]).encode().unwrap()
}

fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crc32c");
    for len in [200, 8192] {
        let bytes = vec![7_u8; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_with_input(BenchmarkId::from_parameter(len), &bytes, |bencher, bytes| {
            bencher.iter(|| crc32c(black_box(bytes)));
        });
    }
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for len in [150, 4000] {
        let data = vec![7; len];
        let mut into = EncodedRecord::default();
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_with_input(BenchmarkId::from_parameter(len), &data, |bencher, data| {
            bencher.iter(|| builder(black_box(data)).encode_into(&mut into).unwrap());
        });
    }
}

/// Segments that are behind the log go, so that a long run does not fill the disk.
fn tidy(wal: &WalWriter) {
    let horizon = wal.segment_size().segment_of(wal.positions().flushed());
    let recycle_before = wal::SegmentNumber::new(horizon.get() + 8);
    wal.remove_old_segments(
        wal::Retention { horizon, recycle_before, kept: wal::KeptLog::AS_IT_IS },
        &mut |_| wal::SegmentFate::Reusable,
    )
    .unwrap();
}

fn insert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("insert");
    for (name, len) in [("one of 200", 150), ("one of 8000", 7950)] {
        let dir = tempfile::tempdir().unwrap();
        let wal = open(dir.path(), false);
        let mut record = record(len);
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for round in 0..rounds {
                    let started = Instant::now();
                    wal.insert(black_box(&mut record)).unwrap();
                    spent += started.elapsed();
                    if round % 20_000 == 19_999 {
                        wal.flush_all().unwrap();
                        tidy(&wal);
                    }
                }
                spent
            });
        });
    }
}

/// Commits of 200 bytes that wait for the disk, from so many sessions on two worker threads; the time is that
/// of one commit in the whole, so 1 / time is commits a second.
fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group.measurement_time(Duration::from_secs(3)).sample_size(10);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for sessions in [1_u64, 2, 8, 32] {
        let dir = tempfile::tempdir().unwrap();
        let wal = open(dir.path(), true);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("sessions", sessions), |bencher| {
            bencher.iter_custom(|rounds| {
                let started = Instant::now();
                runtime.block_on(async {
                    let mut tasks = tokio::task::JoinSet::new();
                    for session in 0..sessions {
                        let wal = wal.clone();
                        let mine = rounds / sessions + u64::from(session < rounds % sessions);
                        tasks.spawn(async move {
                            let mut record = record(150);
                            for _ in 0..mine {
                                let place = wal.insert(&mut record).unwrap();
                                wal.flush_async(place.end).await.unwrap();
                            }
                        });
                    }
                    while tasks.join_next().await.transpose().unwrap().is_some() {}
                });
                started.elapsed()
            });
        });
        let stats = wal.stats();
        println!("commits a sync: {:.2}", stats.records as f64 / stats.syncs as f64);
        tidy(&wal);
    }
}

criterion_group!(benches, checksum, encode, insert, commit);
criterion_main!(benches);
