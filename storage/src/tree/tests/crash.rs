//! Power cuts at every call that changes the disk, over the real log.

use super::{scan, value_of};
use crate::changes::records::info;
use crate::changes::store::{Log, Logged, NewVersion, Store, WriteBarrier};
use crate::testing::{DIR, TREE, difference, empty_disk, files, host_on, open_on};
use crate::tree::Prepared;
use crate::{Direction, Error, KeyRange};
use host::sync::Mutex;
use host::{Disk, write_file_durably};
use simulation::{CrashPolicy, VirtualDisk};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use wal::history::TimelineHistory;
use wal::xact::{XactEnd, XactRecord};
use wal::{
    EncodedRecord, Lsn, Next, ReaderOptions, SegmentFiles, SegmentSize, SystemId, TimelineId, WalReader,
    WalWriter, WriteStart, WriterConfig, Xid,
};

pub(super) const SIZE: SegmentSize = SegmentSize::new(1 << 20).unwrap();
pub(super) const SYSTEM: SystemId = SystemId::new(77);
const FIRST: Lsn = Lsn::new(1 << 20);

#[derive(Debug)]
struct RealLog(WalWriter);

impl Log for RealLog {
    fn insert(&self, record: &mut EncodedRecord) -> Result<Logged, Error> {
        self.0.insert(record).map_err(|error| Error::Log(error.to_string().into()))
    }
    fn redo_point(&self) -> Lsn {
        self.0.redo_point()
    }
}

impl WriteBarrier for RealLog {
    fn before_page_write(&self, lsn: Lsn) -> Result<Lsn, Error> {
        self.0.flush(lsn).map_err(|error| Error::Log(error.to_string().into()))
    }
}

fn wal_dir() -> &'static Path {
    Path::new("/data/pg_wal")
}

fn open_log(disk: &VirtualDisk) -> WalWriter {
    let mut config = WriterConfig::new(SYSTEM, TimelineId::FIRST);
    config.segment_size = SIZE;
    config.background = false;
    let start = WriteStart {
        insert_at: FIRST,
        previous: Lsn::INVALID,
        overwrites_contrecord: false,
        forked_from: None,
    };
    WalWriter::open(&host_on(disk), wal_dir(), config, start).unwrap()
}

type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Redoes the log from the last checkpoint on; gives the store, the next xid, and how often leaves were
/// packed.
fn recover(disk: &VirtualDisk) -> (Store, Xid, usize) {
    let store = open_on(disk, 128);
    let checkpoint = String::from_utf8(disk.read(Path::new("/data/checkpoint"), 100).unwrap()).unwrap();
    let (redo, next_xid) = checkpoint.split_once(' ').unwrap();
    let redo: Lsn = redo.parse().unwrap();
    let history = TimelineHistory::root(TimelineId::FIRST);
    let source = SegmentFiles::new(Arc::new(disk.clone()), wal_dir(), SIZE, history);
    let mut reader = WalReader::new(source, ReaderOptions::new(SIZE), redo);
    let mut next_xid = Xid::new(next_xid.parse().unwrap());
    let mut packed = 0;
    while let Next::Record(record) = reader.next().unwrap() {
        let xid = Xid::from_low(record.xid_low(), next_xid);
        packed += usize::from(record.rmgr() == wal::Rmgr::ENGINE && record.rmgr_info() == info::REPACK);
        if record.rmgr() == wal::Rmgr::XACT {
            next_xid = xid.next();
        }
        store.redo(&record, xid).unwrap();
    }
    store.check_missing().unwrap();
    (store, next_xid, packed)
}

/// What a workload has made durable for sure, watched while it runs.
#[derive(Default)]
pub(super) struct Promised {
    /// Transactions whose flush has returned.
    flushed: u64,
}

pub(super) struct Workload {
    disk: VirtualDisk,
    promised: Arc<Mutex<Promised>>,
    /// The rows after each transaction, by its number.
    states: Vec<Rows>,
    open: Option<(Store, Arc<RealLog>)>,
}

