//! Readers, a writer, and a pool that is too small for all.

use super::{Run, scan};
use crate::changes::records::info;
use crate::changes::store::{Fault, NewVersion, Store};
use crate::testing::{MemoryLog, TREE, bench, difference, empty_disk, files, open_on, redo_all};
use crate::tree::{Batch, Prepared};
use crate::{Direction, KeyRange};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wal::{Lsn, Xid};

#[test]
fn readers_find_every_finished_key_while_pages_split_under_them() {
    let run = Run::new(512, 0);
    let (store, tree) = (&run.bench.store, &run.tree);
    let (written, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let key_of = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (written, done) = (&written, &done);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(reader);
                while !done.load(Ordering::Acquire) {
                    let upto = written.load(Ordering::Acquire);
                    if upto == 0 {
                        continue;
                    }
                    let number = random.u64(..upto);
                    let mut value = Vec::new();
                    let found = store
                        .run_blocking(|| {
                            value.clear();
                            tree.lookup(&key_of(number), |_| true, &mut value)
                        })
                        .unwrap();
                    assert!(found.is_some(), "key {number} of {upto}");
                    assert_eq!(value, number.to_le_bytes());
                    if random.u8(..200) == 0 {
                        let direction = if random.bool() { Direction::Forward } else { Direction::Backward };
                        let rows = scan(store, tree, KeyRange::all(), direction, 3 + upto, 97);
                        assert_eq!(rows.len() as u64, upto, "a scan sees a prefix of the commits");
                    }
                }
            });
        }
        for number in 0..20_000 {
            let key = key_of(number);
            let mut writer = store.writer();
            writer.allow_io(true);
            writer.set_xid(Xid::new(3 + number));
            let value = number.to_le_bytes();
            let version = NewVersion { cid: 0, value: Some(&value) };
            writer.insert_version(tree, &mut Prepared::new(), &key, version).unwrap();
            drop(writer);
            written.store(number + 1, Ordering::Release);
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(tree.verify().unwrap().items, 20_000);
}

/// Prepares and writes as the commit pipeline does, in the end with I/O under the lock.
async fn put(store: &Store, xids: &AtomicU64, key: &[u8], value: &[u8]) -> u32 {
    let tree = store.tree(TREE).unwrap();
    let mut prepared = Prepared::new();
    for attempt in 0.. {
        store.run(|| tree.prepare(key, value.len(), &mut prepared)).await.unwrap();
        let mut writer = store.writer();
        writer.allow_io(attempt > 4);
        writer.set_xid(Xid::new(xids.fetch_add(1, Ordering::AcqRel)));
        match writer.insert_version(&tree, &mut prepared, key, NewVersion { cid: 0, value: Some(value) }) {
            Ok(()) => return attempt,
            Err(Fault::Failed(error)) => panic!("{error}"),
            Err(_) => {}
        }
    }
    unreachable!()
}

#[test]
fn thirty_two_clients_share_128_frames_over_data_ten_times_larger() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let bench = bench(128);
    let store = bench.store.clone();
    let xids = Arc::new(AtomicU64::new(3));
    let in_place = Arc::new(AtomicU64::new(0));
    const CLIENTS: u32 = 32;
    const ROWS: u32 = 300;
    runtime.block_on(async {
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..CLIENTS {
            let (store, xids, in_place) = (store.clone(), xids.clone(), in_place.clone());
            clients.spawn(async move {
                let mut random = fastrand::Rng::with_seed(u64::from(client));
                let mut numbers: Vec<u32> = (0..ROWS).collect();
                random.shuffle(&mut numbers);
                for (done, number) in numbers.iter().enumerate() {
                    let key = [number.wrapping_mul(0x9E37_79B1).to_be_bytes(), client.to_be_bytes()].concat();
                    let value = vec![number.to_le_bytes()[0]; 1000];
                    let attempts = put(&store, &xids, &key, &value).await;
                    in_place.fetch_add(u64::from(attempts > 4), Ordering::Relaxed);
                    let earlier = numbers[random.usize(..=done)];
                    let key =
                        [earlier.wrapping_mul(0x9E37_79B1).to_be_bytes(), client.to_be_bytes()].concat();
                    let tree = store.tree(TREE).unwrap();
                    let mut value = Vec::new();
                    let found = store
                        .run(|| {
                            value.clear();
                            tree.lookup(&key, |_| true, &mut value)
                        })
                        .await
                        .unwrap();
                    assert!(found.is_some());
                    assert_eq!(value, vec![earlier.to_le_bytes()[0]; 1000]);
                    if done % 100 == 99 {
                        let mut scan = tree.scan(KeyRange::all(), Direction::Forward);
                        let mut batch = Batch::default();
                        while store.run(|| scan.next_batch(|_| true, 100, 1 << 16, &mut batch)).await.unwrap()
                        {
                            batch.clear();
                        }
                    }
                }
            });
        }
        while let Some(done) = clients.join_next().await {
            done.unwrap();
        }
    });
    let tree = store.tree(TREE).unwrap();
    assert_eq!(tree.verify().unwrap().items, u64::from(CLIENTS * ROWS));
    let pages = tree.page_count();
    println!("{pages} pages, {:?}, {} written in place", store.counters(), in_place.load(Ordering::Relaxed));
    assert!(pages > 1280, "{pages} pages are not ten times the pool");
    store.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
    let copy = empty_disk();
    let redone = open_on(&copy, 128);
    redo_all(&redone, &bench.log.records()).unwrap();
    redone.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
    assert_eq!(difference(&files(&bench.disk), &files(&copy)), None);
}

