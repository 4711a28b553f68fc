//! Damage, missing files, failing disks.

use super::Run;
use crate::Error;
use crate::changes::store::NewVersion;
use crate::pages::page::{Page, PageKind};
use crate::pages::relation::Relations;
use crate::pages::relation::SEGMENT_PAGES;
use crate::testing::{TREE, difference, empty_disk, files, open_on, redo_all};
use crate::tree::Prepared;
use host::Disk;
use simulation::{Call, CrashPolicy, Fault, FaultKind};
use std::path::Path;
use std::sync::Arc;
use wal::{BlockNumber, Lsn, RelFile};

fn filled() -> Run {
    let mut run = Run::new(128, 1);
    for number in 0..2000_u32 {
        run.write(&number.to_be_bytes(), Some(&[1; 100]));
    }
    run.flush();
    run
}

#[test]
fn a_flipped_bit_on_disk_is_an_error_that_names_file_and_block() {
    let run = filled();
    let leaf = 5;
    run.bench.disk.flip_bit(Path::new("/data/base/5/16384"), leaf * 8192 + 4000, 3).unwrap();
    let store = open_on(&run.bench.disk, 128);
    let error = store.tree(TREE).unwrap().verify().unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "XX001");
    let text = error.to_string();
    assert!(text.contains("base/5/16384") && text.contains("block 5") && text.contains("checksum"), "{text}");
    let other = store.tree(TREE).unwrap();
    let mut value = Vec::new();
    let last = 1999_u32.to_be_bytes();
    assert!(
        store.run_blocking(|| other.lookup(&last, |_| true, &mut value)).unwrap().is_some(),
        "the rest is readable"
    );
}

#[test]
fn log_for_a_page_that_is_gone_is_damage_unless_its_relation_is_dropped_later() {
    let run = filled();
    let records = run.bench.log.records();
    let copy = empty_disk();
    let store = open_on(&copy, 128);
    redo_all(&store, &records[records.len() - 200..]).unwrap();
    let error = store.check_missing().unwrap_err();
    assert!(error.to_string().contains("base/5/16384"), "{error}");
    store.drop_files(&[TREE.file()], Lsn::INVALID).unwrap();
    store.check_missing().unwrap();
    assert!(matches!(store.tree(TREE), Err(Error::NoSuchTree(_))));
}

#[test]
fn a_dropped_tree_leaves_no_file_and_no_page_behind() {
    let run = filled();
    let (store, tree) = (run.bench.store.clone(), run.tree.clone());
    assert!(files(&run.bench.disk).iter().any(|(name, _)| name == "base/5/16384"));
    store.drop_files(&[TREE.file()], Lsn::INVALID).unwrap();
    assert!(!files(&run.bench.disk).iter().any(|(name, _)| name == "base/5/16384"));
    store.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
    assert!(files(&run.bench.disk).is_empty(), "a checkpoint does not bring it back");
    let mut value = Vec::new();
    let stale = store.run_blocking(|| tree.lookup(b"anything", |_| true, &mut value));
    assert!(matches!(stale, Err(Error::NoSuchTree(_))), "{stale:?}");
}

#[test]
fn after_a_failed_sync_no_page_is_ever_written_again() {
    let mut run = filled();
    run.write(b"more", Some(b"work"));
    run.bench.disk.inject(Fault::once(Call::Sync, "base/5", 1, FaultKind::Io));
    let failed = run.bench.store.flush_before(Lsn::MAX, &mut |_| ()).unwrap_err();
    assert_eq!(failed.sqlstate().as_str(), "58030", "{failed}");
    run.bench.disk.clear_faults();
    let version = NewVersion { cid: 0, value: None };
    let mut writer = run.bench.store.writer();
    let refused = writer.insert_version(&run.tree, &mut Prepared::new(), b"later", version);
    assert!(refused.is_err(), "pages that can never be written take no changes");
    drop(writer);
    let before = files(&run.bench.disk);
    assert!(run.bench.store.flush_before(Lsn::MAX, &mut |_| ()).is_err(), "the sync is not tried again");
    assert_eq!(difference(&before, &files(&run.bench.disk)), None);
}

#[test]
fn a_full_disk_fails_page_writes_and_they_succeed_once_there_is_space() {
    let mut run = filled();
    let used: u64 = files(&run.bench.disk).iter().map(|(_, bytes)| bytes.len() as u64).sum();
    run.bench.disk.set_capacity(used);
    for number in 5000..5600_u32 {
        run.write(&number.to_be_bytes(), Some(&[1; 100]));
    }
    let error = run.bench.store.flush_before(Lsn::MAX, &mut |_| ()).unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "53100", "{error}");
    run.check_key(&100_u32.to_be_bytes(), run.xid);
    run.bench.disk.set_capacity(u64::MAX);
    let ours = run.flush();
    let copy = empty_disk();
    let store = open_on(&copy, 128);
    redo_all(&store, &run.bench.log.records()).unwrap();
    store.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
    assert_eq!(difference(&ours, &files(&copy)), None);
}

#[test]
fn a_relation_goes_on_in_a_second_file_after_a_gibibyte() {
    let disk = empty_disk();
    let relations = Relations::open(Arc::new(disk.clone()), Path::new("/data")).unwrap();
    let rel = RelFile::new(5, 20000);
    let relation = relations.create(rel).unwrap();
    let mut page = Page::boxed();
    page.init(PageKind::Free, 0, BlockNumber::INVALID);
    let last = BlockNumber::new(SEGMENT_PAGES + 3);
    relation.write(last, &[*page.bytes()]).unwrap();
    relation.extend_to(last);
    relations.sync(&|| Ok(())).unwrap();
    let disk = disk.crash(CrashPolicy::LoseUnsynced);
    assert_eq!(disk.metadata(Path::new("/data/base/5/20000.1")).unwrap().len, 4 * 8192);
    let again = Relations::open(Arc::new(disk.clone()), Path::new("/data")).unwrap();
    let relation = again.get(rel).unwrap();
    assert_eq!(relation.page_count(), SEGMENT_PAGES + 4);
    let mut read = Page::boxed();
    assert!(relation.read(last, &mut read).unwrap());
    assert_eq!(read, page);
    again.truncate(rel, SEGMENT_PAGES + 1).unwrap();
    assert_eq!(disk.metadata(Path::new("/data/base/5/20000.1")).unwrap().len, 8192);
    again.remove(rel).unwrap();
    assert!(!disk.exists(Path::new("/data/base/5/20000.1")).unwrap());
}
