//! Records laid down over pages and segments, and found again.

use crate::support::*;
use host::{Disk, OpenMode};
use std::process::Command;
use wal::history::TimelineHistory;
use wal::page::{PageHeader, record_end, record_start};
use wal::{Inserted, Lsn, PageFlags, RecordBuilder, Rmgr, TimelineId, WalError, WriterConfig};

/// Inserts records of all sizes, so that every way of crossing a page border happens; returns their places.
fn insert_many(wal: &wal::WalWriter, seed: u64, count: u64) -> Vec<Inserted> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count)
        .map(|number| {
            let len = match random.u8(..20) {
                0 => random.usize(..40_000),
                1..=5 => random.usize(..3000),
                _ => random.usize(..200),
            };
            wal.insert(&mut record(number, len)).unwrap()
        })
        .collect()
}

#[test]
fn records_of_all_sizes_come_back_from_where_they_were_put() {
    for seed in 0..4 {
        let disk = new_disk();
        let wal = fresh(&disk, quiet());
        let placed = insert_many(&wal, seed, 3000);
        let end = wal.flush_all().unwrap();
        assert!(end > origin() + 3 * SIZE.bytes(), "several segments");
        let (records, log_end) = read_all(&disk, origin(), TimelineHistory::root(TLI));
        assert_eq!(records.len(), placed.len());
        let mut previous = Lsn::INVALID;
        for (number, (record, place)) in records.iter().zip(&placed).enumerate() {
            assert_eq!(number_of(record), number as u64);
            assert_eq!((record.start(), record.end()), (place.start, place.end));
            assert_eq!(place.end, record_end(place.start, record.len(), SIZE));
            assert_eq!(record.previous(), previous);
            previous = place.start;
        }
        assert_eq!(log_end.at, end);
        assert!(is_clean(&log_end), "{log_end:?}");
        let stats = wal.stats();
        assert_eq!(stats.records, 3000);
        assert_eq!(stats.bytes, records.iter().map(|record| u64::from(record.len())).sum::<u64>());
    }
}

#[test]
fn a_record_may_end_anywhere_around_a_page_border() {
    for short_by in (0..120).step_by(4) {
        let disk = new_disk();
        let wal = fresh(&disk, quiet());
        // The first page holds 8192 - 40 bytes of records; 24 + 5 + 8 bytes of header, length and number
        // frame ours.
        let first = wal.insert(&mut record(1, 8152 - 37 - short_by)).unwrap();
        let second = wal.insert(&mut record(2, 50)).unwrap();
        wal.flush_all().unwrap();
        assert_eq!(numbers(&disk), [1, 2], "short by {short_by}");
        assert!(first.end <= second.start && second.start.page_offset() >= 24);
        let third = wal.insert(&mut record(3, 50)).unwrap();
        assert_eq!(third.start, record_start(second.end, SIZE));
    }
}

#[test]
fn pg_waldump_reads_every_record() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    insert_many(&wal, 9, 2000);
    wal.switch_segment().unwrap();
    let last = wal.insert(&mut record(2000, 10)).unwrap();
    wal.flush_all().unwrap();
    let real = tempfile::tempdir().unwrap();
    disk.export(dir(), real.path()).unwrap();
    let start = Lsn::new(origin().get() + 40);
    let dump = Command::new("/usr/lib/postgresql/15/bin/pg_waldump")
        .args(["-p", &real.path().display().to_string()])
        .args(["-s", &start.to_string(), "-e", &last.end.to_string()])
        .output();
    let dump = match dump {
        Ok(dump) => dump,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return eprintln!("no pg_waldump here: skipped");
        }
        Err(error) => panic!("{error}"),
    };
    let errors = String::from_utf8_lossy(&dump.stderr);
    assert!(dump.status.success(), "{errors}");
    let lines = String::from_utf8_lossy(&dump.stdout);
    assert_eq!(lines.lines().filter(|line| line.contains("desc: NOOP")).count(), 2001, "{errors}");
    assert_eq!(lines.lines().filter(|line| line.contains("desc: SWITCH")).count(), 1);
}

#[test]
fn a_switch_leaves_the_rest_of_the_segment_zero_even_where_it_was_used_before() {
    let disk = new_disk();
    // The place of the first segment was used before.
    let path = dir().join(SIZE.segment_of(origin()).file_name(TLI, SIZE));
    let junk = disk.open(&path, OpenMode::Create).unwrap();
    junk.write_all_at(&vec![0xAB; 1 << 20], 0).unwrap();
    let wal = fresh(&disk, quiet());
    wal.insert(&mut record(1, 20_000)).unwrap();
    let switch = wal.switch_segment().unwrap();
    assert_eq!(wal.positions().inserted(), origin() + SIZE.bytes());
    let again = wal.switch_segment().unwrap();
    assert_eq!(
        (again.start, again.end),
        (origin() + SIZE.bytes(), origin() + SIZE.bytes()),
        "nothing to leave"
    );
    let next = wal.insert(&mut record(2, 10)).unwrap();
    assert_eq!(next.start, origin() + SIZE.bytes() + 40);
    wal.flush_all().unwrap();
    assert_eq!(numbers(&disk), [1, 2]);
    let bytes = disk.read(&path, 1 << 20).unwrap();
    let used = usize::try_from(SIZE.offset_of(switch.end)).unwrap();
    assert!(bytes[used..].iter().all(|byte| *byte == 0));
}

#[test]
fn writing_goes_on_in_the_middle_of_a_page() {
    let disk = new_disk();
    let (mut insert_at, mut previous) = (origin(), Lsn::INVALID);
    for number in 0..60 {
        let wal = open(&disk, quiet(), at(insert_at, previous));
        let place = wal.insert(&mut record(number, 700)).unwrap();
        wal.flush_all().unwrap();
        (insert_at, previous) = (place.end, place.start);
    }
    assert_eq!(numbers(&disk), (0..60).collect::<Vec<_>>());
}

