//! Segments made ahead, recycled, removed; space that runs out; bytes for senders.

use crate::support::*;
use host::Disk;
use simulation::{Call, CrashPolicy, Fault, FaultKind};
use wal::history::{BranchId, TimelineHistory};
use wal::reader::{ReaderOptions, SegmentFiles, WalReader};
use wal::{
    KeptLog, Lsn, Retention, SegmentFate, SegmentFolder, SegmentNumber, TimelineId, WalError, WriterConfig,
};

fn names(disk: &simulation::VirtualDisk) -> Vec<String> {
    disk.list(dir()).unwrap().into_iter().map(|entry| entry.name).collect()
}

fn folder(disk: &simulation::VirtualDisk) -> SegmentFolder {
    SegmentFolder::new(std::sync::Arc::new(disk.clone()), dir(), SIZE)
}

#[test]
fn segments_are_made_before_they_are_needed() {
    let disk = new_disk();
    let wal = fresh(&disk, WriterConfig { segments_ahead: 2, background: true, ..quiet() });
    wal.insert(&mut record(0, 10)).unwrap();
    // The thread works on its own time: the segment in use and two more are there soon.
    while names(&disk).iter().filter(|name| name.len() == 24).count() < 3 {
        std::thread::yield_now();
    }
    drop(wal);
    assert_eq!(
        names(&disk.crash(CrashPolicy::LoseUnsynced)),
        ["000000010000000000000001", "000000010000000000000002", "000000010000000000000003"],
        "whole and durable"
    );
}

#[test]
fn leftovers_of_a_crash_go_at_the_next_start() {
    let disk = new_disk();
    let leftover = dir().join("xlogtemp.000000010000000000000009");
    disk.open(&leftover, host::OpenMode::Create).unwrap();
    drop(fresh(&disk, quiet()));
    assert_eq!(names(&disk), ["000000010000000000000001"]);
}

#[test]
fn a_full_disk_shows_before_anything_is_inserted() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    disk.set_capacity(SIZE.bytes() * 2 + 1000);
    let mut inserted = 0;
    let error = loop {
        match wal.insert(&mut record(inserted, 10_000)) {
            Ok(_) => inserted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, WalError::DiskFull { .. }), "{error}");
    assert!(inserted > 190, "{inserted}");
    assert!(matches!(wal.reserve(200_000), Err(WalError::DiskFull { .. })));
    for _ in 0..100 {
        assert!(wal.try_reserve(200_000).is_none());
    }
    assert!(wal.try_reserve(100).is_some(), "what was refused is not held");
    wal.flush_all().unwrap();
    assert_eq!(numbers(&disk.crash(CrashPolicy::LoseUnsynced)).len() as u64, inserted);
    assert!(!names(&disk).iter().any(|name| name.starts_with("xlogtemp")), "what did not fit is gone");
    // There is space again.
    disk.set_capacity(u64::MAX);
    let reserved = wal.reserve(200_000).unwrap();
    wal.insert(&mut record(inserted, 10_000)).unwrap();
    drop(reserved);
    wal.flush_all().unwrap();
    assert_eq!(numbers(&disk).len() as u64, inserted + 1);
}

#[test]
fn reserved_space_is_there_when_it_is_used() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    let reserved = wal.reserve(3 << 20).unwrap();
    assert!(names(&disk).len() >= 4, "{:?}", names(&disk));
    disk.inject(Fault::always(Call::Create, "", FaultKind::NoSpace));
    for number in 0..30 {
        wal.insert(&mut record(number, 100_000)).unwrap();
    }
    wal.flush_all().unwrap();
    drop(reserved);
    assert_eq!(numbers(&disk).len(), 30);
}

