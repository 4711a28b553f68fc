//! Raw bytes on a standby.

use crate::support::*;
use host::{Disk, OpenMode};
use simulation::{Call, CrashPolicy, Fault, FaultKind, VirtualDisk};
use std::sync::Arc;
use wal::history::{BranchId, TimelineHistory};
use wal::{
    LogBranch, Lsn, RawConfig, RawWriter, ReaderOptions, SegmentFiles, SegmentFolder, StandbyPositions,
    TimelineId, WalError, WalReader, WalWriter,
};

fn standby_at(disk: &VirtualDisk, timeline: TimelineId, at: Lsn) -> RawWriter {
    let config = RawConfig { background: false, ..RawConfig::new(timeline, SIZE) };
    let positions = Arc::new(StandbyPositions::new(at));
    RawWriter::open(&simulation::host(disk, 2), dir(), config, at, positions).unwrap()
}

/// Ships everything that is flushed in runs of random length; returns the new end.
fn ship(primary: &WalWriter, standby: &RawWriter, random: &mut fastrand::Rng) -> Lsn {
    while standby.end() < primary.positions().flushed() {
        let bytes = primary.read_recent(standby.end(), random.usize(1..20_000)).unwrap();
        standby.write_at(standby.end(), &bytes).unwrap();
    }
    standby.flush().unwrap()
}

/// The log's bytes from the first segment up to `upto`.
fn log_bytes(disk: &VirtualDisk, timeline: TimelineId, upto: Lsn) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut segment = SIZE.segment_of(origin());
    while SIZE.start_of(segment) < upto {
        bytes.extend(disk.read(&dir().join(segment.file_name(timeline, SIZE)), 1 << 20).unwrap());
        segment = segment.next();
    }
    bytes.truncate(usize::try_from(upto.bytes_since(origin())).unwrap());
    bytes
}

#[test]
fn a_standbys_log_equals_its_primarys_at_every_flush() {
    let (here, there) = (new_disk(), new_disk());
    let primary = fresh(&here, quiet());
    let standby = standby_at(&there, TLI, origin());
    let mut random = fastrand::Rng::with_seed(6);
    for number in 0..400 {
        primary.insert(&mut record(number, random.usize(..20_000))).unwrap();
        if number == 200 {
            primary.switch_segment().unwrap();
        }
        primary.flush_all().unwrap();
        // Segments without zeros take the log as well.
        standby.set_bulk(number % 100 < 50);
        let end = ship(&primary, &standby, &mut random);
        assert_eq!((standby.positions().received(), standby.positions().flushed()), (end, end));
        if number % 40 == 0 {
            let after = there.crash(CrashPolicy::LoseUnsynced);
            assert!(log_bytes(&after, TLI, end) == log_bytes(&here, TLI, end), "at {end}");
        }
    }
    assert_eq!(numbers(&there), (0..400).collect::<Vec<_>>());
}

/// A flush that sees the end of what a write has just put down counts it as received as well.
#[test]
fn a_flush_beside_a_write_never_flushes_what_is_not_received() {
    const WRITES: u64 = 500_000;
    let (here, there) = (new_disk(), new_disk());
    let primary = fresh(&here, quiet());
    let end = primary.insert(&mut record(0, 500_000)).unwrap().end;
    primary.flush_all().unwrap();
    let bytes = primary.read_recent(origin(), usize::try_from(end.bytes_since(origin())).unwrap()).unwrap();
    let standby = standby_at(&there, TLI, origin());
    std::thread::scope(|threads| {
        threads.spawn(|| while standby.flush().unwrap() < end {});
        for piece in bytes.chunks(bytes.len().div_ceil(usize::try_from(WRITES).unwrap())) {
            standby.write_at(standby.end(), piece).unwrap();
        }
    });
    assert_eq!(standby.positions().flushed(), end);
}

