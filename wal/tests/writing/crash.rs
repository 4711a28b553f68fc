//! Power cuts at every step, and disks that fail.

use crate::support::*;
use host::sync::Mutex;
use host::{Disk, OpenMode};
use simulation::{Call, CrashPolicy, Fault, FaultKind, VirtualDisk};
use std::collections::HashSet;
use std::sync::Arc;
use wal::history::TimelineHistory;
use wal::{
    KeptLog, Lsn, PageFlags, PageHeader, Retention, SegmentFate, SegmentFolder, SegmentNumber, SystemId,
    WalError, WalWriter,
};

/// A disk after some call, with how many records were durable and how many inserted by then.
type Moments = Arc<Mutex<Vec<(VirtualDisk, u64, u64)>>>;

/// Watches a disk; the two counts are read at each moment.
fn watch(disk: &VirtualDisk, counts: &Arc<Mutex<(u64, u64)>>) -> Moments {
    let moments = Moments::default();
    let (sink, counts) = (moments.clone(), counts.clone());
    disk.observe(Box::new(move |_, moment| {
        let (flushed, inserted) = *counts.lock();
        sink.lock().push((moment.fork(), flushed, inserted));
    }));
    moments
}

/// Inserts and flushes records in uneven groups, switches segments and writes without flushing in between.
fn work(wal: &WalWriter, counts: &Mutex<(u64, u64)>, seed: u64, records: u64) -> Result<(), WalError> {
    let mut random = fastrand::Rng::with_seed(seed);
    let first = counts.lock().1;
    for number in first..first + records {
        let len = if random.u8(..30) == 0 { random.usize(..20_000) } else { random.usize(..300) };
        wal.insert(&mut record(number, len))?;
        counts.lock().1 = number + 1;
        match random.u8(..40) {
            0..=9 => {
                wal.flush_all()?;
                counts.lock().0 = number + 1;
            }
            10 => drop(wal.write(wal.positions().inserted())?),
            11 if random.u8(..8) == 0 => drop(wal.switch_segment()?),
            _ => {}
        }
    }
    wal.flush_all()?;
    let mut counts = counts.lock();
    counts.0 = counts.1;
    Ok(())
}

/// What must hold after any crash: all that was flushed, then perhaps more of what was inserted, in order and
/// nothing else.
fn check(after: &VirtualDisk, from: Lsn, first: u64, flushed: u64, inserted: u64, what: &str) {
    let (records, _) = read_all(after, from, TimelineHistory::root(TLI));
    let found: Vec<u64> = records.iter().map(number_of).collect();
    let end = first + found.len() as u64;
    assert_eq!(found, (first..end).collect::<Vec<_>>(), "{what}");
    assert!(end >= flushed, "{what}: records up to {end} found, those up to {flushed} were flushed");
    assert!(end <= inserted, "{what}: records up to {end} found, those up to {inserted} were inserted");
}

fn policies(seed: u64) -> [CrashPolicy; 4] {
    [
        CrashPolicy::LoseUnsynced,
        CrashPolicy::KeepAll,
        CrashPolicy::InOrder { seed },
        CrashPolicy::Anything { seed },
    ]
}

#[test]
fn a_power_cut_at_any_step_loses_nothing_that_was_flushed() {
    let disk = new_disk();
    let counts = Arc::new(Mutex::new((0, 0)));
    let wal = fresh(&disk, quiet());
    // The border of the first segment comes soon.
    let from = wal.insert(&mut record(9, 980_000)).unwrap().end;
    wal.flush_all().unwrap();
    let moments = watch(&disk, &counts);
    work(&wal, &counts, 3, 1000).unwrap();
    disk.stop_observing();
    let moments = std::mem::take(&mut *moments.lock());
    assert!(moments.len() > 300, "{} moments", moments.len());
    let mut seen = HashSet::new();
    for (number, (moment, flushed, inserted)) in moments.iter().enumerate() {
        let number = number as u64;
        let shuffled = (0..6).map(|seed| CrashPolicy::Anything { seed: number * 100 + seed });
        for policy in policies(number).into_iter().chain(shuffled) {
            let after = moment.crash(policy);
            if seen.insert(after.image_hash()) {
                check(&after, from, 0, *flushed, *inserted, &format!("moment {number}, {policy:?}"));
            }
        }
    }
    assert!(seen.len() > 500, "{} crash states", seen.len());
}