#[test]
fn every_record_may_be_redone_twice_and_the_whole_log_again() {
    let mut run = Run::new(256, 21);
    for step in 0..2500 {
        let key = super::key_of(&mut run.random, 60);
        let value = super::value_of(&mut run.random);
        run.write(&key, (step % 7 > 0).then_some(&value[..]));
        if step % 60 == 0 {
            run.bench.log.set_redo_here();
        }
        if step % 400 == 0 {
            run.horizon = run.xid;
        }
    }
    for number in 0..2000_u32 {
        run.write(&[b"z", &number.to_be_bytes()[..]].concat(), Some(&[1; 100]));
    }
    for number in 0..1500_u32 {
        run.write(&[b"z", &number.to_be_bytes()[..]].concat(), None);
    }
    run.horizon = run.xid;
    for number in 1500..2000_u32 {
        run.write(&[b"z", &number.to_be_bytes()[..]].concat(), None);
    }
    let doomed = run.xid;
    for _ in 0..400 {
        run.write(b"hot", Some(&[8; 100]));
    }
    run.sweep(&[doomed, doomed + 1]);
    run.horizon = run.xid;
    run.sweep(&[]);
    for number in 0..400_u32 {
        run.write(b"a", Some(&[number as u8; 100]));
    }
    run.bench.store.writer().put_state(1, b"confirmed").unwrap();
    run.bench.store.writer().put_state(2, b"aborted").unwrap();
    run.bench.store.writer().put_state(1, b"confirmed later").unwrap();
    let ours = run.flush();
    let records = run.bench.log.records();
    let kinds: std::collections::BTreeSet<u8> = records
        .iter()
        .filter(|record| record.rmgr() == wal::Rmgr::ENGINE)
        .map(wal::Record::rmgr_info)
        .collect();
    println!("kinds of records: {kinds:02X?}");
    for info in [0x00, 0x10, 0x20, 0x30, 0x40, 0x60, 0x70, 0x90, 0xA0, 0xB0, 0xC0, 0xE0] {
        assert!(kinds.contains(&info), "record {info:02X} is missing from the test");
    }
    let copy = empty_disk();
    let store = open_on(&copy, 128);
    for record in &records {
        for _ in 0..2 {
            redo_all(&store, std::slice::from_ref(record)).unwrap();
        }
    }
    redo_all(&store, &records).unwrap();
    store.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
    assert_eq!(difference(&ours, &files(&copy)), None, "redone twice in the pool");
    let again = open_on(&copy, 128);
    redo_all(&again, &records).unwrap();
    again.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
    assert_eq!(difference(&ours, &files(&copy)), None, "redone from files that are ahead");
    assert_eq!(again.run_blocking(|| again.state(1)).unwrap().as_deref(), Some(&b"confirmed later"[..]));
}

fn change_every_kind_of_page(run: &mut Run) {
    for step in 0..12_000_u64 {
        run.horizon = run.xid.saturating_sub(if step % 4000 < 3000 { 1500 } else { 3 }).max(run.horizon);
        if step % 3 == 0 {
            run.write(b"hot", Some(&[step as u8; 150]));
        } else {
            let key = super::key_of(&mut run.random, 200);
            let len = if step % 50 == 1 { 9000 } else { 60 };
            run.write(&key, (step % 5 > 0).then_some(&vec![step as u8; len][..]));
        }
        // Rows that come on the right and go on the left, page by page.
        run.write(&[b"queue", &step.to_be_bytes()[..]].concat(), Some(&[7; 90]));
        if let Some(gone) = step.checked_sub(300) {
            run.write(&[b"queue", &gone.to_be_bytes()[..]].concat(), None);
        }
        if step % 200 == 0 {
            run.sweep(&[]);
        }
    }
}

