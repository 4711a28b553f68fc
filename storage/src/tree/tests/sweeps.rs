//! Pages leave the tree, and are used again.

use super::{Run, scan};
use crate::changes::records::info;
use crate::changes::store::{NewVersion, Store};
use crate::pages::free_map;
use crate::tree::{Prepared, Tree};
use crate::{Direction, KeyRange};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wal::{BlockNumber, Xid};

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

#[test]
fn a_table_whose_rows_are_all_deleted_keeps_hardly_a_page() {
    let mut run = Run::new(4096, 1);
    for number in 0..20_000 {
        run.write(&key(number), Some(&[1; 100]));
    }
    let full = run.tree.page_count();
    for number in 0..20_000 {
        run.write(&key(number), None);
    }
    let old = run.xid - 1;
    run.horizon = old;
    run.sweep(&[]);
    run.check_key(&key(19_999), old);
    run.horizon = run.xid;
    let report = run.sweep(&[]);
    let verified = run.tree.verify().unwrap();
    assert_eq!((verified.items, report.live, report.dead), (0, 0, 0));
    assert_eq!(verified.lost_pages, []);
    let in_use = u64::from(run.tree.page_count()) - verified.free_pages;
    assert!(in_use <= 6, "{in_use} of once {full} pages are in use");
    for number in (0..20_000).rev() {
        run.write(&key(number), Some(&[2; 100]));
    }
    assert!(run.tree.page_count() < full * 2, "{} pages after {full}", run.tree.page_count());
    run.check_all();
}

#[test]
fn a_queue_lives_in_as_many_pages_as_it_is_long() {
    let mut run = Run::new(1024, 2);
    let length = 2000;
    for number in 0..length {
        run.write(&key(number), Some(&[1; 100]));
    }
    let fresh = run.tree.page_count();
    for number in length..length * 20 {
        run.write(&key(number), Some(&[1; 100]));
        run.write(&key(number - length), None);
        run.horizon = run.xid;
        if number % 500 == 0 {
            run.sweep(&[]);
        }
    }
    let after = run.tree.page_count();
    assert!(after <= fresh * 3 / 2 + 4, "{fresh} pages became {after}");
    run.check_all();
}

#[test]
fn large_values_of_removed_versions_give_their_pages_back() {
    let mut run = Run::new(2048, 3);
    run.write(b"small", Some(b"1"));
    for round in 0..20_u8 {
        run.write(b"large", Some(&vec![round; 1_000_000]));
        run.horizon = run.xid;
        run.sweep(&[]);
    }
    let pages = run.tree.page_count();
    assert!(pages < 300, "{pages} pages for one value of 123");
    run.check_key(b"large", run.xid);
    run.write(b"large", None);
    run.horizon = run.xid;
    let report = run.sweep(&[]);
    assert!(report.cut > 100, "{report:?}");
    assert_eq!(run.tree.page_count(), 2, "the map and the root");
    run.check_all();
}

#[test]
fn versions_of_aborted_transactions_leave_leaves_and_chains_with_their_values() {
    let mut run = Run::new(1024, 4);
    let mut aborted = Vec::new();
    for step in 0..3000_u32 {
        let doomed = step % 5 == 2;
        if doomed {
            aborted.push(run.xid);
        }
        let value = vec![step as u8; if step % 97 == 2 { 30_000 } else { 90 }];
        let name = if step % 2 == 0 { b"hot".to_vec() } else { format!("key{}", step % 300).into_bytes() };
        run.write(&name, Some(&value));
        if doomed {
            run.model.get_mut(&name).unwrap().remove(0);
        }
    }
    let chains = run.bench.log.records();
    assert!(chains.iter().any(|record| record.rmgr_info() == info::CHAIN_PUSH));
    let report = run.sweep(&aborted);
    assert_eq!((report.aborted, report.removed), (0, aborted.len() as u64));
    for name in ["hot", "key1", "key7", "key299"] {
        for snapshot in [3, 700, 1500, 2999, run.xid] {
            run.check_key(name.as_bytes(), snapshot);
        }
    }
    assert_eq!(run.tree.verify().unwrap().lost_pages, []);
    run.horizon = run.xid;
    run.sweep(&[]);
    let heads = run.bench.store.run_blocking(|| run.tree.versions(b"hot")).unwrap();
    assert_eq!(heads.len(), 1, "one version is left of those in the chain");
    run.check_all();
}

/// Whether a row stays, among others that come and go in whole pages.
fn stays(number: u64) -> bool {
    number.is_multiple_of(997)
}

/// Reads one row that stays, and now and then all, of which there are so many.
fn look(store: &Store, tree: &Tree, random: &mut fastrand::Rng, staying: u64) {
    let number = random.u64(..staying) * 997;
    let mut value = Vec::new();
    let found = store
        .run_blocking(|| {
            value.clear();
            tree.lookup(&key(number), |_| true, &mut value)
        })
        .unwrap();
    assert!(found.is_some(), "row {number}");
    assert_eq!(value, number.to_le_bytes());
    if random.u8(..100) == 0 {
        let direction = if random.bool() { Direction::Forward } else { Direction::Backward };
        let rows = scan(store, tree, KeyRange::all(), direction, u64::MAX, 97);
        let found =
            rows.iter().filter(|(key, _)| stays(u64::from_be_bytes(key.as_slice().try_into().unwrap())));
        assert_eq!(found.count() as u64, staying, "a scan {direction:?}");
    }
}

