//! Chains of versions with more pages than the pool, and pages that nothing leads to.

use super::{Run, key_of, scan};
use crate::changes::store::NewVersion;
use crate::tree::{Owner, Pace, Prepared};
use crate::{Direction, Error, KeyRange};
use host::sync::Mutex;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use wal::Xid;

/// A row with so many versions that their chain has about three times the pool's pages.
fn hot_row() -> Run {
    let mut run = Run::new(128, 21);
    for step in 0..800_u32 {
        run.write(b"hot", Some(&vec![step as u8; 1850]));
    }
    assert!(run.tree.page_count() > 3 * 128, "{} pages", run.tree.page_count());
    run
}

#[test]
fn a_chain_longer_than_the_pool_is_read_at_every_snapshot() {
    let run = hot_row();
    for snapshot in [3, 4, 100, 401, 799, run.xid] {
        let before = run.bench.store.counters().reads;
        run.check_key(b"hot", snapshot);
        let reads = run.bench.store.counters().reads - before;
        assert!(reads <= u64::from(run.tree.page_count()) + 8, "{reads} pages read at {snapshot}");
        run.check_scan(KeyRange::all(), Direction::Forward, snapshot, 10);
        run.check_scan(KeyRange::all(), Direction::Backward, snapshot, 10);
    }
}

#[test]
fn a_large_value_at_the_end_of_a_long_chain_is_read_although_both_outgrow_the_pool() {
    let mut run = Run::new(128, 22);
    run.write(b"hot", Some(&vec![7; 1_500_000]));
    for step in 0..500_u32 {
        run.write(b"hot", Some(&vec![step as u8; 1850]));
    }
    run.check_key(b"hot", 4);
    run.check_scan(KeyRange::all(), Direction::Forward, 4, 10);
}

#[test]
fn a_sweep_cuts_what_is_dead_off_a_chain_longer_than_the_pool_and_comes_to_an_end() {
    let mut run = hot_row();
    let (pages, aborted) = (u64::from(run.tree.page_count()), [500, 501, 502]);
    let heads = |run: &Run| run.bench.store.run_blocking(|| run.tree.versions(b"hot")).unwrap();
    run.horizon = 300;
    let before = run.bench.store.counters().reads;
    let report = run.sweep(&aborted);
    let reads = run.bench.store.counters().reads - before;
    assert!(reads < 6 * pages, "{reads} reads for {pages} pages");
    assert_eq!((report.aborted, report.live), (0, 1));
    assert!(report.freed > 130, "{report:?}");
    let left = heads(&run);
    // What is on the last page beside the version that all see goes with it.
    assert!((500..=505).contains(&left.len()), "{} versions", left.len());
    assert!(left.iter().all(|head| !aborted.contains(&head.xid.get())));
    for xid in aborted {
        run.model.get_mut(&b"hot"[..]).unwrap().retain(|(by, _)| *by != xid);
    }
    for snapshot in [300, 301, 504, 700, run.xid] {
        run.check_key(b"hot", snapshot);
    }
    run.horizon = run.xid;
    let report = run.sweep(&[]);
    assert_eq!((heads(&run).len(), report.dead), (1, 0));
    assert!(run.tree.page_count() < 10, "{} pages", run.tree.page_count());
    run.check_all();
}

/// Stops after so many pieces of work.
struct StopsAfter(u32);

impl Pace for StopsAfter {
    fn after_piece(&mut self, _changed: bool, _read_pages: u64) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}

#[test]
fn a_sweep_of_one_long_chain_can_be_stopped_in_the_middle() {
    let run = hot_row();
    for pieces in 1..6 {
        let horizon = Xid::new(run.xid);
        let stopped = run.tree.sweep(&|| horizon, &[], true, &mut StopsAfter(pieces));
        assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?} after {pieces} pieces");
        run.check_key(b"hot", run.xid);
    }
}

/// Makes the pages of a value that no version leads to, as a crash leaves them.
fn lose_pages(run: &Run, bytes: usize) {
    let mut writer = run.bench.store.writer();
    writer.allow_io(true);
    writer.write_large(&run.tree, &mut Prepared::new(), &vec![9; bytes]).unwrap();
}

#[test]
fn a_sweep_gives_back_pages_that_nothing_leads_to_and_the_file_shrinks() {
    let mut run = Run::new(256, 23);
    for step in 0..600_u32 {
        let (mut key, value) = (key_of(&mut run.random, 80), vec![step as u8; (step as usize % 7) * 9_000]);
        if step % 3 == 0 {
            key = b"hot".to_vec();
        }
        run.write(&key, Some(&value));
        if step % 100 == 50 {
            lose_pages(&run, 100_000);
        }
    }
    lose_pages(&run, 1_000_000);
    let lost = run.tree.verify().unwrap().lost_pages.len() as u64;
    assert_eq!(lost, 6 * 13 + 123);
    let report = run.sweep(&[]);
    assert_eq!(report.recovered, lost);
    assert!(report.cut > 100, "{report:?}");
    for snapshot in [50, 200, 599] {
        let rows = scan(&run.bench.store, &run.tree, KeyRange::all(), Direction::Forward, snapshot, 100);
        assert!(!rows.is_empty());
        run.check_scan(KeyRange::all(), Direction::Forward, snapshot, 100);
    }
    assert_eq!(run.sweep(&[]).recovered, 0);
    run.check_all();
}