#[test]
fn crashes_in_a_row_leave_no_record_of_a_former_life() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut disk = new_disk();
        let (mut insert_at, mut previous, mut known) = (origin(), Lsn::INVALID, 0);
        for life in 0..8_u64 {
            let counts = Arc::new(Mutex::new((known, known)));
            let wal = open(&disk, quiet(), at(insert_at, previous));
            let moments = watch(&disk, &counts);
            // All of one size, so that the records of this life lie exactly where those of the last one lay.
            let first = known;
            for number in first..first + 120 {
                let mut next = record(number + 1_000_000 * life, 96);
                wal.insert(&mut next).unwrap();
                counts.lock().1 = number + 1;
                match random.u8(..12) {
                    0 => {
                        wal.flush_all().unwrap();
                        counts.lock().0 = number + 1;
                    }
                    1 => drop(wal.write(wal.positions().inserted()).unwrap()),
                    _ => {}
                }
            }
            disk.stop_observing();
            let moments = std::mem::take(&mut *moments.lock());
            let (moment, flushed, inserted) = random.choice(&moments).expect("something was written");
            disk = moment.crash(CrashPolicy::Anything { seed: random.u64(..) });
            let (records, end) = read_all(&disk, origin(), TimelineHistory::root(TLI));
            let mut last_life = 0;
            for (place, record) in records.iter().enumerate() {
                let (of_life, number) = (number_of(record) / 1_000_000, number_of(record) % 1_000_000);
                assert_eq!(number, place as u64, "seed {seed}, life {life}");
                assert!(
                    of_life >= last_life,
                    "seed {seed}: life {of_life} came back behind life {last_life}"
                );
                last_life = of_life;
            }
            known = records.len() as u64;
            assert!(
                known >= *flushed && known <= *inserted,
                "seed {seed}, life {life}: {flushed} {known} {inserted}"
            );
            (insert_at, previous) = (end.at, records.last().map_or(Lsn::INVALID, wal::Record::start));
        }
    }
}

#[test]
fn every_fault_of_a_write_or_sync_ends_the_writer_and_nothing_flushed_is_lost() {
    let sites = {
        let disk = new_disk();
        let wal = fresh(&disk, quiet());
        disk.start_trace();
        work(&wal, &Mutex::new((0, 0)), 5, 300).unwrap();
        disk.take_trace()
    };
    for (call, kind) in
        [(Call::Write, FaultKind::Io), (Call::Write, FaultKind::NoSpace), (Call::Sync, FaultKind::Io)]
    {
        let count = sites.iter().filter(|site| site.call == call && !site.path.ends_with("xlogtemp")).count();
        assert!(count > 50, "{count} calls of {call:?}");
        for nth in (1..=count as u64).step_by(3) {
            let disk = new_disk();
            let counts = Mutex::new((0, 0));
            let wal = fresh(&disk, quiet());
            disk.inject(Fault::once(call, "pg_wal/0", nth, kind));
            let Err(error) = work(&wal, &counts, 5, 300) else { continue };
            if let WalError::Failed { .. } = error {
                let text = error.to_string();
                for later in [
                    wal.insert(&mut record(0, 1)).map(drop),
                    wal.flush_all().map(drop),
                    wal.reserve(1).map(drop),
                    wal.switch_segment().map(drop),
                ] {
                    assert_eq!(later.unwrap_err().to_string(), text, "the same error for good");
                }
            } else {
                panic!("{call:?} {nth}: {error}");
            }
            let (flushed, inserted) = *counts.lock();
            for policy in policies(nth) {
                check(
                    &disk.crash(policy),
                    origin(),
                    0,
                    flushed,
                    inserted + 1,
                    &format!("{call:?} {kind:?} {nth} {policy:?}"),
                );
            }
        }
    }
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    wal.insert(&mut record(0, 10)).unwrap();
    wal.flush_all().unwrap();
    wal.insert(&mut record(1, 10)).unwrap();
    let observer = Arc::new(Observer::default());
    wal.set_observer(observer.clone());
    disk.inject(Fault::once(Call::Sync, "pg_wal", 1, FaultKind::Io));
    assert!(matches!(wal.flush_all(), Err(WalError::Failed { .. })));
    assert_eq!(observer.told(), ["failed"]);
    disk.start_trace();
    assert!(matches!(wal.flush_all(), Err(WalError::Failed { .. })));
    assert!(wal.failure().is_some());
    assert_eq!(disk.take_trace(), [], "no call reaches the disk any more");
    let waited = wal.positions().wait_flushed_blocking(wal.positions().inserted());
    assert!(waited.is_err(), "nobody waits for what will not come");
    check(&disk.crash(CrashPolicy::LoseUnsynced), origin(), 0, 1, 2, "after the failed sync");
}