#[test]
fn a_start_behind_a_header_that_is_to_come_is_the_page_start() {
    let disk = new_disk();
    let wal = open(&disk, quiet(), at(origin() + 40, Lsn::INVALID));
    assert_eq!(wal.positions().inserted(), origin());
    assert_eq!(wal.insert(&mut record(0, 10)).unwrap().start, origin() + 40);
    wal.flush_all().unwrap();
    assert_eq!(numbers(&disk), [0]);
}

#[test]
fn impossible_starts_are_refused() {
    let disk = new_disk();
    drop(fresh(&disk, quiet()));
    let host = simulation::host(&disk, 1);
    for (insert_at, overwrites) in
        [(Lsn::INVALID, false), (origin() + 3, false), (origin() + 8, false), (origin() + 48, true)]
    {
        let start = wal::WriteStart { overwrites_contrecord: overwrites, ..at(insert_at, Lsn::INVALID) };
        let refused = wal::WalWriter::open(&host, dir(), quiet(), start);
        assert!(matches!(refused, Err(WalError::BadStart { .. })), "{insert_at}: {refused:?}");
    }
    // In the middle of a page that was never written.
    let refused = wal::WalWriter::open(&host, dir(), quiet(), at(origin() + 8192 + 64, Lsn::INVALID));
    assert!(matches!(refused, Err(WalError::BadStart { .. })), "{refused:?}");
    let refused =
        wal::WalWriter::open(&host, dir(), quiet(), at(origin() + 9 * SIZE.bytes() + 64, Lsn::INVALID));
    assert!(matches!(refused, Err(WalError::MissingSegment { .. })), "{refused:?}");
}

#[test]
fn a_page_in_place_of_a_lost_rest_carries_the_mark() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    let kept = wal.insert(&mut record(0, 5000)).unwrap();
    let lost = wal.insert(&mut record(1, 9000)).unwrap();
    wal.flush_all().unwrap();
    drop(wal);
    // The second page never came.
    let missing_at = lost.start.page_start() + 8192;
    let file =
        disk.open(&dir().join(SIZE.segment_of(origin()).file_name(TLI, SIZE)), OpenMode::ReadWrite).unwrap();
    file.write_all_at(&[0; 16384], SIZE.offset_of(missing_at)).unwrap();
    let (_, end) = read_all(&disk, origin(), TimelineHistory::root(TLI));
    let broken = end.broken.expect("the reader tells");
    assert_eq!((broken.start, broken.missing_at), (lost.start, missing_at));
    let start = wal::WriteStart { overwrites_contrecord: true, ..at(missing_at, kept.start) };
    let wal = open(&disk, quiet(), start);
    let mut payload = lost.start.get().to_le_bytes().to_vec();
    payload.extend([0; 8]);
    let overwrite = RecordBuilder::new(Rmgr::XLOG, wal::xlog::OVERWRITE_CONTRECORD, 0).main_data(&payload);
    let first = wal.insert(&mut overwrite.encode().unwrap()).unwrap();
    wal.insert(&mut record(2, 10)).unwrap();
    wal.flush_all().unwrap();
    let mut header = [0; 24];
    file.read_exact_at(&mut header, SIZE.offset_of(missing_at)).unwrap();
    assert!(PageHeader::decode(&header).unwrap().flags.has(PageFlags::OVERWRITE_CONTRECORD));
    let (records, _) = read_all(&disk, origin(), TimelineHistory::root(TLI));
    assert_eq!(records.len(), 3);
    assert_eq!((records[0].end(), records[1].start()), (kept.end, first.start));
    assert_eq!(number_of(&records[2]), 2);
}

#[test]
fn a_fork_begins_with_its_ancestors_bytes() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    let placed: Vec<_> = (0..100).map(|number| wal.insert(&mut record(number, 900)).unwrap()).collect();
    wal.flush_all().unwrap();
    drop(wal);
    let fork = placed[59];
    let two = TimelineId::new(2);
    let config = WriterConfig { timeline: two, ..quiet() };
    let start = wal::WriteStart { forked_from: Some(TLI), ..at(fork.end, fork.start) };
    let wal = open(&disk, config, start);
    wal.insert(&mut record(1000, 900)).unwrap();
    wal.flush_all().unwrap();
    let history = TimelineHistory::root(TLI)
        .fork(two, fork.end, "test", wal::history::BranchId::new(5))
        .expect("a fork");
    let (records, _) = read_all(&disk, origin(), history);
    let expected: Vec<u64> = (0..60).chain([1000]).collect();
    assert_eq!(records.iter().map(number_of).collect::<Vec<_>>(), expected);
    assert_eq!(numbers(&disk), (0..100).collect::<Vec<_>>(), "the old timeline is as it was");
    let path = |timeline| dir().join(SIZE.segment_of(origin()).file_name(timeline, SIZE));
    let (old, new) = (disk.read(&path(TLI), 1 << 20).unwrap(), disk.read(&path(two), 1 << 20).unwrap());
    let fork_at = usize::try_from(SIZE.offset_of(fork.end)).unwrap();
    assert_eq!(old[..fork_at], new[..fork_at]);
}

#[test]
fn the_redo_point_is_where_the_next_record_starts() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    assert_eq!(wal.redo_point(), Lsn::INVALID);
    for number in 0..200 {
        let redo = wal.set_redo_point_here();
        assert_eq!(wal.redo_point(), redo);
        assert_eq!(wal.insert(&mut record(number, 300)).unwrap().start, redo);
        assert_eq!(wal.last_record(), redo);
    }
}