impl Workload {
    pub(super) fn on(disk: VirtualDisk) -> Self {
        Self { disk, promised: Arc::default(), states: Vec::new(), open: None }
    }

    /// Writes and flushes everything; the end of the log.
    pub(super) fn finish(&mut self) -> Lsn {
        let (store, log) = self.open.take().unwrap();
        let end = log.0.flush_all().unwrap();
        store.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
        end
    }

    fn note_checkpoint(&self, redo: Lsn, next_xid: u64) {
        let text = format!("{redo} {next_xid}");
        write_file_durably(&self.disk, Path::new("/data/checkpoint"), text.as_bytes()).unwrap();
    }

    pub(super) fn run(&mut self, seed: u64, transactions: u64, frames: usize, images: bool) {
        let mut random = fastrand::Rng::with_seed(seed);
        self.disk.create_dir_all(wal_dir()).unwrap();
        self.disk.sync_dir(Path::new(DIR)).unwrap();
        let store = open_on(&self.disk, frames);
        let log = Arc::new(RealLog(open_log(&self.disk)));
        store.set_log(log.clone());
        store.set_barrier(log.clone());
        store.set_full_page_writes(images);
        let first = wal::page::record_start(FIRST, SIZE);
        self.note_checkpoint(first, 3);
        store.writer().create_tree(TREE).unwrap();
        let tree = store.tree(TREE).unwrap();
        let mut rows = Rows::new();
        self.states.push(rows.clone());
        for number in 1..=transactions {
            let xid = Xid::new(2 + number);
            let mut writer = store.writer();
            writer.allow_io(true);
            writer.set_xid(xid);
            writer.set_horizon(xid);
            // Now and then whole pages of rows go away, and are swept.
            let wipes = random.u8(..15) == 0;
            let low = random.u32(..3) * 100;
            let writes: Vec<(u32, bool)> = match wipes {
                true => (low..low + 100).map(|number| (number, false)).collect(),
                false => (0..random.u8(1..8)).map(|_| (random.u32(..300), random.u8(..6) > 0)).collect(),
            };
            // A key once a transaction: of one that is cut off in the middle, what was written is then one of
            // two states.
            let writes: BTreeMap<u32, bool> = writes.into_iter().collect();
            for (number, put) in writes {
                let key = format!("k{number:04}").into_bytes();
                let value = put.then(|| value_of(&mut random));
                let version = NewVersion { cid: 0, value: value.as_deref() };
                writer.insert_version(&tree, &mut Prepared::new(), &key, version).unwrap();
                rows.insert(key, value);
            }
            let mut commit = XactRecord::Commit(XactEnd::default()).encode(xid.low(), 0).unwrap();
            let end = writer.insert_record(&mut commit).unwrap().end;
            drop(writer);
            self.states.push(rows.clone());
            if random.u8(..3) > 0 {
                log.0.flush(end).unwrap();
                self.promised.lock().flushed = number;
            }
            if wipes {
                tree.sweep(&|| xid.next(), &[], true, &mut crate::tree::Unpaced).unwrap();
                store.run_blocking(|| store.writer().cut_end(&tree, true)).unwrap();
                if random.bool() {
                    store.finish_cut(tree.relation()).unwrap();
                }
            }
            if random.u8(..12) == 0 {
                let redo = {
                    let _writer = store.writer();
                    log.0.set_redo_point_here()
                };
                log.0.flush_all().unwrap();
                store.flush_before(redo, &mut |_| ()).unwrap();
                self.note_checkpoint(redo, xid.next().get());
            }
        }
        self.open = Some((store, log));
    }
}

fn rows_of(store: &Store) -> Rows {
    let Ok(tree) = store.tree(TREE) else { return Rows::new() };
    tree.verify().unwrap();
    scan(store, &tree, KeyRange::all(), Direction::Forward, u64::MAX, 50)
        .into_iter()
        .map(|(key, value)| (key, Some(value)))
        .collect()
}