#[test]
fn a_standbys_log_is_durable_from_the_moment_on_at_which_fsync_is_turned_on() {
    let (here, there) = (new_disk(), new_disk());
    let primary = fresh(&here, quiet());
    let record_of = LogBranch::unrecorded();
    let config = RawConfig { background: false, fsync: false, ..RawConfig::new(TLI, SIZE) };
    let positions = Arc::new(StandbyPositions::new(origin()));
    let standby = RawWriter::open(&simulation::host(&there, 2), dir(), config, origin(), positions).unwrap();
    let standby = standby.recorded_in(record_of.clone());
    let mut random = fastrand::Rng::with_seed(10);
    let mut ship_more = |from: u64| {
        (from..from + 100).for_each(|number| _ = primary.insert(&mut record(number, 20_000)).unwrap());
        primary.flush_all().unwrap();
        ship(&primary, &standby, &mut random)
    };
    let survive = || numbers(&there.crash(CrashPolicy::LoseUnsynced)).len();
    let end = ship_more(0);
    assert!(end > origin() + SIZE.bytes(), "a segment is full");
    assert_eq!(standby.positions().flushed(), end, "it counts as flushed all the same");
    assert!(survive() < 100 && record_of.received().is_none());
    standby.set_fsync(true).unwrap();
    assert_eq!(survive(), 100, "also what came before");
    let end = ship_more(100);
    assert_eq!((survive(), record_of.received().map(|received| received.lsn)), (200, Some(end)));
    standby.set_fsync(false).unwrap();
    ship_more(200);
    assert_eq!(record_of.received().map(|received| received.lsn), Some(end), "of the rest nobody knows");
}

#[test]
fn bytes_that_do_not_continue_the_log_are_refused() {
    let disk = new_disk();
    let standby = standby_at(&disk, TLI, origin());
    for wrong in [origin() + 1, Lsn::new(0), origin() + SIZE.bytes()] {
        let refused = standby.write_at(wrong, b"bytes");
        assert!(matches!(refused, Err(WalError::NotContiguous { .. })), "{refused:?}");
    }
    assert_eq!(standby.end(), origin());
}

#[test]
fn what_a_failed_sync_left_to_the_kernel_is_not_durable_by_what_a_former_life_began() {
    let (here, disk) = (new_disk(), new_disk());
    let primary = fresh(&here, quiet());
    primary.insert(&mut record(0, 10)).unwrap();
    primary.flush_all().unwrap();
    let (whole, size) = (primary.positions().flushed(), usize::try_from(SIZE.bytes()).unwrap());
    primary.insert(&mut record(1, size)).unwrap();
    primary.flush_all().unwrap();
    let mut random = fastrand::Rng::with_seed(8);
    let standby = standby_at(&disk, TLI, origin());
    ship(&primary, &standby, &mut random);
    drop(standby);
    // The long record was torn, say: the log ends before it, and its rest comes once more.
    let standby = standby_at(&disk, TLI, whole);
    let bytes = primary.read_recent(whole, size / 2).unwrap();
    standby.write_at(whole, &bytes).unwrap();
    disk.inject(Fault::once(Call::Sync, "pg_wal", 1, FaultKind::Io));
    standby.flush().unwrap_err();
    drop(standby);
    let folder = SegmentFolder::new(Arc::new(disk.clone()), dir(), SIZE);
    folder.make_durable(origin(), || true).unwrap();
    let end = whole + bytes.len() as u64;
    let after = disk.crash(CrashPolicy::LoseUnsynced);
    assert!(log_bytes(&after, TLI, end) == log_bytes(&here, TLI, end));
}

#[test]
fn what_comes_again_is_written_over_and_nothing_behind_it_goes() {
    let (here, there) = (new_disk(), new_disk());
    let primary = fresh(&here, quiet());
    let ends: Vec<_> =
        (0..200).map(|number| primary.insert(&mut record(number, 20_000)).unwrap().end).collect();
    primary.flush_all().unwrap();
    let mut random = fastrand::Rng::with_seed(9);
    let end = ship(&primary, &standby_at(&there, TLI, origin()), &mut random);
    let whole = log_bytes(&here, TLI, end);
    assert!(SIZE.segment_of(end) > SIZE.segment_of(ends[60]).next(), "over some segments");
    for (name, upto) in [("all of it", end), ("a part", ends[150])] {
        let again = there.fork();
        let positions = Arc::new(StandbyPositions::new(ends[50]));
        let config = RawConfig { background: false, again_upto: upto, ..RawConfig::new(TLI, SIZE) };
        let standby =
            RawWriter::open(&simulation::host(&again, 2), dir(), config, ends[50], positions).unwrap();
        assert!(log_bytes(&again, TLI, end) == whole, "nothing came yet");
        while standby.end() < upto {
            let left = usize::try_from(upto.bytes_since(standby.end())).unwrap();
            let bytes = primary.read_recent(standby.end(), random.usize(1..20_000).min(left)).unwrap();
            standby.write_at(standby.end(), &bytes).unwrap();
            let is_over = standby.end() == upto;
            assert!(is_over || log_bytes(&again, TLI, end) == whole, "{name}: at {}", standby.end());
        }
        // What is behind was never said to be here.
        let kept = usize::try_from(upto.bytes_since(origin())).unwrap();
        let left = log_bytes(&again, TLI, end);
        assert!(left[..kept] == whole[..kept] && left[kept..].iter().take(8192).all(|byte| *byte == 0));
    }
}

