//! A writer on a virtual disk, records that know their number, and reading them back.

use host::Disk;
use host::sync::Mutex;
use simulation::VirtualDisk;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Wake;
use wal::history::TimelineHistory;
use wal::reader::EndReason;
use wal::{
    EncodedRecord, EndOfWal, LogObserver, Lsn, Next, ReaderOptions, Record, RecordBuilder, Rmgr,
    SegmentFiles, SegmentSize, SystemId, TimelineId, WalReader, WalWriter, WriteStart, WriterConfig,
};

pub const SIZE: SegmentSize = SegmentSize::new(1 << 20).unwrap();
pub const DIR: &str = "/data/pg_wal";
pub const TLI: TimelineId = TimelineId::FIRST;

pub fn dir() -> &'static Path {
    Path::new(DIR)
}

/// The file that has a place of the first timeline.
pub fn path_of(at: Lsn) -> PathBuf {
    dir().join(SIZE.segment_of(at).file_name(TLI, SIZE))
}

/// Where the first segment of the tests starts.
pub fn origin() -> Lsn {
    Lsn::new(SIZE.bytes())
}

/// A disk with an empty pg_wal, durable.
pub fn new_disk() -> VirtualDisk {
    let disk = VirtualDisk::new();
    disk.create_dir_all(dir()).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    disk
}

/// No threads, small segments.
pub fn quiet() -> WriterConfig {
    WriterConfig { segment_size: SIZE, background: false, ..WriterConfig::new(SystemId::new(77), TLI) }
}

pub fn at(insert_at: Lsn, previous: Lsn) -> WriteStart {
    WriteStart { insert_at, previous, overwrites_contrecord: false, forked_from: None }
}

pub fn open(disk: &VirtualDisk, config: WriterConfig, start: WriteStart) -> WalWriter {
    WalWriter::open(&simulation::host(disk, 1), dir(), config, start).unwrap()
}

/// A writer of a new log.
pub fn fresh(disk: &VirtualDisk, config: WriterConfig) -> WalWriter {
    open(disk, config, at(origin(), Lsn::INVALID))
}

/// A record (XLOG NOOP) with a number and so many bytes that follow from it.
pub fn record(number: u64, len: usize) -> EncodedRecord {
    let data = payload(number, len);
    RecordBuilder::new(Rmgr::XLOG, wal::xlog::NOOP, 0).main_data(&data).encode().unwrap()
}

pub fn payload(number: u64, len: usize) -> Vec<u8> {
    let mut data = number.to_le_bytes().to_vec();
    data.resize(8 + len, (number % 251) as u8 + 1);
    data
}

/// The number of a record, after its bytes were compared with those it must have.
pub fn number_of(record: &Record) -> u64 {
    let data = record.main_data();
    let number = u64::from_le_bytes(data[..8].try_into().unwrap());
    assert_eq!(data, payload(number, data.len() - 8), "record {number} at {}", record.start());
    number
}

/// All records from `from` on (switches left out), and where and why the log ends.
pub fn read_all(disk: &VirtualDisk, from: Lsn, history: TimelineHistory) -> (Vec<Record>, EndOfWal) {
    let source = SegmentFiles::new(Arc::new(disk.clone()), dir(), SIZE, history);
    read_on(&mut WalReader::new(source, ReaderOptions::new(SIZE), from))
}

/// All records from where a reader stands.
pub fn read_on(reader: &mut WalReader<SegmentFiles>) -> (Vec<Record>, EndOfWal) {
    let mut records = Vec::new();
    loop {
        match reader.next().unwrap() {
            Next::Record(record) if record.is_switch() => {}
            Next::Record(record) => records.push(record),
            Next::End(end) => return (records, end),
        }
    }
}

/// The numbers of all records of a log on the first timeline.
pub fn numbers(disk: &VirtualDisk) -> Vec<u64> {
    let (records, _) = read_all(disk, origin(), TimelineHistory::root(TLI));
    records.iter().map(number_of).collect()
}

/// Whether a log ends in zeros, or where no segment is: with nothing behind the last record.
pub fn is_clean(end: &EndOfWal) -> bool {
    !end.torn
        && match end.reason {
            EndReason::NotYet { .. } => true,
            EndReason::Invalid(damage) => {
                matches!(damage.defect, wal::reader::Defect::NoRecord | wal::reader::Defect::Page(_))
            }
        }
}

/// Notes what a log says of itself, and as a waker when it is woken.
#[derive(Debug, Default)]
pub struct Observer {
    told: Mutex<Vec<&'static str>>,
}

impl Observer {
    /// What it heard, in order.
    pub fn told(&self) -> Vec<&'static str> {
        self.told.lock().clone()
    }
    fn note(&self, what: &'static str) {
        self.told.lock().push(what);
    }
}

impl LogObserver for Observer {
    fn flushed(&self) {
        self.note("flushed");
    }
    fn failed(&self) {
        self.note("failed");
    }
}

impl Wake for Observer {
    fn wake(self: Arc<Self>) {
        self.note("woken");
    }
}
