//! Sparse leaves become fewer, and the file's end comes back to its beginning.

use super::{Run, scan};
use crate::changes::records::info;
use crate::changes::store::NewVersion;
use crate::testing::{TREE, empty_disk, open_on, redo_all};
use crate::tree::Prepared;
use crate::{Direction, KeyRange};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wal::Xid;

/// No session locks a key.
struct NobodyLocks;

impl super::super::KeyLocks for NobodyLocks {
    fn are_all_free(&self) -> bool {
        true
    }
    fn is_free(&self, _key: &[u8]) -> bool {
        true
    }
}

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

fn count(run: &Run, info: u8) -> usize {
    let records = run.bench.log.records();
    records.iter().filter(|record| record.rmgr_info() == info).count()
}

#[test]
fn rows_that_deletions_left_far_apart_move_together_and_the_file_is_cut() {
    let mut run = Run::new(4096, 1);
    for number in 0..20_000 {
        run.write(&key(number), Some(&[1; 100]));
    }
    let full = run.tree.page_count();
    for number in (0..20_000).filter(|number| number % 10 > 0) {
        run.write(&key(number), None);
    }
    run.horizon = run.xid;
    let report = run.sweep(&[]);
    assert_eq!((report.live, report.dead), (2000, 0), "each row is counted once, wherever it went meanwhile");
    let after = run.tree.page_count();
    assert!(after < full / 5, "{full} pages became {after} for a tenth of the rows");
    assert_eq!(run.tree.verify().unwrap().items, 2000);
    let again = run.sweep(&[]);
    assert_eq!((again.removed, again.freed, again.moved), (0, 0, 0), "nothing is left to be done");
    run.check_all();
}

#[test]
fn a_file_that_an_old_snapshot_made_split_falls_back_and_stays_so_without_further_splits() {
    let mut run = Run::new(4096, 2);
    const ROWS: u64 = 10_000;
    for number in 0..ROWS {
        run.write(&key(number), Some(&[1; 100]));
    }
    let fresh = run.tree.page_count();
    let update = |run: &mut Run| {
        let number = run.random.u64(..ROWS);
        run.write(&key(number), Some(&[2; 100]));
    };
    run.horizon = run.xid;
    for _ in 0..ROWS {
        update(&mut run);
    }
    let split = run.tree.page_count();
    assert!(split > fresh * 18 / 10, "{fresh} pages became {split} under an old snapshot");
    run.horizon = run.xid;
    run.sweep(&[]);
    let after = run.tree.page_count();
    assert!(after <= fresh * 3 / 2, "{fresh} pages became {after}");
    let before = (count(&run, info::SPLIT), count(&run, info::REPACK));
    for step in 0..60_000 {
        run.horizon = run.xid - 8;
        update(&mut run);
        if step % 5000 == 0 {
            run.sweep(&[]);
        }
    }
    let (splits, packed) = (count(&run, info::SPLIT) - before.0, count(&run, info::REPACK) - before.1);
    println!("{fresh} pages fresh, {split} split, {after} after; then {splits} splits, {packed} packed");
    assert!(splits + packed < fresh as usize / 20, "{splits} splits and {packed} times packed");
    assert!(run.tree.page_count() <= fresh * 3 / 2);
    run.check_all();
}

#[test]
fn a_standby_too_counts_each_time_that_pages_leave_so_that_descents_on_their_way_begin_again() {
    let mut run = Run::new(1024, 8);
    for number in 0..3000 {
        run.write(&key(number), Some(&[1; 100]));
    }
    for number in (0..3000).filter(|number| *number < 500 || number % 10 > 0) {
        run.write(&key(number), None);
    }
    run.horizon = run.xid;
    run.sweep(&[]);
    let (unlinked, packed) = (count(&run, info::UNLINK), count(&run, info::REPACK));
    assert!(unlinked > 0 && packed > 0, "{unlinked} unlinked, {packed} packed");
    let standby = open_on(&empty_disk(), 128);
    redo_all(&standby, &run.bench.log.records()).unwrap();
    let counted = standby.tree(TREE).unwrap().relation().reshaped();
    assert_eq!(counted, (unlinked + packed) as u64);
    assert_eq!(counted, run.tree.relation().reshaped());
}

