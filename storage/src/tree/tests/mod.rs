//! The tree against a map, with seeds that failures print.

mod chains;
mod concurrent;
mod crash;
mod crowded;
mod damage;
mod packing;
mod pool;
mod speed;
mod sweeps;
mod tools;

use super::{Batch, Prepared, Tree};
use crate::changes::store::{Fault, NewVersion, Store};
use crate::testing::{Bench, TREE, bench, difference, empty_disk, files, open_on, redo_all};
use crate::{Direction, Error, KeyRange};
use std::collections::BTreeMap;
use wal::{Lsn, Xid};

/// Versions of each key, newest first: xid and value.
type Model = BTreeMap<Vec<u8>, Vec<(u64, Option<Vec<u8>>)>>;

struct Run {
    bench: Bench,
    tree: Tree,
    model: Model,
    xid: u64,
    horizon: u64,
    /// Sweeps give back what is lost.
    finds_lost: bool,
    random: fastrand::Rng,
}

impl Run {
    fn new(frames: usize, seed: u64) -> Self {
        let bench = bench(frames);
        let tree = bench.store.tree(TREE).unwrap();
        Self {
            bench,
            tree,
            model: Model::new(),
            xid: 3,
            horizon: 3,
            finds_lost: true,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        let length = value.map_or(0, <[u8]>::len);
        let mut prepared = Prepared::new();
        self.bench.store.run_blocking(|| self.tree.prepare(key, length, &mut prepared)).unwrap();
        let mut writer = self.bench.store.writer();
        writer.set_xid(Xid::new(self.xid));
        writer.set_horizon(Xid::new(self.horizon));
        let version = NewVersion { cid: 0, value };
        match writer.insert_version(&self.tree, &mut prepared, key, version) {
            Err(Fault::Miss(_) | Fault::NeedFrames) => {
                writer.allow_io(true);
                writer.insert_version(&self.tree, &mut prepared, key, version).unwrap();
            }
            other => other.unwrap(),
        }
        drop(writer);
        self.model.entry(key.to_vec()).or_default().insert(0, (self.xid, value.map(<[u8]>::to_vec)));
        self.xid += 1;
    }

    /// Several keys by one call for each leaf, as large transactions write.
    fn write_many(&mut self, rows: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) {
        let mut writer = self.bench.store.writer();
        writer.allow_io(true);
        writer.set_xid(Xid::new(self.xid));
        writer.set_horizon(Xid::new(self.horizon));
        let items: Vec<_> = rows.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        let (mut done, mut prepared) = (0, Prepared::new());
        while done < items.len() {
            done += writer.insert_versions(&self.tree, &mut prepared, 0, &items[done..]).unwrap();
        }
        drop(writer);
        for (key, value) in rows {
            self.model.entry(key.clone()).or_default().insert(0, (self.xid, value.clone()));
        }
        self.xid += 1;
    }

    fn expected(&self, key: &[u8], snapshot: u64) -> Option<Vec<u8>> {
        self.model.get(key)?.iter().find(|(xid, _)| *xid < snapshot)?.1.clone()
    }

    fn check_key(&self, key: &[u8], snapshot: u64) {
        let mut value = Vec::new();
        let found = self
            .bench
            .store
            .run_blocking(|| {
                value.clear();
                self.tree.lookup(key, |head| head.xid.get() < snapshot, &mut value)
            })
            .unwrap();
        let found = found.filter(|head| !head.deleted).map(|_| value);
        assert_eq!(found, self.expected(key, snapshot), "key {key:?} at {snapshot}");
    }

    fn check_scan(&self, range: KeyRange, direction: Direction, snapshot: u64, rows_max: usize) {
        let rows = scan(&self.bench.store, &self.tree, range.clone(), direction, snapshot, rows_max);
        let mut expected: Vec<(Vec<u8>, Vec<u8>)> = self
            .model
            .keys()
            .filter(|key| range.contains(key))
            .filter_map(|key| Some((key.clone(), self.expected(key, snapshot)?)))
            .collect();
        if direction == Direction::Backward {
            expected.reverse();
        }
        assert_eq!(rows.len(), expected.len(), "{range:?} {direction:?} at {snapshot}");
        assert!(rows == expected, "{range:?} {direction:?} at {snapshot}");
    }

    /// Sweeps the whole tree, and cuts its end off.
    fn sweep(&mut self, aborted: &[u64]) -> super::SweepReport {
        let aborted: Vec<Xid> = aborted.iter().copied().map(Xid::new).collect();
        let horizon = Xid::new(self.horizon);
        let mut report =
            self.tree.sweep(&|| horizon, &aborted, self.finds_lost, &mut super::Unpaced).unwrap();
        let store = &self.bench.store;
        report.cut = store.run_blocking(|| store.writer().cut_end(&self.tree, true)).unwrap();
        store.finish_cut(self.tree.relation()).unwrap();
        report.pages = self.tree.page_count();
        report
    }

    /// The log redone onto an empty disk gives the same files.
    fn check_redo(&self) {
        let ours = self.flush();
        let copy = empty_disk();
        let redone = open_on(&copy, 128);
        redo_all(&redone, &self.bench.log.records()).unwrap();
        redone.check_missing().unwrap();
        redone.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
        assert_eq!(difference(&ours, &files(&copy)), None, "redo onto an empty disk");
    }

    /// What holds at the end of every history: no page is lost, scans find the model's rows and no others,
    /// and the log says it all.
    fn check_all(&self) {
        assert_eq!(self.tree.verify().unwrap().lost_pages, []);
        self.check_scan(KeyRange::all(), Direction::Forward, self.xid, 100);
        self.check_scan(KeyRange::all(), Direction::Backward, self.xid, 33);
        self.check_redo();
    }

    /// Writes everything and gives the files' bytes.
    fn flush(&self) -> Vec<(String, Vec<u8>)> {
        self.bench.store.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
        files(&self.bench.disk)
    }
}

fn scan(
    store: &Store,
    tree: &Tree,
    range: KeyRange,
    direction: Direction,
    snapshot: u64,
    rows_max: usize,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut scan = tree.scan(range, direction);
    let (mut batch, mut rows) = (Batch::default(), Vec::new());
    loop {
        batch.clear();
        let choose = |head: super::VersionHead| head.xid.get() < snapshot;
        let more = store.run_blocking(|| scan.next_batch(choose, rows_max, 1 << 20, &mut batch)).unwrap();
        assert!(batch.len() <= rows_max);
        rows.extend(batch.rows().map(|(key, value, _)| (key.to_vec(), value.to_vec())));
        if !more {
            return rows;
        }
    }
}

fn key_of(random: &mut fastrand::Rng, keys: u32) -> Vec<u8> {
    let number = random.u32(..keys);
    let mut key = format!("key{number:06}").into_bytes();
    if number.is_multiple_of(17) {
        key.resize(key.len() + (number % 1500) as usize, b'x');
    }
    key
}

fn value_of(random: &mut fastrand::Rng) -> Vec<u8> {
    let len = match random.u8(..100) {
        0 => random.usize(2000..30_000),
        1..5 => random.usize(200..2000),
        _ => random.usize(..120),
    };
    (0..len).map(|_| random.u8(..)).collect()
}

/// A value with another piece somewhere inside: what an update of one column makes.
fn changed(random: &mut fastrand::Rng, mut value: Vec<u8>) -> Vec<u8> {
    let (one, other) = (random.usize(..=value.len()), random.usize(..=value.len()));
    let piece: Vec<u8> = (0..random.usize(..5)).map(|_| random.u8(..3)).collect();
    value.splice(one.min(other)..one.max(other), piece);
    value
}

#[test]
fn an_update_logs_what_it_changes_and_not_the_rest_of_its_row() {
    let mut run = Run::new(128, 1);
    let mut value = vec![b'x'; 500];
    run.write(b"key", Some(&value));
    let logged = |run: &Run| run.bench.log.records().last().unwrap().main_data().to_vec();
    assert!(logged(&run).len() > 500);
    for at in [0, 250, 499] {
        value[at] = b'y';
        run.write(b"key", Some(&value));
        assert_eq!(logged(&run).len(), 2 + 2 + 1 + 2 + 1, "a change at {at}");
        run.check_key(b"key", u64::MAX);
    }
    run.write(b"key", Some(&[b'x'; 500]));
    run.write(b"key", Some(&[b'x'; 500]));
    assert_eq!(logged(&run).len(), 2 + 2 + 1 + 2, "nothing changed");
    run.check_key(b"key", u64::MAX);
    run.write(b"other", Some(&[b'x'; 500]));
    assert!(logged(&run).len() > 500, "another key's row is no help");
    run.write(b"key", None);
    run.write(b"key", Some(&[b'x'; 500]));
    assert!(logged(&run).len() > 500, "nor is one that was deleted");
}

#[test]
fn tree_behaves_as_a_map_with_versions_and_redo_repeats_it_byte_for_byte() {
    for seed in 0..12_u64 {
        let mut run = Run::new(if seed.is_multiple_of(2) { 128 } else { 2048 }, seed);
        println!("seed {seed}");
        let keys = [3, 40, 2000][(seed % 3) as usize];
        for step in 0..3000 {
            let key = key_of(&mut run.random, keys);
            let now = run.expected(&key, run.xid).filter(|_| run.random.bool());
            let value = match now {
                Some(now) => Some(changed(&mut run.random, now)),
                None => (run.random.u8(..10) > 1).then(|| value_of(&mut run.random)),
            };
            run.write(&key, value.as_deref());
            if run.random.u8(..30) == 0 {
                let rows = (0..run.random.usize(1..60)).map(|_| {
                    let value = (run.random.u8(..10) > 1).then(|| value_of(&mut run.random));
                    (key_of(&mut run.random, keys), value)
                });
                let rows = rows.collect();
                run.write_many(&rows);
            }
            if run.random.u8(..50) == 0 {
                run.bench.log.set_redo_here();
            }
            if run.random.u8(..20) == 0 {
                run.horizon = run.random.u64(run.horizon..=run.xid);
            }
            if run.random.u8(..250) == 0 {
                run.sweep(&[]);
            }
            if step % 500 == 499 {
                assert_eq!(run.tree.verify().unwrap().lost_pages, [], "seed {seed}, step {step}");
            }
            let snapshot = run.random.u64(run.horizon..=run.xid);
            let probe = key_of(&mut run.random, keys);
            run.check_key(&probe, snapshot);
            if step % 100 == 0 {
                let (a, b) = (key_of(&mut run.random, keys), key_of(&mut run.random, keys));
                let ranges = [KeyRange::all(), KeyRange::new(a.clone(), b), KeyRange::from(a)];
                for range in ranges {
                    for direction in [Direction::Forward, Direction::Backward] {
                        let rows_max = run.random.usize(1..200);
                        run.check_scan(range.clone(), direction, snapshot, rows_max);
                    }
                }
            }
        }
        run.check_all();
    }
}

#[test]
fn ascending_keys_fill_pages_and_random_keys_do_not_waste_them() {
    let mut run = Run::new(4096, 1);
    for number in 0..40_000_u32 {
        run.write(&number.to_be_bytes(), Some(&[7; 80]));
    }
    let bytes = 40_000 * (80 + 4 + 20);
    let pages = bytes / crate::pages::page::USABLE_SIZE;
    let ascending = run.tree.page_count() as usize;
    assert!(ascending < pages * 118 / 100, "{ascending} pages for {pages} full ones");
    assert_eq!(run.tree.verify().unwrap().items, 40_000);

    let mut run = Run::new(4096, 2);
    for number in 0..40_000_u32 {
        run.write(&number.wrapping_mul(0x9E37_79B1).to_be_bytes(), Some(&[7; 80]));
    }
    let scattered = run.tree.page_count() as usize;
    assert!(scattered < pages * 155 / 100, "{scattered} pages for {pages} full ones");
}

#[test]
fn churn_on_the_same_rows_does_not_grow_the_file() {
    let mut run = Run::new(2048, 5);
    for number in 0..5000_u32 {
        run.write(&number.to_be_bytes(), Some(&[1; 60]));
    }
    let fresh = run.tree.page_count();
    for _ in 0..60_000 {
        run.horizon = run.xid.saturating_sub(8);
        let number = run.random.u32(..5000);
        run.write(&number.to_be_bytes(), Some(&[2; 60]));
    }
    let after = run.tree.page_count();
    println!("{fresh} pages fresh, {after} after churn, {} records", run.bench.log.records().len());
    assert!(f64::from(after) <= f64::from(fresh) * 1.6, "{fresh} pages became {after}");
}

#[test]
fn a_hot_row_under_an_old_snapshot_moves_its_versions_out_and_frees_them_afterwards() {
    let mut run = Run::new(256, 9);
    run.write(b"hot", Some(b"first"));
    for number in 0..3000_u32 {
        run.write(b"hot", Some(&number.to_be_bytes()));
    }
    let heads = run.bench.store.run_blocking(|| run.tree.versions(b"hot")).unwrap();
    assert_eq!(heads.len(), 3001);
    assert!(heads.windows(2).all(|pair| pair[0].xid > pair[1].xid), "newest first, in the chain too");
    for snapshot in [3, 4, 5, 1500, 3000, 3005] {
        run.check_key(b"hot", snapshot);
    }
    let grown = run.tree.page_count();
    assert!(grown > 15, "the versions fill pages of their own");
    run.horizon = run.xid;
    for number in 0..3000_u32 {
        run.write(b"hot", Some(&number.to_be_bytes()));
        run.horizon = run.xid;
    }
    assert_eq!(run.tree.page_count(), grown, "no further page is needed");
    let heads = run.bench.store.run_blocking(|| run.tree.versions(b"hot")).unwrap();
    assert!(heads.len() < 500, "{} versions are left", heads.len());
    let before = run.tree.page_count();
    run.write(b"large", Some(&vec![5; 80_000]));
    assert_eq!(run.tree.page_count(), before, "freed pages are used again");
    run.check_key(b"large", run.xid);
}

#[test]
fn a_hot_row_under_snapshots_that_come_and_go_keeps_a_bounded_chain() {
    let mut run = Run::new(256, 10);
    for number in 0..30_000_u32 {
        run.horizon = run.xid.saturating_sub(2000).max(3);
        run.write(b"hot", Some(&number.to_be_bytes()));
    }
    for lag in [0, 1, 500, 1999] {
        run.check_key(b"hot", run.xid - lag);
    }
    let pages = run.tree.page_count();
    assert!(pages < 40, "{pages} pages for 2000 versions");
    // One snapshot stays for long; what it held is freed piece by piece once it is gone.
    let held = run.xid;
    for number in 0..20_000_u32 {
        run.horizon = held;
        run.write(b"hot", Some(&number.to_be_bytes()));
    }
    run.check_key(b"hot", held);
    let grown = run.tree.page_count();
    for number in 0..20_000_u32 {
        run.horizon = run.xid;
        run.write(b"hot", Some(&number.to_be_bytes()));
    }
    assert_eq!(run.tree.page_count(), grown);
    let heads = run.bench.store.run_blocking(|| run.tree.versions(b"hot")).unwrap();
    assert!(heads.len() < 500, "{} versions are left", heads.len());
    run.check_all();
}

#[test]
fn keys_and_values_over_the_limits_are_refused_and_those_at_them_kept() {
    let mut run = Run::new(256, 3);
    let longest = vec![9; crate::pages::page::leaf::MAX_KEY];
    for fill in 0..30 {
        let mut key = longest.clone();
        *key.last_mut().unwrap() = fill;
        run.write(&key, Some(&[fill; 100_000]));
        run.check_key(&key, run.xid);
    }
    run.check_scan(KeyRange::all(), Direction::Forward, run.xid, 7);
    run.tree.verify().unwrap();
    let mut writer = run.bench.store.writer();
    writer.allow_io(true);
    writer.set_xid(Xid::new(99));
    let key = vec![9; crate::pages::page::leaf::MAX_KEY + 1];
    let refused =
        writer.insert_version(&run.tree, &mut Prepared::new(), &key, NewVersion { cid: 0, value: None });
    assert!(matches!(refused, Err(Fault::Failed(Error::KeyTooLarge { .. }))));
}

#[test]
fn a_log_that_takes_no_more_leaves_the_pages_as_they_were() {
    for left in 0..40 {
        let mut run = Run::new(256, 7);
        for number in 0..70_u32 {
            run.write(&number.to_be_bytes(), Some(&[3; 100]));
        }
        run.bench.log.set_redo_here();
        run.bench.log.fill_after(Some(left));
        let mut writer = run.bench.store.writer();
        writer.allow_io(true);
        writer.set_xid(Xid::new(run.xid));
        writer.set_horizon(Xid::new(5));
        let mut written = 0_u64;
        let refused = (100..400_u32).find_map(|number| {
            let version = NewVersion { cid: 1, value: Some(&[4; 300]) };
            let done = writer.insert_version(&run.tree, &mut Prepared::new(), &number.to_be_bytes(), version);
            written += u64::from(done.is_ok());
            done.err()
        });
        drop(writer);
        assert!(matches!(refused, Some(Fault::Failed(Error::DiskFull { .. }))), "{refused:?}");
        run.bench.log.fill_after(None);
        assert_eq!(run.tree.verify().unwrap().items, 70 + written);
        run.write(b"after", Some(b"space came back"));
        let ours = run.flush();
        let copy = empty_disk();
        let redone = open_on(&copy, 128);
        redo_all(&redone, &run.bench.log.records()).unwrap();
        redone.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
        assert_eq!(difference(&ours, &files(&copy)), None, "log full after {left} records");
    }
}