#[test]
fn what_comes_again_may_end_in_the_zeros_behind_a_switch() {
    let (here, there) = (new_disk(), new_disk());
    let primary = fresh(&here, quiet());
    let begin = primary.insert(&mut record(1, 20_000)).unwrap().end;
    let switch = primary.insert(&mut record(2, 20_000)).unwrap().end;
    primary.switch_segment().unwrap();
    primary.insert(&mut record(3, 20_000)).unwrap();
    primary.flush_all().unwrap();
    let mut random = fastrand::Rng::with_seed(10);
    let end = ship(&primary, &standby_at(&there, TLI, origin()), &mut random);
    let whole = log_bytes(&here, TLI, end);
    let upto = switch.page_start() + 20_000;
    let config = RawConfig { background: false, again_upto: upto, ..RawConfig::new(TLI, SIZE) };
    let positions = Arc::new(StandbyPositions::new(begin));
    let standby = RawWriter::open(&simulation::host(&there, 2), dir(), config, begin, positions).unwrap();
    let piece = |from: Lsn, to: Lsn| {
        let from = usize::try_from(from.bytes_since(origin())).unwrap();
        &whole[from..from + usize::try_from(to.bytes_since(origin())).unwrap() - from]
    };
    standby.write_at(begin, piece(begin, upto)).unwrap();
    standby.flush().unwrap();
    standby.write_at(upto, piece(upto, end)).unwrap();
    standby.flush().unwrap();
    assert!(log_bytes(&there, TLI, end) == whole);
}

#[test]
fn a_standby_goes_on_where_it_was_after_a_crash() {
    let (here, mut there) = (new_disk(), new_disk());
    let primary = fresh(&here, quiet());
    let mut random = fastrand::Rng::with_seed(7);
    let mut at = origin();
    let mut shipped = 0;
    for life in 0..20 {
        let standby = standby_at(&there, TLI, at);
        for _ in 0..10 {
            primary.insert(&mut record(shipped, random.usize(..9000))).unwrap();
            shipped += 1;
        }
        primary.flush_all().unwrap();
        let flushed = ship(&primary, &standby, &mut random);
        // Some more arrives, is not flushed, and the machine goes down.
        primary.insert(&mut record(shipped, 30_000)).unwrap();
        shipped += 1;
        primary.flush_all().unwrap();
        let bytes = primary.read_recent(flushed, 17_000).unwrap();
        standby.write_at(flushed, &bytes).unwrap();
        there = there.crash(CrashPolicy::Anything { seed: life });
        let (records, end) = read_all(&there, origin(), TimelineHistory::root(TLI));
        assert!(records.len() as u64 >= shipped - 1, "life {life}");
        at = end.at;
    }
    let standby = standby_at(&there, TLI, at);
    let end = ship(&primary, &standby, &mut random);
    assert!(log_bytes(&there, TLI, end) == log_bytes(&here, TLI, end));
}

#[test]
fn a_switch_of_timelines_goes_on_in_a_segment_that_begins_the_same() {
    let (here, there) = (new_disk(), new_disk());
    let primary = fresh(&here, quiet());
    let standby = standby_at(&there, TLI, origin());
    let mut random = fastrand::Rng::with_seed(8);
    let placed: Vec<_> = (0..50).map(|number| primary.insert(&mut record(number, 3000)).unwrap()).collect();
    primary.flush_all().unwrap();
    ship(&primary, &standby, &mut random);
    drop(primary);
    let (two, last) = (TimelineId::new(2), placed[49]);
    let config = wal::WriterConfig { timeline: two, ..quiet() };
    let start = wal::WriteStart { forked_from: Some(TLI), ..at(last.end, last.start) };
    let promoted = open(&here, config, start);
    promoted.insert(&mut record(50, 3000)).unwrap();
    promoted.flush_all().unwrap();
    standby.switch_timeline(two).unwrap();
    assert_eq!(standby.timeline(), two);
    let end = ship(&promoted, &standby, &mut random);
    assert!(log_bytes(&there, two, end) == log_bytes(&here, two, end));
    let history = TimelineHistory::root(TLI).fork(two, last.end, "test", BranchId::new(1)).unwrap();
    let (records, _) = read_all(&there.crash(CrashPolicy::LoseUnsynced), origin(), history);
    assert_eq!(records.iter().map(number_of).collect::<Vec<_>>(), (0..=50).collect::<Vec<_>>());
}

