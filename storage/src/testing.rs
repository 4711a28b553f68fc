//! A store over a virtual disk with a log in memory, for the tests of this crate.

use crate::changes::store::{Log, Logged, Store, StoreOptions, WriteBarrier};
use crate::{Error, TreeId};
use bytes::Bytes;
use host::sync::Mutex;
use host::{Disk, Host};
use simulation::{ManualClock, SeededEntropy, VirtualDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wal::{EncodedRecord, Lsn, Record, Xid};

/// Where the test's data directory lies on the virtual disk.
pub(crate) const DIR: &str = "/data";

/// A log that keeps its records.
#[derive(Debug, Default)]
pub(crate) struct MemoryLog {
    state: Mutex<LogState>,
    redo: AtomicU64,
    flushed: AtomicU64,
}

#[derive(Debug, Default)]
struct LogState {
    records: Vec<Record>,
    last: u64,
    next: u64,
    /// Records that are still taken; then the disk is full.
    left: Option<usize>,
    forgetful: bool,
}

impl MemoryLog {
    pub(crate) fn new() -> Arc<Self> {
        let log = Self::default();
        log.state.lock().next = 40;
        Arc::new(log)
    }
    pub(crate) fn records(&self) -> Vec<Record> {
        self.state.lock().records.clone()
    }
    /// As a checkpoint does: page images from here on.
    pub(crate) fn set_redo_here(&self) {
        self.redo.store(self.state.lock().next, Ordering::Release);
    }
    pub(crate) fn flushed(&self) -> Lsn {
        Lsn::new(self.flushed.load(Ordering::Acquire))
    }
    /// Keeps no records from now on.
    pub(crate) fn forget_records(&self) {
        self.state.lock().forgetful = true;
    }
    /// Takes `count` more records, then says that the disk is full.
    pub(crate) fn fill_after(&self, count: Option<usize>) {
        self.state.lock().left = count;
    }
}

impl Log for MemoryLog {
    fn insert(&self, record: &mut EncodedRecord) -> Result<Logged, Error> {
        let mut state = self.state.lock();
        if let Some(left) = &mut state.left {
            *left = left.checked_sub(1).ok_or(Error::DiskFull { path: PathBuf::from("pg_wal") })?;
        }
        let start = Lsn::new(state.next);
        let previous = Lsn::new(state.last);
        let end = (start + u64::from(record.len())).aligned();
        let bytes = record.finish(previous);
        if !state.forgetful {
            state.records.push(Record::decode(start, end, Bytes::copy_from_slice(bytes)).unwrap());
        }
        (state.last, state.next) = (start.get(), end.get());
        Ok(Logged { start, end })
    }
    fn redo_point(&self) -> Lsn {
        Lsn::new(self.redo.load(Ordering::Acquire))
    }
}

impl WriteBarrier for MemoryLog {
    fn before_page_write(&self, lsn: Lsn) -> Result<Lsn, Error> {
        let flushed = self.flushed.fetch_max(lsn.get(), Ordering::AcqRel).max(lsn.get());
        Ok(Lsn::new(flushed))
    }
}

pub(crate) fn host_on(disk: &VirtualDisk) -> Host {
    Host {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::default()),
        entropy: Arc::new(SeededEntropy::new(1)),
    }
}

pub(crate) fn empty_disk() -> VirtualDisk {
    let disk = VirtualDisk::new();
    disk.create_dir_all(Path::new("/data/base/1")).unwrap();
    disk.create_dir_all(Path::new("/data/base/5")).unwrap();
    for folder in ["/", "/data", "/data/base", "/data/base/1", "/data/base/5"] {
        disk.sync_dir(Path::new(folder)).unwrap();
    }
    disk
}

pub(crate) fn open_on(disk: &VirtualDisk, frames: usize) -> Store {
    let options = StoreOptions { dir: DIR.into(), frames, checksums: true, full_page_writes: true };
    Store::open(&host_on(disk), options).unwrap()
}

/// A store that takes writes, and its disk and log.
pub(crate) struct Bench {
    pub(crate) disk: VirtualDisk,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) store: Store,
}

pub(crate) const TREE: TreeId = TreeId::new(5, 16384);

pub(crate) fn bench(frames: usize) -> Bench {
    let (disk, log) = (empty_disk(), MemoryLog::new());
    let store = open_on(&disk, frames);
    store.set_log(log.clone());
    store.set_barrier(log.clone());
    let mut writer = store.writer();
    writer.allow_io(true);
    writer.create_tree(TREE).unwrap();
    drop(writer);
    Bench { disk, log, store }
}

/// Redoes all records onto a store.
pub(crate) fn redo_all(store: &Store, records: &[Record]) -> Result<(), Error> {
    for record in records {
        store.redo(record, crate::changes::records::full_xid(record, Xid::new(1000)))?;
    }
    Ok(())
}

/// All relation files with their bytes.
pub(crate) fn files(disk: &VirtualDisk) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for folder in ["base/1", "base/5"] {
        let path = Path::new(DIR).join(folder);
        for entry in disk.list(&path).unwrap() {
            let bytes = disk.read(&path.join(&entry.name), 1 << 30).unwrap();
            files.push((format!("{folder}/{}", entry.name), bytes));
        }
    }
    files
}

/// Where two sets of files differ first, as text for a failing test.
pub(crate) fn difference(left: &[(String, Vec<u8>)], right: &[(String, Vec<u8>)]) -> Option<String> {
    if left.iter().map(|file| &file.0).ne(right.iter().map(|file| &file.0)) {
        return Some("other files".into());
    }
    left.iter().zip(right).find(|(left, right)| left.1 != right.1).map(|(left, right)| {
        let at = left.1.iter().zip(&right.1).position(|(left, right)| left != right);
        let (lens, name) = ((left.1.len(), right.1.len()), &left.0);
        format!(
            "{name} of {lens:?} bytes differs at block {:?} byte {:?}",
            at.map(|at| at / 8192),
            at.map(|at| at % 8192)
        )
    })
}