fn live(rows: &Rows) -> Rows {
    rows.iter()
        .filter(|(_, value)| value.is_some())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Holds the rows to the first of these states.
fn check_rows(store: &Store, states: &[Rows], cut: &str) {
    let found = rows_of(store);
    // A transaction whose commit is not there may have left versions: here nobody hides them, so compare with
    // the state up to it only when no such version is there.
    let expected = live(&states[0]);
    let later = states.get(1).map(live).unwrap_or_default();
    for (key, value) in &found {
        assert!(expected.get(key) == Some(value) || later.get(key) == Some(value), "{cut}: key {key:?}");
    }
    for key in expected.keys() {
        let gone = states.get(1).is_some_and(|rows| rows.get(key) == Some(&None));
        assert!(found.contains_key(key) || gone, "{cut}: key {key:?} is lost");
    }
}

/// Runs a workload, cuts power at every `stride`th change, and recovers from what each cut leaves. Returns
/// how many distinct disks were recovered, and how often leaves were packed anew in doing so.
fn cut_everywhere(seed: u64, transactions: u64, stride: u64, images: bool) -> (usize, usize) {
    let disk = empty_disk();
    let cuts: Arc<Mutex<Vec<(VirtualDisk, u64)>>> = Arc::default();
    let promised: Arc<Mutex<Promised>> = Arc::default();
    let (sink, seen) = (cuts.clone(), promised.clone());
    let mut count = 0;
    disk.observe(Box::new(move |_, moment| {
        count += 1;
        let disk = moment.fork();
        if count % stride == 0 && disk.exists(Path::new("/data/checkpoint")).unwrap() {
            sink.lock().push((disk, seen.lock().flushed));
        }
    }));
    let mut workload = Workload::on(disk.clone());
    workload.promised = promised;
    workload.run(seed, transactions, 128, images);
    disk.stop_observing();
    let (mut hashes, mut packed) = (std::collections::BTreeSet::new(), 0);
    let cuts = std::mem::take(&mut *cuts.lock());
    println!("seed {seed}: {} cuts", cuts.len());
    for (at, (disk, flushed)) in cuts.into_iter().enumerate() {
        // Torn pages are healed by images only.
        let policies = [
            CrashPolicy::LoseUnsynced,
            CrashPolicy::KeepAll,
            CrashPolicy::InOrder { seed: at as u64 },
            CrashPolicy::Anything { seed: at as u64 },
        ];
        for policy in policies.into_iter().take(if images { 4 } else { 2 }) {
            let crashed = disk.crash(policy);
            if !crashed.exists(Path::new("/data/checkpoint")).unwrap() || !hashes.insert(crashed.image_hash())
            {
                continue;
            }
            let (store, next_xid, repacks) = recover(&crashed);
            packed += repacks;
            let last = next_xid.get() - 3;
            let cut = format!("seed {seed}, cut {at}, {policy:?}");
            assert!(last >= flushed, "{cut}: {last} of {flushed} flushed are there");
            check_rows(&store, &workload.states[last as usize..], &cut);
            // Whatever was on disk before, the same log gives the same bytes.
            if at % 8 == 0 {
                store.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
                let once = files(&crashed);
                let (again, ..) = recover(&crashed);
                again.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
                assert_eq!(difference(&once, &files(&crashed)), None, "recovered twice");
            }
        }
    }
    (hashes.len(), packed)
}

#[test]
fn power_cuts_at_every_write_lose_nothing_that_was_flushed() {
    let (mut distinct, mut packed) = (0, 0);
    let runs = (0..4).map(|seed| (seed, 60, 1)).chain([(100, 600, 13)]);
    for (seed, transactions, stride) in runs {
        let (states, repacks) = cut_everywhere(seed, transactions, stride, true);
        (distinct, packed) = (distinct + states, packed + repacks);
    }
    println!("{distinct} crash states, in which leaves were packed {packed} times");
    assert!(packed > 100, "leaves were packed {packed} times only");
    assert!(distinct > 500, "{distinct} crash states only");
}

#[test]
fn without_page_images_a_kill_of_the_process_loses_nothing_that_was_flushed() {
    assert!(cut_everywhere(5, 80, 2, false).0 > 50);
}