#[test]
fn old_segments_are_renamed_for_later_use_or_removed() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    for number in 0..100 {
        wal.insert(&mut record(number, 60_000)).unwrap();
    }
    let end = wal.flush_all().unwrap();
    let last = SIZE.segment_of(end);
    assert_eq!(last, SegmentNumber::new(6));
    // One is not archived yet; one belongs to an older timeline; other files are none of our business.
    for name in ["00000003.history", "000000010000000000000002.partial", "archive_status"] {
        disk.open(&dir().join(name), host::OpenMode::Create).unwrap();
    }
    let keep = Retention {
        horizon: SegmentNumber::new(5),
        recycle_before: SegmentNumber::new(9),
        kept: KeptLog::AS_IT_IS,
    };
    let mut fate = |file: wal::SegmentFile| match file.segment.get() {
        3 => SegmentFate::Kept,
        _ => SegmentFate::Reusable,
    };
    let removed = wal.remove_old_segments(keep, &mut fate).unwrap();
    assert_eq!((removed.recycled, removed.removed, removed.last), (2, 1, Some(SegmentNumber::new(4))));
    assert_eq!(
        names(&disk).into_iter().filter(|name| name.len() == 24).collect::<Vec<_>>(),
        [3, 5, 6, 7, 8].map(|segment| format!("0000000100000000{segment:08X}"))
    );
    assert_eq!(folder(&disk).list().unwrap().len(), 5);
    // The log goes on through them, and what they held before is not taken for its own.
    let place = wal.insert(&mut record(100, 1_500_000)).unwrap();
    wal.flush_all().unwrap();
    let (records, end) =
        read_all(&disk.crash(CrashPolicy::LoseUnsynced), place.start, TimelineHistory::root(TLI));
    assert_eq!(records.len(), 1);
    assert!(is_clean(&end), "{end:?}");
    // Whatever is asked, the log's end stays.
    let all = Retention {
        horizon: SegmentNumber::new(u64::MAX),
        recycle_before: SegmentNumber::new(0),
        kept: KeptLog::AS_IT_IS,
    };
    wal.remove_old_segments(all, &mut |_| SegmentFate::Reusable).unwrap();
    assert!(names(&disk).contains(&SIZE.segment_of(place.end).file_name(TLI, SIZE)));
    wal.insert(&mut record(101, 10)).unwrap();
    wal.flush_all().unwrap();
}

/// Of the segments that go the newest are put aside; the older ones of these serve ahead, and what is there
/// is read as log.
#[test]
fn segments_that_a_rewind_may_read_are_put_aside_within_a_size() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    let starts: Vec<Lsn> =
        (0..100).map(|number| wal.insert(&mut record(number, 60_000)).unwrap().start).collect();
    wal.flush_all().unwrap();
    let kept = KeptLog { from: SegmentNumber::new(2), segments_max: 2, adds: true };
    let none = SegmentNumber::new(0);
    let mut reusable = |_| SegmentFate::Reusable;
    let keep = Retention { horizon: SegmentNumber::new(4), recycle_before: none, kept };
    let removed = wal.remove_old_segments(keep, &mut reusable).unwrap();
    assert_eq!((removed.put_aside, removed.removed, removed.recycled), (2, 1, 0));
    let numbers = || {
        let listed = folder(&disk).kept().list_if_there().unwrap();
        listed.iter().map(|file| file.segment.get()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(), [2, 3]);
    // It lasts, and what is too old by then becomes a segment ahead.
    disk.crash(CrashPolicy::LoseUnsynced);
    let keep = Retention { horizon: SegmentNumber::new(5), recycle_before: SegmentNumber::new(8), kept };
    let removed = wal.remove_old_segments(keep, &mut reusable).unwrap();
    assert_eq!((removed.put_aside, removed.removed, removed.recycled), (1, 0, 1));
    assert_eq!(numbers(), [3, 4]);
    let third = starts.iter().position(|start| SIZE.segment_of(*start).get() == 3).unwrap();
    let mut files =
        SegmentFiles::new(std::sync::Arc::new(disk.clone()), dir(), SIZE, TimelineHistory::root(TLI));
    files.look_beside(vec![folder(&disk).kept().dir().to_path_buf()]);
    let mut reader = WalReader::new(files, ReaderOptions::new(SIZE), starts[third]);
    let (records, end) = read_on(&mut reader);
    assert_eq!((records.len(), is_clean(&end)), (100 - third, true), "{end:?}");
    let nothing = KeptLog { segments_max: 0, ..KeptLog::AS_IT_IS };
    folder(&disk).remove_old(SegmentNumber::new(3), nothing, &mut reusable).unwrap();
    assert_eq!(numbers(), [0; 0]);
}

/// A power cut amid a move from folder to folder may leave the name in both.
#[test]
fn a_segment_is_put_aside_also_if_a_power_cut_left_it_under_both_names() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    for number in 0..50 {
        wal.insert(&mut record(number, 60_000)).unwrap();
    }
    wal.flush_all().unwrap();
    let (here, second) = (folder(&disk), SegmentNumber::new(2));
    disk.create_dir_all(here.kept().dir()).unwrap();
    disk.link_file(&here.path(TLI, second), &here.kept().path(TLI, second)).unwrap();
    let kept = KeptLog { from: second, segments_max: 2, adds: true };
    let keep = Retention { horizon: SegmentNumber::new(3), recycle_before: SegmentNumber::new(0), kept };
    let removed = wal.remove_old_segments(keep, &mut |_| SegmentFate::Reusable).unwrap();
    assert_eq!((removed.put_aside, removed.removed), (1, 1));
    let after = folder(&disk.crash(CrashPolicy::LoseUnsynced));
    assert!(!after.exists(TLI, second).unwrap() && after.kept().exists(TLI, second).unwrap());
}