#[test]
fn readers_of_a_standby_see_whole_prefixes_while_redo_changes_every_kind_of_page() {
    let mut run = Run::new(512, 31);
    change_every_kind_of_page(&mut run);
    let records = run.bench.log.records();
    let count = |info| records.iter().filter(|record| record.rmgr_info() == info).count();
    let cuts = count(info::CHAIN_CUT);
    assert!(cuts > 10, "{cuts} chains were cut");
    let unlinked = count(info::UNLINK);
    assert!(unlinked > 100, "{unlinked} pages were unlinked");
    let packed = count(info::REPACK);
    assert!(packed > 100, "leaves were packed {packed} times");
    let disk = empty_disk();
    let standby = open_on(&disk, 128);
    redo_all(&standby, &records[..3]).unwrap();
    let tree = standby.tree(TREE).unwrap();
    // What was replayed, and what was pruned.
    let (next_xid, horizon, done) = (AtomicU64::new(3), AtomicU64::new(0), AtomicBool::new(false));
    let compared = AtomicU64::new(0);
    let all_there = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let all_there = &all_there;
            let (next_xid, horizon, done, run) = (&next_xid, &horizon, &done, &run);
            let (standby, tree, compared) = (&standby, &tree, &compared);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(reader);
                all_there.wait();
                while !done.load(Ordering::Acquire) {
                    let snapshot = next_xid.load(Ordering::Acquire);
                    let key = if random.bool() { b"hot".to_vec() } else { super::key_of(&mut random, 200) };
                    let mut value = Vec::new();
                    let found = standby
                        .run_blocking(|| {
                            value.clear();
                            tree.lookup(&key, |head| head.xid.get() < snapshot, &mut value)
                        })
                        .unwrap();
                    let all = (random.u8(..100) == 0)
                        .then(|| scan(standby, tree, KeyRange::all(), Direction::Forward, snapshot, 37));
                    if horizon.load(Ordering::Acquire) > snapshot {
                        continue;
                    }
                    let found = found.filter(|head| !head.deleted).map(|_| value);
                    assert!(found == run.expected(&key, snapshot), "key {key:?} at {snapshot}");
                    if let Some(rows) = all {
                        let keys = run.model.keys();
                        let live = keys.filter(|key| run.expected(key, snapshot).is_some()).count();
                        assert_eq!(rows.len(), live, "a scan at {snapshot}");
                    }
                    compared.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        all_there.wait();
        for record in &records[3..] {
            let pruned = crate::changes::records::horizon(record);
            horizon.fetch_max(pruned.map_or(0, Xid::get), Ordering::AcqRel);
            redo_all(&standby, std::slice::from_ref(record)).unwrap();
            if record.rmgr_info() == info::INSERT {
                next_xid.store(u64::from(record.xid_low()) + 1, Ordering::Release);
            }
        }
        done.store(true, Ordering::Release);
    });
    println!("{} reads compared", compared.load(Ordering::Relaxed));
    assert!(compared.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_page_is_written_only_after_its_log_and_never_after_the_log_failed() {
    let run_log: Arc<MemoryLog> = {
        let mut run = Run::new(128, 4);
        for number in 0..3000_u32 {
            run.write(&number.to_be_bytes(), Some(&[1; 900]));
        }
        assert!(run.bench.store.counters().writes > 100, "pages were evicted");
        for (name, bytes) in files(&run.bench.disk) {
            for page in bytes.chunks(8192) {
                let lsn = u64::from(u32::from_le_bytes(page[..4].try_into().unwrap())) << 32
                    | u64::from(u32::from_le_bytes(page[4..8].try_into().unwrap()));
                assert!(lsn <= run.bench.log.flushed().get(), "a page of {name} is ahead of its log");
            }
        }
        run.bench.store.pool().poison(crate::Error::Log("it failed".into()));
        let before = files(&run.bench.disk);
        assert!(run.bench.store.flush_before(Lsn::MAX, &mut |_| ()).is_err());
        assert_eq!(difference(&before, &files(&run.bench.disk)), None);
        run.bench.log.clone()
    };
    drop(run_log);
}