#[test]
fn what_a_failed_sync_left_to_the_kernel_is_durable_once_it_was_written_again() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    wal.insert(&mut record(0, 10)).unwrap();
    wal.flush_all().unwrap();
    wal.insert(&mut record(1, 10)).unwrap();
    disk.inject(Fault::once(Call::Sync, "pg_wal", 1, FaultKind::Io));
    assert!(matches!(wal.flush_all(), Err(WalError::Failed { .. })));
    drop(wal);
    let folder = SegmentFolder::new(Arc::new(disk.clone()), dir(), SIZE);
    folder.open(TLI, SIZE.segment_of(origin())).unwrap().sync().unwrap();
    check(&disk.crash(CrashPolicy::LoseUnsynced), origin(), 0, 1, 1, "another sync writes nothing");
    folder.make_durable(origin(), || true).unwrap();
    check(&disk.crash(CrashPolicy::LoseUnsynced), origin(), 0, 2, 2, "it was written again");
}

#[test]
fn zeros_that_a_failed_sync_left_to_the_kernel_are_written_again_too() {
    let disk = new_disk();
    let first = SIZE.segment_of(origin());
    let path = |segment: SegmentNumber| dir().join(segment.file_name(TLI, SIZE));
    // Bytes of a former life, where a recycled segment would have them.
    let fill = |segment, bytes: &[u8]| {
        let file = disk.open(&path(segment), OpenMode::Create).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.sync().unwrap();
    };
    fill(first, &vec![7; 1 << 20]);
    fill(first.next(), &vec![7; 1 << 20]);
    disk.sync_dir(dir()).unwrap();
    let wal = fresh(&disk, quiet());
    wal.insert(&mut record(0, 10)).unwrap();
    wal.switch_segment().unwrap();
    disk.inject(Fault::once(Call::Sync, "pg_wal", 1, FaultKind::Io));
    assert!(matches!(wal.flush_all(), Err(WalError::Failed { .. })));
    drop(wal);
    // The same of a segment that was begun, and wiped since.
    let wiped = disk.open(&path(first.next()), OpenMode::ReadWrite).unwrap();
    wiped.write_all_at(&vec![0; 1 << 20], 0).unwrap();
    disk.inject(Fault::once(Call::Sync, "pg_wal", 1, FaultKind::Io));
    assert!(wiped.sync().is_err());

    let is_durable = |segment| disk.is_durable(&path(segment), 0..SIZE.bytes()).unwrap();
    assert!(!is_durable(first) && !is_durable(first.next()));
    let folder = SegmentFolder::new(Arc::new(disk.clone()), dir(), SIZE);
    folder.make_durable(origin(), || true).unwrap();
    assert!(is_durable(first), "the zeros behind the switch");
    assert!(is_durable(first.next()), "what was wiped");
}