#[test]
fn leaves_full_of_versions_that_a_snapshot_needs_are_not_packed() {
    let mut run = Run::new(1024, 3);
    for round in 0..4_u8 {
        for number in 0..1000 {
            run.write(&key(number), Some(&[round; 100]));
        }
    }
    let old = run.xid - 2500;
    run.horizon = old;
    run.sweep(&[]);
    assert!(run.tree.verify().unwrap().items > 3000);
    for number in [0, 17, 500, 999] {
        for snapshot in [old, old + 900, run.xid] {
            run.check_key(&key(number), snapshot);
        }
    }
    let inflated = run.tree.page_count();
    run.horizon = run.xid;
    run.sweep(&[]);
    assert!(run.tree.page_count() < inflated / 2, "{inflated} pages became {}", run.tree.page_count());
    run.check_all();
}

#[test]
fn readers_and_a_second_writer_find_every_row_while_leaves_are_packed_and_split() {
    let run = Run::new(1024, 4);
    let (store, tree) = (&run.bench.store, &run.tree);
    const ROWS: u64 = 2000;
    let (xids, horizon, compared) = (AtomicU64::new(3), AtomicU64::new(3), AtomicU64::new(0));
    let done = AtomicBool::new(false);
    let put = |number: u64, value: &[u8]| {
        // Found without the lock, as a transaction prepares: the leaf may have gone elsewhere when it is
        // written to.
        let mut prepared = Prepared::new();
        store.run_blocking(|| tree.prepare(&key(number), value.len(), &mut prepared)).unwrap();
        let mut writer = store.writer();
        writer.allow_io(true);
        writer.set_xid(Xid::new(xids.fetch_add(1, Ordering::AcqRel)));
        writer.set_horizon(Xid::new(horizon.load(Ordering::Acquire)));
        let version = NewVersion { cid: 0, value: Some(value) };
        writer.insert_version(tree, &mut prepared, &key(number), version).unwrap();
    };
    for number in 0..ROWS {
        put(number, &[0; 100]);
    }
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (done, compared) = (&done, &compared);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(reader);
                while !done.load(Ordering::Acquire) {
                    let mut value = Vec::new();
                    let number = random.u64(..ROWS);
                    let found = store.run_blocking(|| {
                        value.clear();
                        tree.lookup(&key(number), |_| true, &mut value)
                    });
                    assert!(found.unwrap().is_some(), "row {number}");
                    if random.u8(..20) == 0 {
                        let direction = if random.bool() { Direction::Forward } else { Direction::Backward };
                        let rows = scan(store, tree, KeyRange::all(), direction, u64::MAX, 61);
                        assert_eq!(rows.len() as u64, ROWS, "{direction:?}");
                    }
                    compared.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (done, put) = (&done, &put);
        scope.spawn(move || {
            let mut random = fastrand::Rng::with_seed(99);
            while !done.load(Ordering::Acquire) {
                put(random.u64(..ROWS), &[7; 100]);
            }
        });
        let mut random = fastrand::Rng::with_seed(100);
        for _ in 0..5 {
            // The horizon stands still, so that pages split, then moves on.
            for _ in 0..ROWS {
                put(random.u64(..ROWS), &[8; 100]);
            }
            horizon.store(xids.load(Ordering::Acquire), Ordering::Release);
            let horizon = || Xid::new(horizon.load(Ordering::Acquire));
            tree.sweep(&horizon, &[], true, &mut crate::tree::Unpaced).unwrap();
            store.run_blocking(|| store.writer().cut_end(tree, true)).unwrap();
            store.finish_cut(tree.relation()).unwrap();
        }
        done.store(true, Ordering::Release);
    });
    let packed = count(&run, info::REPACK);
    println!("{} reads compared, {packed} times packed", compared.load(Ordering::Relaxed));
    assert!(packed > 100 && compared.load(Ordering::Relaxed) > 0, "{packed} times packed");
    assert_eq!(tree.verify().unwrap().lost_pages, []);
    run.check_redo();
}