#[test]
fn readers_find_every_row_while_pages_leave_and_become_others() {
    let run = Run::new(512, 5);
    let (store, tree) = (&run.bench.store, &run.tree);
    let (horizon, done, compared) = (AtomicU64::new(3), AtomicBool::new(false), AtomicU64::new(0));
    const ROWS: u64 = 30_000;
    let mut xid = 3;
    let put = |xid: u64, number: u64, value: Option<&[u8]>| {
        let mut writer = store.writer();
        writer.allow_io(true);
        writer.set_xid(Xid::new(xid));
        writer.set_horizon(Xid::new(horizon.load(Ordering::Acquire)));
        let version = NewVersion { cid: 0, value };
        writer.insert_version(tree, &mut Prepared::new(), &key(number), version).unwrap();
    };
    for number in (0..ROWS).filter(|number| stays(*number)) {
        put(xid, number, Some(&number.to_le_bytes()));
        xid += 1;
    }
    let staying = xid - 3;
    horizon.store(xid, Ordering::Release);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (done, compared) = (&done, &compared);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(reader);
                while !done.load(Ordering::Acquire) {
                    look(store, tree, &mut random, staying);
                    compared.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..4 {
            let (from, to) = if round % 2 == 0 { (0, ROWS) } else { (ROWS / 3, ROWS * 2 / 3) };
            for value in [Some(&[9_u8; 100][..]), None] {
                for number in (from..to).filter(|number| !stays(*number)) {
                    put(xid, number, value);
                    xid += 1;
                }
            }
            horizon.store(xid, Ordering::Release);
            tree.sweep(&|| Xid::new(xid), &[], true, &mut crate::tree::Unpaced).unwrap();
            store.run_blocking(|| store.writer().cut_end(tree, true)).unwrap();
            store.finish_cut(tree.relation()).unwrap();
        }
        done.store(true, Ordering::Release);
    });
    let unlinked = run.bench.log.records().iter().filter(|record| record.rmgr_info() == info::UNLINK).count();
    println!("{} reads compared, {unlinked} pages left", compared.load(Ordering::Relaxed));
    assert!(unlinked > 500 && compared.load(Ordering::Relaxed) > 0, "{unlinked} pages left");
    assert_eq!(tree.verify().unwrap().items, staying);
    run.check_redo();
}

#[test]
fn a_prepared_change_whose_leaf_has_left_finds_its_place() {
    let mut run = Run::new(1024, 6);
    for number in 0..5000 {
        run.write(&key(number), Some(&[1; 100]));
    }
    let mut prepared = Prepared::new();
    run.bench.store.run_blocking(|| run.tree.prepare(&key(2500), 3, &mut prepared)).unwrap();
    for number in 1000..4000 {
        run.write(&key(number), None);
    }
    run.horizon = run.xid;
    run.sweep(&[]);
    // The pages that left hold other rows by now.
    for number in 9000..12_000 {
        run.write(&key(number), Some(&[2; 100]));
    }
    let mut writer = run.bench.store.writer();
    writer.allow_io(true);
    writer.set_xid(Xid::new(run.xid));
    let version = NewVersion { cid: 0, value: Some(b"new") };
    writer.insert_version(&run.tree, &mut prepared, &key(2500), version).unwrap();
    drop(writer);
    run.model.insert(key(2500).to_vec(), vec![(run.xid, Some(b"new".to_vec()))]);
    run.xid += 1;
    run.tree.verify().unwrap();
    run.check_key(&key(2500), run.xid);
    run.check_scan(KeyRange::all(), Direction::Forward, run.xid, 50);
}

#[test]
fn a_file_with_several_maps_frees_and_takes_pages_of_each() {
    let mut run = Run::new(4096, 7);
    run.write(b"a", Some(&[1; 100]));
    // As if the file were that long: only its last pages are ever written, and nothing leads to the others.
    run.finds_lost = false;
    let second = BlockNumber::new(free_map::SPAN - 3);
    run.tree.relation().extend_to(second);
    let values = [30_000, 50_000, 20_000];
    for (round, len) in values.into_iter().enumerate() {
        run.write(&[b'b', round as u8], Some(&vec![round as u8; len]));
    }
    assert!(run.tree.page_count() > free_map::SPAN + 1, "the file reaches into the second map's part");
    run.write(&[b'b', 1], None);
    run.horizon = run.xid;
    let before = run.tree.page_count();
    let report = run.sweep(&[]);
    assert_eq!(report.freed, 7, "{report:?}");
    run.write(&[b'b', 3], Some(&[3; 50_000]));
    assert_eq!(run.tree.page_count(), before, "the pages freed were taken again");
    for round in [0, 2, 3] {
        run.write(&[b'b', round], None);
    }
    run.horizon = run.xid;
    let report = run.sweep(&[]);
    assert_eq!(report.pages, free_map::SPAN - 2, "the second map went with its part");
    run.write(b"again", Some(&[4; 60_000]));
    run.check_key(b"again", run.xid);
}