#[test]
fn pages_of_the_next_segment_whose_first_page_never_came_are_wiped() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    wal.insert(&mut record(0, 10)).unwrap();
    wal.flush_all().unwrap();
    let (end, previous) = (wal.positions().flushed(), wal.last_record());
    drop(wal);
    let next = SIZE.segment_of(end).next();
    let offset = 5 * wal::page::PAGE_SIZE as u64;
    let page = SIZE.start_of(next) + offset;
    let header = PageHeader::new(page, TLI, PageFlags::NONE, 0, SystemId::new(77), SIZE).encode();
    let file = disk.open(&dir().join(next.file_name(TLI, SIZE)), OpenMode::Create).unwrap();
    file.write_all_at(&vec![0; 1 << 20], 0).unwrap();
    file.write_all_at(&header, offset).unwrap();
    drop(open(&disk, quiet(), at(end, previous)));
    let mut found = vec![1; header.len()];
    file.read_exact_at(&mut found, offset).unwrap();
    assert!(found.iter().all(|byte| *byte == 0), "a record that ends there would go on with it");
}

#[test]
fn the_name_of_a_segment_that_a_killed_server_left_to_the_kernel_is_durable_before_it_is_written() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    let last = wal.insert(&mut record(0, 10)).unwrap();
    wal.flush_all().unwrap();
    drop(wal);
    // It was killed between the last two steps of making the next segment, and had ended its log cleanly.
    let (temporary, next) = (dir().join("next"), SIZE.segment_of(origin()).next());
    let file = disk.open(&temporary, OpenMode::Create).unwrap();
    file.write_all_at(&vec![0; 1 << 20], 0).unwrap();
    file.sync().unwrap();
    disk.rename(&temporary, &dir().join(next.file_name(TLI, SIZE))).unwrap();
    let wal = open(&disk, quiet(), at(last.end, last.start));
    for number in 1..=15 {
        wal.insert(&mut record(number, 100_000)).unwrap();
    }
    wal.flush_all().unwrap();
    assert_eq!(numbers(&disk.crash(CrashPolicy::LoseUnsynced)), (0..=15).collect::<Vec<_>>());
}

#[test]
fn short_writes_are_finished() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    for nth in 1..40 {
        disk.inject(Fault::once(Call::Write, "pg_wal", nth * 2, FaultKind::Short(nth as usize * 7)));
    }
    work(&wal, &Mutex::new((0, 0)), 8, 200).unwrap();
    assert_eq!(numbers(&disk.crash(CrashPolicy::LoseUnsynced)).len(), 200);
}

#[test]
fn a_power_cut_while_segments_are_recycled_keeps_the_log() {
    let disk = new_disk();
    let counts = Arc::new(Mutex::new((0, 0)));
    let wal = fresh(&disk, quiet());
    work(&wal, &counts, 11, 500).unwrap();
    wal.insert(&mut record(500, 2_900_000)).unwrap();
    *counts.lock() = (500, 501);
    work(&wal, &counts, 13, 50).unwrap();
    let horizon = SIZE.segment_of(wal.positions().flushed());
    let (records, _) = read_all(&disk, origin(), TimelineHistory::root(TLI));
    let kept: Vec<_> = records.iter().filter(|record| SIZE.segment_of(record.start()) >= horizon).collect();
    let (from, first) = (kept[0].start(), number_of(kept[0]));
    let moments = watch(&disk, &counts);
    let keep =
        Retention { horizon, recycle_before: SegmentNumber::new(horizon.get() + 4), kept: KeptLog::AS_IT_IS };
    let removed = wal.remove_old_segments(keep, &mut |_| SegmentFate::Reusable).unwrap();
    assert!(removed.recycled > 0, "{removed:?}");
    work(&wal, &counts, 12, 400).unwrap();
    disk.stop_observing();
    let moments = std::mem::take(&mut *moments.lock());
    assert!(SIZE.segment_of(wal.positions().flushed()) > horizon, "recycled segments were used");
    for (number, (moment, flushed, inserted)) in moments.iter().enumerate() {
        for policy in policies(number as u64) {
            let after = moment.crash(policy);
            check(&after, from, first, *flushed, *inserted, &format!("moment {number}, {policy:?}"));
        }
    }
    drop(wal);
    assert!(disk.list(dir()).unwrap().iter().all(|entry| !entry.name.starts_with("xlogtemp")));
}