#[test]
fn a_batch_at_the_end_leaves_room_for_later_versions_in_each_leaf() {
    let mut run = Run::new(1024, 7);
    const ROWS: u64 = 5000;
    let rows: Vec<_> = (0..ROWS).map(|number| (key(number), [1_u8; 100])).collect();
    let items: Vec<(&[u8], Option<&[u8]>)> =
        rows.iter().map(|(key, value)| (&key[..], Some(&value[..]))).collect();
    let mut writer = run.bench.store.writer();
    writer.allow_io(true);
    writer.set_xid(Xid::new(run.xid));
    let (mut done, mut prepared) = (0, Prepared::new());
    while done < items.len() {
        let count =
            writer.insert_new(&run.tree, &mut prepared, 0, &items[done..], None::<&NobodyLocks>).unwrap();
        assert!(count > 0, "row {done} is new");
        done += count;
    }
    drop(writer);
    run.xid += 1;
    let fresh = run.tree.page_count();
    for _ in 0..20_000 {
        run.horizon = run.xid.saturating_sub(8).max(4);
        let number = run.random.u64(..ROWS);
        run.write(&key(number), Some(&[2; 100]));
    }
    let after = run.tree.page_count();
    assert!(after <= fresh * 11 / 10, "{fresh} pages became {after}");
    assert_eq!(run.tree.verify().unwrap().lost_pages, []);
}

#[test]
fn queues_side_by_side_fill_their_pages() {
    let mut run = Run::new(1024, 6);
    let lane_key = |lane: u64, number: u64| [key(lane), key(number)].concat();
    const LENGTH: u64 = 500;
    for lane in 0..8 {
        for number in 0..LENGTH {
            run.write(&lane_key(lane, number), Some(&[1; 100]));
        }
    }
    let fresh = run.tree.page_count();
    for step in 0..40_000 {
        let (lane, number) = (run.random.u64(..8), step);
        let first = run.model.range(lane_key(lane, 0)..lane_key(lane + 1, 0)).next().unwrap().0.clone();
        run.write(&lane_key(lane, LENGTH + number), Some(&[1; 100]));
        run.write(&first, None);
        run.model.remove(&first);
        run.horizon = run.xid - 8;
        if step % 1000 == 0 {
            run.sweep(&[]);
        }
    }
    let after = run.tree.page_count();
    println!("{fresh} pages fresh, {after} after");
    assert!(after <= fresh * 3 / 2, "{fresh} pages became {after}");
    run.check_all();
}

#[test]
fn the_last_leaf_takes_new_rows_after_it_was_packed_or_moved() {
    let mut run = Run::new(1024, 5);
    for number in 0..3000 {
        run.write(&key(number), Some(&[1; 100]));
    }
    for number in (100..3000).filter(|number| number % 40 > 0) {
        run.write(&key(number), None);
    }
    run.horizon = run.xid;
    run.sweep(&[]);
    assert!(count(&run, info::REPACK) > 10);
    for number in 3000..6000 {
        run.write(&key(number), Some(&[2; 100]));
    }
    run.check_scan(KeyRange::from(key(2000).to_vec()), Direction::Forward, run.xid, 50);
    run.check_all();
}

#[test]
fn a_file_whose_last_pages_are_empty_or_have_one_child_is_cut_all_the_same() {
    for kept_every in [u64::MAX, 1000, 3000] {
        let mut run = Run::new(4096, 6);
        const ROWS: u64 = 20_000;
        for number in 0..ROWS {
            run.write(&key(number), Some(&[1; 1000]));
        }
        let full = run.tree.page_count();
        for number in (0..ROWS).filter(|number| (number + 1) % kept_every > 0) {
            run.write(&key(number), None);
        }
        run.horizon = run.xid;
        run.sweep(&[]);
        let after = run.tree.page_count();
        println!("every {kept_every}th row kept: {full} pages became {after}");
        assert!(after < 50, "every {kept_every}th row kept: {full} pages became {after}");
        run.check_all();
    }
}