#[test]
fn a_segment_whose_file_has_another_name_does_not_serve_ahead() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    for number in 0..50 {
        wal.insert(&mut record(number, 60_000)).unwrap();
    }
    wal.flush_all().unwrap();
    let archived = dir().with_file_name("archived");
    disk.link_file(&folder(&disk).path(TLI, SegmentNumber::new(2)), &archived).unwrap();
    let bytes = || disk.read(&archived, SIZE.bytes()).unwrap();
    let before = bytes();
    let keep = Retention {
        horizon: SegmentNumber::new(3),
        recycle_before: SegmentNumber::new(9),
        kept: KeptLog::AS_IT_IS,
    };
    let removed = wal.remove_old_segments(keep, &mut |_| SegmentFate::Reusable).unwrap();
    assert_eq!((removed.recycled, removed.removed), (1, 1));
    for number in 50..150 {
        wal.insert(&mut record(number, 60_000)).unwrap();
    }
    wal.flush_all().unwrap();
    assert!(bytes() == before, "nothing is written there");
}

#[test]
fn partial_segments_before_the_horizon_go_if_they_may() {
    let disk = new_disk();
    let partial = |timeline, number| {
        let (timeline, number) = (TimelineId::new(timeline), SegmentNumber::new(number));
        wal::file_names::partial(&number.file_name(timeline, SIZE))
    };
    let other = "000000010000000000000001.00000028.backup".to_owned();
    let all = [partial(1, 2), partial(1, 3), partial(2, 1), partial(2, 4), other.clone()];
    for name in &all {
        disk.open(&dir().join(name), host::OpenMode::Create).unwrap();
    }
    let mut asked = Vec::new();
    let removed = folder(&disk).remove_old_partials(SegmentNumber::new(4), &mut |file| {
        asked.push(wal::file_names::partial(&file.segment.file_name(file.timeline, SIZE)));
        file.segment.get() != 2
    });
    assert_eq!(removed.unwrap().removed, 2);
    asked.sort();
    assert_eq!(asked, [partial(1, 2), partial(1, 3), partial(2, 1)]);
    assert_eq!(names(&disk), [other, partial(1, 2), partial(2, 4)]);
}

#[test]
fn a_segment_that_is_read_in_place_is_removed_and_not_renamed() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    for number in 0..50 {
        wal.insert(&mut record(number, 60_000)).unwrap();
    }
    wal.flush_all().unwrap();
    let keep = Retention {
        horizon: SegmentNumber::new(3),
        recycle_before: SegmentNumber::new(9),
        kept: KeptLog::AS_IT_IS,
    };
    let mut fate = |file: wal::SegmentFile| match file.segment.get() {
        1 => SegmentFate::Removed,
        _ => SegmentFate::Reusable,
    };
    let removed = wal.remove_old_segments(keep, &mut fate).unwrap();
    assert_eq!((removed.recycled, removed.removed), (1, 1));
}

#[test]
fn a_segment_of_another_size_is_not_recycled() {
    let disk = new_disk();
    let stub = dir().join(SegmentNumber::new(0).file_name(TimelineId::new(1), SIZE));
    disk.open(&stub, host::OpenMode::Create).unwrap().truncate(100).unwrap();
    let wal = fresh(&disk, quiet());
    let keep = Retention {
        horizon: SegmentNumber::new(1),
        recycle_before: SegmentNumber::new(9),
        kept: KeptLog::AS_IT_IS,
    };
    let removed = wal.remove_old_segments(keep, &mut |_| SegmentFate::Reusable).unwrap();
    assert_eq!((removed.recycled, removed.removed), (0, 1));
}

#[test]
fn a_segment_that_is_longer_than_it_may_be_keeps_its_log_and_takes_more() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    let first = wal.insert(&mut record(0, 5000)).unwrap();
    wal.flush_all().unwrap();
    drop(wal);
    let path = dir().join("000000010000000000000001");
    disk.open(&path, host::OpenMode::ReadWrite).unwrap().truncate(SIZE.bytes() + 512).unwrap();
    let wal = open(&disk, quiet(), at(first.end, first.start));
    wal.insert(&mut record(1, 5000)).unwrap();
    wal.flush_all().unwrap();
    drop(wal);
    assert_eq!(disk.metadata(&path).unwrap().len, SIZE.bytes());
    assert_eq!(numbers(&disk.crash(CrashPolicy::LoseUnsynced)), [0, 1]);
}