#[test]
fn segments_go_without_zeros_while_much_log_comes_on_every_timeline() {
    let disk = new_disk();
    let standby = standby_at(&disk, TLI, origin());
    let segment = vec![1; usize::try_from(SIZE.bytes()).unwrap()];
    let fill = || standby.write_at(standby.end(), &segment);
    standby.set_bulk(true);
    fill().unwrap();
    standby.switch_timeline(TimelineId::new(2)).unwrap();
    // Nothing may be written to a segment that is being made.
    disk.inject(Fault::always(Call::Write, "xlogtemp.", FaultKind::Io));
    for _ in 0..3 {
        fill().unwrap();
    }
    standby.set_bulk(false);
    assert!(fill().is_err());
}

#[test]
fn a_full_disk_may_be_tried_again_and_a_failed_sync_may_not() {
    let disk = new_disk();
    let standby = standby_at(&disk, TLI, origin());
    standby.write_at(origin(), &vec![1; 1 << 20]).unwrap();
    disk.set_capacity(1 << 20);
    let full = standby.write_at(standby.end(), b"more").unwrap_err();
    assert!(matches!(full, WalError::DiskFull { .. }), "{full}");
    disk.set_capacity(u64::MAX);
    standby.write_at(standby.end(), b"more").unwrap();
    disk.inject(Fault::once(Call::Sync, "", 1, FaultKind::Io));
    assert!(matches!(standby.flush(), Err(WalError::Failed { .. })));
    assert!(matches!(standby.flush(), Err(WalError::Failed { .. })));
    assert!(matches!(standby.write_at(standby.end(), b"x"), Err(WalError::Failed { .. })));
    assert_eq!(standby.positions().flushed(), origin());
}

#[test]
fn whole_records_are_found_behind_what_cannot_be_read_or_is_gone() {
    let disk = new_disk();
    let primary = fresh(&disk, quiet());
    let records: Vec<_> = (0..300).map(|number| primary.insert(&mut record(number, 5000)).unwrap()).collect();
    primary.flush_all().unwrap();
    let end = primary.positions().flushed();
    let segment = |at: Lsn| dir().join(SIZE.segment_of(at).file_name(TLI, SIZE));
    let spoil = |at: Lsn, len: usize| {
        let file = disk.open(&segment(at), OpenMode::ReadWrite).unwrap();
        file.write_all_at(&vec![0xA5; len], SIZE.offset_of(at)).unwrap();
    };
    let start = |number: usize| wal::page::record_start(records[number].start, SIZE);
    spoil(start(10) + 8, 4);
    // A page's header goes with all that reaches over its borders, and not what lies between.
    let page = records[20].end.page_start() + 8192;
    spoil(page, 2);
    let files = SegmentFiles::new(Arc::new(disk.clone()), dir(), SIZE, TimelineHistory::root(TLI));
    let mut reader = WalReader::new(files, ReaderOptions::new(SIZE), origin());
    let mut found = Vec::new();
    let mut from = origin();
    while let Some(record) = reader.find_whole(from, end).unwrap() {
        found.push(record.start());
        from = record.end();
    }
    let borders = [page, page + 8192];
    let over = |number: &usize| borders.iter().any(|at| start(*number) < *at && records[*number].end > *at);
    let lost: Vec<_> = (0..300).filter(|number| *number == 10 || over(number)).collect();
    let left: Vec<_> = (0..300).filter(|number| !lost.contains(number)).map(start).collect();
    assert_eq!((lost.len(), &found), (3, &left));
    // The first segment goes.
    disk.remove_file(&segment(origin())).unwrap();
    let second = origin() + SIZE.bytes();
    let first = reader.find_whole(origin(), end).unwrap().unwrap().start();
    assert_eq!(Some(&first), left.iter().find(|start| **start >= second));
    assert!(reader.find_whole(origin(), second).unwrap().is_none());
}