#[test]
fn an_insertion_of_a_large_value_that_finds_no_frame_leaves_no_pages_behind() {
    let mut run = Run::new(128, 24);
    for step in 0..40_u32 {
        // Changed pages fill the pool, so that frames run short in the middle of a value.
        run.write(format!("key{}", step % 5).as_bytes(), Some(&vec![step as u8; 700_000]));
        assert_eq!(run.tree.verify().unwrap().lost_pages, [], "after {step}");
        run.horizon = run.xid;
        if step % 8 == 7 {
            run.sweep(&[]);
        }
    }
    run.check_all();
}

#[test]
fn a_full_log_in_the_middle_of_a_large_value_costs_its_pages_only_until_the_next_sweep() {
    let mut run = Run::new(256, 25);
    run.write(b"key", Some(&[1; 50_000]));
    run.bench.log.fill_after(Some(40));
    let mut writer = run.bench.store.writer();
    writer.allow_io(true);
    let value = vec![2; 800_000];
    let version = NewVersion { cid: 0, value: Some(&value) };
    let refused = writer.insert_version(&run.tree, &mut Prepared::new(), b"key", version);
    assert!(
        matches!(refused, Err(crate::changes::store::Fault::Failed(Error::DiskFull { .. }))),
        "{refused:?}"
    );
    drop(writer);
    run.bench.log.fill_after(None);
    assert_eq!(run.tree.verify().unwrap().lost_pages.len(), 40);
    assert_eq!(run.sweep(&[]).recovered, 40);
    run.check_all();
}

/// A horizon that follows the writers, unless it is held.
#[derive(Default)]
struct Moving {
    next_xid: AtomicU64,
    held: Mutex<Vec<u64>>,
}

impl Moving {
    fn read(&self, held: &[u64]) -> u64 {
        let newest = self.next_xid.load(Ordering::Acquire).saturating_sub(60);
        held.iter().copied().fold(newest, u64::min)
    }
}

struct Hold(Arc<Moving>, u64);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.0.held.lock();
        let at = held.iter().position(|xid| *xid == self.1).unwrap();
        held.swap_remove(at);
    }
}

impl Owner for Arc<Moving> {
    fn horizon(&self) -> Xid {
        Xid::new(self.read(&self.held.lock()))
    }
    fn hold_horizon(&self) -> (Xid, Box<dyn Any>) {
        let mut held = self.held.lock();
        let horizon = self.read(&held);
        held.push(horizon);
        (Xid::new(horizon), Box::new(Hold(Arc::clone(self), horizon)))
    }
}

#[test]
fn nothing_in_use_is_taken_for_lost_while_writers_go_on() {
    let mut run = Run::new(1024, 26);
    for number in 0..400_u32 {
        run.write(&key_of(&mut run.random.clone(), 1 + number), Some(&[1; 300]));
    }
    let (store, tree) = (run.bench.store.clone(), run.tree.clone());
    run.bench.log.forget_records();
    let (moving, ended) = (Arc::new(Moving::default()), AtomicU32::new(0));
    moving.next_xid.store(run.xid, Ordering::Release);
    let meanwhile = std::thread::scope(|scope| {
        let (moving, ended, store, tree) = (&moving, &ended, &store, &tree);
        for seed in 0..2 {
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(100 + seed);
                for step in 0..600_u32 {
                    let key = if step % 4 == 0 { b"hot".to_vec() } else { key_of(&mut random, 300) };
                    let length =
                        if random.u8(..8) == 0 { random.usize(..60_000) } else { random.usize(..1900) };
                    let value = (random.u8(..5) > 0).then(|| vec![step as u8; length]);
                    let mut writer = store.writer();
                    writer.allow_io(true);
                    writer.set_xid(Xid::new(moving.next_xid.fetch_add(1, Ordering::AcqRel)));
                    writer.set_horizon(moving.horizon());
                    let version = NewVersion { cid: 0, value: value.as_deref() };
                    writer.insert_version(tree, &mut Prepared::new(), &key, version).unwrap();
                    if step % 16 == 0 {
                        // So that each sweep has to look closely.
                        writer.write_large(tree, &mut Prepared::new(), &[3; 20_000]).unwrap();
                    }
                }
                ended.fetch_add(1, Ordering::AcqRel);
            });
        }
        let mut recovered = 0;
        while ended.load(Ordering::Acquire) < 2 {
            recovered += tree.sweep(moving, &[], true, &mut crate::tree::Unpaced).unwrap().recovered;
        }
        recovered
    });
    // A page that was freed although it is in use would show here.
    let before = tree.verify().unwrap().lost_pages.len() as u64;
    run.horizon = moving.next_xid.load(Ordering::Acquire);
    // A sweep that finds pages that nothing leads to has the next one look closely.
    let recovered = run.sweep(&[]).recovered + run.sweep(&[]).recovered;
    assert!(recovered >= before, "{recovered} of {before}");
    assert!(meanwhile + recovered > 0, "the sweeps had to look closely");
    assert_eq!(tree.verify().unwrap().lost_pages, []);
}