#[test]
fn what_cannot_be_recycled_keeps_nothing_else_from_going() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    for number in 0..60 {
        wal.insert(&mut record(number, 60_000)).unwrap();
    }
    wal.flush_all().unwrap();
    let keep = Retention {
        horizon: SegmentNumber::new(4),
        recycle_before: SegmentNumber::new(99),
        kept: KeptLog::AS_IT_IS,
    };
    disk.inject(Fault::once(Call::Rename, "000000010000000000000001", 1, FaultKind::Io));
    let removed = wal.remove_old_segments(keep, &mut |_| SegmentFate::Reusable).unwrap();
    assert_eq!((removed.recycled, removed.failures.len()), (2, 1), "{removed:?}");
    assert!(removed.failures[0].contains("000000010000000000000001"), "{removed:?}");
    let removed = wal.remove_old_segments(keep, &mut |_| SegmentFate::Reusable).unwrap();
    assert_eq!((removed.recycled, removed.failures.len()), (1, 0), "the next round tries again");
}

#[test]
fn senders_get_flushed_bytes_from_memory() {
    let disk = new_disk();
    let config = WriterConfig { recent_bytes: 300_000, buffers_bytes: 1 << 20, ..quiet() };
    let wal = fresh(&disk, config);
    let mut random = fastrand::Rng::with_seed(4);
    let (mut sent, mut stream) = (origin(), Vec::new());
    for number in 0..2000 {
        wal.insert(&mut record(number, random.usize(..3000))).unwrap();
        if number == 700 {
            wal.switch_segment().unwrap();
        }
        if random.u8(..5) == 0 {
            wal.write(wal.positions().inserted()).unwrap();
            let flushed = wal.positions().flushed();
            assert_eq!(wal.read_recent(flushed, 1 << 20), None, "not flushed, not shipped");
            wal.flush_all().unwrap();
        }
        while sent < wal.positions().flushed() {
            let max = random.usize(1..50_000);
            let bytes = wal.read_recent(sent, max).expect("fresh bytes are in memory");
            assert!(!bytes.is_empty() && bytes.len() <= max);
            stream.extend_from_slice(&bytes);
            sent = sent + bytes.len() as u64;
            assert!(sent <= wal.positions().flushed());
        }
    }
    wal.flush_all().unwrap();
    assert_eq!(wal.read_recent(origin(), 1000), None, "old ones are not");
    let mut files = Vec::new();
    for segment in folder(&disk).list().unwrap() {
        files.extend(disk.read(&dir().join(segment.segment.file_name(TLI, SIZE)), 1 << 20).unwrap());
    }
    assert!(stream.len() > 2 << 20);
    assert_eq!(stream, files[..stream.len()]);
}

#[test]
fn a_run_that_lies_in_one_piece_is_shared_and_not_copied() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    wal.insert(&mut record(0, 5000)).unwrap();
    wal.flush_all().unwrap();
    let (one, two) =
        (wal.read_recent(origin(), 9000).unwrap(), wal.read_recent(origin() + 100, 9000).unwrap());
    assert_eq!(one[100..].as_ptr(), two.as_ptr());
    assert_eq!(wal.read_recent(Lsn::new(5), 100), None);
    assert_eq!(wal.read_recent(wal.positions().flushed(), 100), None);
}

#[test]
fn histories_that_never_got_their_name_are_removed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let history = TimelineHistory::root(TLI)
        .fork(TimelineId::new(2), Lsn::new(0x3000148), "x", BranchId::new(2))
        .unwrap();
    history.store(&host::RealDisk, dir.path()).unwrap();
    history.prepare(&host::RealDisk, dir.path()).unwrap();
    for name in ["0000000A.history.tmp", "000000010000000000000001", "x.history.tmp", "00000002.tmp"] {
        std::fs::write(dir.path().join(name), b"").unwrap();
    }
    TimelineHistory::remove_temporaries(&host::RealDisk, dir.path()).unwrap();
    let entries = std::fs::read_dir(dir.path()).unwrap();
    let mut left: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["000000010000000000000001", "00000002.history", "00000002.tmp", "x.history.tmp"]);
}
