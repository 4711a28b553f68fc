//! A rough measure; run by hand in release with --ignored --nocapture.

use super::Run;
use crate::changes::store::NewVersion;
use crate::tree::{Batch, Prepared};
use crate::{Direction, KeyRange};
use std::time::Instant;
use wal::Xid;

#[test]
#[ignore = "a measurement, for release builds"]
fn descent_insert_and_scan() {
    const ROWS: u32 = 200_000;
    let mut run = Run::new(16384, 1);
    run.bench.log.forget_records();
    let key_of = |number: u32| u64::from(number.wrapping_mul(0x9E37_79B1)).to_be_bytes();
    let began = Instant::now();
    {
        let mut writer = run.bench.store.writer();
        writer.allow_io(true);
        for number in 0..ROWS {
            writer.set_xid(Xid::new(3 + u64::from(number)));
            let version = NewVersion { cid: 0, value: Some(&[7; 80]) };
            writer.insert_version(&run.tree, &mut Prepared::new(), &key_of(number), version).unwrap();
        }
    }
    println!("insert, random keys: {:?} each", began.elapsed() / ROWS);
    run.xid = 3 + u64::from(ROWS);
    let began = Instant::now();
    {
        let mut writer = run.bench.store.writer();
        writer.allow_io(true);
        for number in 0..ROWS {
            writer.set_xid(Xid::new(run.xid));
            writer.set_horizon(Xid::new(run.xid));
            run.xid += 1;
            let version = NewVersion { cid: 0, value: Some(&[8; 80]) };
            let key = key_of(number.wrapping_mul(7919) % ROWS);
            writer.insert_version(&run.tree, &mut Prepared::new(), &key, version).unwrap();
        }
    }
    println!("update, random keys: {:?} each, {} pages", began.elapsed() / ROWS, run.tree.page_count());
    let mut value = Vec::new();
    let began = Instant::now();
    for number in 0..ROWS {
        value.clear();
        let key = key_of(number.wrapping_mul(7919) % ROWS);
        assert!(run.tree.lookup(&key, |_| true, &mut value).unwrap().is_some());
    }
    println!("lookup: {:?} each", began.elapsed() / ROWS);
    let began = Instant::now();
    let mut prepared = Prepared::new();
    for number in 0..ROWS {
        let key = key_of(number.wrapping_mul(7919) % ROWS);
        run.tree.prepare(&key, 80, &mut prepared).unwrap();
    }
    println!("prepare: {:?} each", began.elapsed() / ROWS);
    let mut scan = run.tree.scan(KeyRange::all(), Direction::Forward);
    let (mut batch, mut rows) = (Batch::default(), 0);
    let began = Instant::now();
    while scan.next_batch(|_| true, 1000, 1 << 20, &mut batch).unwrap() {
        rows += batch.len() as u32;
        batch.clear();
    }
    println!("scan: {:?} a row", began.elapsed() / (rows + batch.len() as u32));
}

#[test]
#[ignore = "a measurement, for release builds"]
fn memory_stays_near_the_pool_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("base/5")).unwrap();
    let options = crate::changes::store::StoreOptions {
        dir: folder.path().into(),
        frames: 8192,
        checksums: true,
        full_page_writes: true,
    };
    let store = crate::changes::store::Store::open(&host::Host::real(), options).unwrap();
    let log = crate::testing::MemoryLog::new();
    log.forget_records();
    store.set_log(log.clone());
    store.set_barrier(log);
    let mut writer = store.writer();
    writer.allow_io(true);
    writer.create_tree(crate::testing::TREE).unwrap();
    let tree = store.tree(crate::testing::TREE).unwrap();
    let began = Instant::now();
    const ROWS: u32 = 1_500_000;
    for number in 0..ROWS {
        writer.set_xid(Xid::new(3 + u64::from(number)));
        let version = NewVersion { cid: 0, value: Some(&[7; 80]) };
        let key = u64::from(number.wrapping_mul(0x9E37_79B1)).to_be_bytes();
        writer.insert_version(&tree, &mut Prepared::new(), &key, version).unwrap();
    }
    drop(writer);
    println!("{:?} an insert, {} pages, {:?}", began.elapsed() / ROWS, tree.page_count(), store.counters());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for line in status.lines().filter(|line| line.starts_with("Rss")) {
        println!("{line}");
    }
}
