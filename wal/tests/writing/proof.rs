//! What proves that the log was durable: bit flips in its live part, and power cuts, which must never be
//! taken for damage.

use crate::support::*;
use host::sync::Mutex;
use host::{Disk, OpenMode, write_file_durably};
use simulation::{CrashPolicy, VirtualDisk};
use std::collections::HashSet;
use std::sync::Arc;
use wal::history::TimelineHistory;
use wal::page::{PAGE_SIZE, record_start};
use wal::reader::{CutTail, ReadError};
use wal::xact::{XactEnd, XactRecord};
use wal::xlog::XlogRecord;
use wal::{Lsn, Next, ReaderOptions, SegmentFiles, SystemId, WalReader, WalWriter};

/// A commit that states what its writer knows to be durable.
pub(super) fn commit(wal: &WalWriter, xid: u32) -> Lsn {
    let end = XactEnd { proven_flush: wal.proven_flush(), ..XactEnd::default() };
    let mut record = XactRecord::Commit(end).encode(xid, 0).unwrap();
    wal.insert(&mut record).unwrap().end
}

/// Changes and commits, flushed now and then; calls `before_flush` where nothing of a group is durable yet.
fn work(wal: &WalWriter, random: &mut fastrand::Rng, transactions: u32, mut before_flush: impl FnMut(u32)) {
    for xid in 1..=transactions {
        for _ in 0..random.usize(..3) {
            let len = if random.u8(..12) == 0 { random.usize(..20_000) } else { random.usize(..200) };
            wal.insert(&mut record(u64::from(xid), len)).unwrap();
        }
        commit(wal, xid);
        match random.u8(..10) {
            0..=4 => {
                before_flush(xid);
                wal.flush_all().unwrap();
            }
            5 => drop(wal.write(wal.positions().inserted()).unwrap()),
            6 if random.u8(..6) == 0 => drop(wal.switch_segment().unwrap()),
            _ => {}
        }
    }
}

/// What recovery on the node that wrote the log makes of it: starts and bytes of the records, and the end, or
/// damage.
type Verdict = (Vec<Lsn>, Result<CutTail, ReadError>);

fn recover(disk: &VirtualDisk, from: Lsn, proofs: bool) -> Verdict {
    let source = SegmentFiles::new(Arc::new(disk.clone()), dir(), SIZE, TimelineHistory::root(TLI));
    let options = ReaderOptions { system_id: Some(SystemId::new(77)), ..ReaderOptions::new(SIZE) };
    let mut reader = WalReader::new(source, options, from);
    let mut ends = Vec::new();
    loop {
        match reader.next() {
            Ok(Next::Record(record)) => ends.push(record.end()),
            Ok(Next::End(end)) if proofs => return (ends, reader.verify_end(&end)),
            Ok(Next::End(end)) => {
                return (ends, Ok(CutTail { from: end.at, upto: end.at, whole_records: 0 }));
            }
            Err(error) => return (ends, Err(error)),
        }
    }
}

/// How the flips of a log ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    damage: u32,
    cut_above_the_proof: u32,
    /// Bytes that no reader looks at: those that align a record's end, and a page header's own.
    padding: u32,
    /// XLP_BKP_REMOVABLE, which means nothing here.
    removable: u32,
    /// XLP_FIRST_IS_OVERWRITE_CONTRECORD of the first page that is read: there is no record before it that it
    /// could give up.
    overwrite_flag: u32,
    unnoticed: Vec<(Lsn, u8)>,
}

/// Flips each `step`th bit of the log from `from` to its end, one at a time.
fn flip_all(disk: &VirtualDisk, from: Lsn, step: u64, proofs: bool) -> Counts {
    let (whole, end) = recover(disk, from, true);
    let end = end.unwrap();
    assert_eq!(end.bytes(), 0, "the log ends cleanly");
    // The highest point that a record states is below it; and all segments before the last are proven by the
    // last one's page.
    let stated = stated_points(disk, from);
    let gaps: Vec<_> =
        read_all(disk, from, TimelineHistory::root(TLI)).0.iter().map(padding_behind).collect();
    let last_segment = SIZE.start_of(SIZE.segment_of(end.from));
    let mut counts = Counts::default();
    let bits = end.from.bytes_since(from) * 8;
    for bit in (0..bits).step_by(usize::try_from(step).unwrap()) {
        let (at, shift) = (from + bit / 8, (bit % 8) as u8);
        let flip = || assert!(disk.flip_bit(&path_of(at), SIZE.offset_of(at), shift).unwrap());
        flip();
        let (found, verdict) = recover(disk, from, proofs);
        flip();
        match verdict {
            Err(ReadError::Corrupt { at: end, proven_flush, place, .. }) => {
                assert!(end < proven_flush && place.contains("offset"), "{place}");
                assert!(found.len() < whole.len());
                counts.damage += 1;
            }
            Err(other) => panic!("bit {shift} at {at}: {other}"),
            Ok(_) if found == whole => {
                let in_page = at.page_offset();
                match () {
                    () if in_page == 2 && shift == 2 => counts.removable += 1,
                    () if (20..24).contains(&in_page) || gaps.iter().any(|gap| gap.contains(&at)) => {
                        counts.padding += 1;
                    }
                    () if at == from + 2 && shift == 3 => counts.overwrite_flag += 1,
                    () => counts.unnoticed.push((at, shift)),
                }
            }
            Ok(cut) => {
                // Sound only if nobody but the damaged record and what stands before it stated a point above
                // the cut.
                let proven = stated
                    .iter()
                    .filter(|(start, _)| *start > cut.from)
                    .map(|(_, point)| *point)
                    .max()
                    .unwrap_or(Lsn::INVALID);
                let segment_proves = at < last_segment && cut.from < last_segment;
                if proven > cut.from || segment_proves {
                    counts.unnoticed.push((at, shift));
                } else {
                    counts.cut_above_the_proof += 1;
                }
            }
        }
    }
    counts
}

/// What aligns the end of a record.
fn padding_behind(record: &wal::Record) -> std::ops::Range<Lsn> {
    let padding = (8 - record.len() % 8) % 8;
    record.end() - u64::from(padding)..record.end()
}

/// Each commit's start, and the point that it states.
fn stated_points(disk: &VirtualDisk, from: Lsn) -> Vec<(Lsn, Lsn)> {
    let (records, _) = read_all(disk, from, TimelineHistory::root(TLI));
    records
        .iter()
        .filter_map(|record| match XactRecord::parse(record) {
            Ok(XactRecord::Commit(end)) => Some((record.start(), end.proven_flush?)),
            _ => None,
        })
        .collect()
}

/// A log over two segments, the second begun.
fn two_segments() -> (VirtualDisk, Lsn) {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    let mut random = fastrand::Rng::with_seed(3);
    work(&wal, &mut random, 30, |_| {});
    wal.switch_segment().unwrap();
    let second = record_start(wal.positions().inserted(), SIZE);
    work(&wal, &mut random, 30, |_| {});
    wal.flush_all().unwrap();
    commit(&wal, 31);
    commit(&wal, 32);
    wal.flush_all().unwrap();
    (disk, second)
}

#[test]
fn every_flip_in_the_live_log_is_damage_below_a_proven_point_or_the_cut_tail_above_it() {
    let (disk, second) = two_segments();
    let long = std::env::var("PLIMSOLL_LONG_TESTS").is_ok_and(|value| value == "1");
    // The short form takes every seventh bit of the records; the second segment's first pages are taken
    // whole.
    let counts = flip_all(&disk, second.page_start(), if long { 1 } else { 7 }, true);
    println!("flips: {counts:?}");
    let (damage, cut_above_the_proof, padding, removable, overwrite_flag) =
        if long { (226_787, 672, 2232, 4, 1) } else { (32_401, 96, 317, 0, 0) };
    let unnoticed = Vec::new();
    let expected = Counts { damage, cut_above_the_proof, padding, removable, overwrite_flag, unnoticed };
    assert_eq!(counts, expected);
}

#[test]
fn without_looking_for_proofs_flips_below_proven_points_go_unnoticed() {
    let (disk, second) = two_segments();
    let counts = flip_all(&disk, second.page_start(), 101, false);
    assert!(!counts.unnoticed.is_empty(), "the control found nothing: {counts:?}");
}

#[test]
fn a_segment_that_has_begun_proves_the_one_before_it() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    let first = wal.insert(&mut record(1, 100)).unwrap();
    wal.insert(&mut record(2, 100)).unwrap();
    wal.switch_segment().unwrap();
    wal.insert(&mut record(3, 100)).unwrap();
    wal.flush_all().unwrap();
    let bad = first.end + 30;
    assert!(disk.flip_bit(&path_of(bad), SIZE.offset_of(bad), 2).unwrap());
    let (found, verdict) = recover(&disk, origin(), true);
    assert_eq!(found, [first.end]);
    let error = verdict.unwrap_err();
    let text = error.to_string();
    let second = SIZE.start_of(SIZE.segment_of(origin()).next());
    assert!(
        matches!(error, ReadError::Corrupt { at, proven_flush, .. } if at == first.end && proven_flush == second),
        "{text}"
    );
    for part in ["offset", "expected", "found", "000000010000000000000001"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn a_record_that_is_torn_in_the_next_segment_is_a_torn_tail_although_that_segment_has_begun() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    // Up to one page before the segment's end, then a record over three pages.
    while SIZE.offset_of(wal.positions().inserted()) < SIZE.bytes() - 9000 {
        wal.insert(&mut record(1, 4000)).unwrap();
    }
    wal.flush_all().unwrap();
    let before = wal.positions().inserted();
    wal.insert(&mut record(2, 20_000)).unwrap();
    wal.flush_all().unwrap();
    let end = wal.positions().inserted();
    assert_ne!(SIZE.segment_of(before), SIZE.segment_of(end));
    let bad = end - 100;
    assert!(disk.flip_bit(&path_of(bad), SIZE.offset_of(bad), 2).unwrap());
    let (found, verdict) = recover(&disk, origin(), true);
    assert_eq!(found.last(), Some(&before));
    let cut = verdict.unwrap();
    assert!(cut.from == before && cut.upto > bad && cut.upto <= end, "{cut:?}");

    // Nothing of it proves anything of what is written in its place.
    drop(wal);
    let (records, _) = read_all(&disk, origin(), TimelineHistory::root(TLI));
    let wal = open(&disk, quiet(), at(before, records.last().unwrap().start()));
    let next = wal.insert(&mut record(3, 100)).unwrap();
    wal.flush_all().unwrap();
    let (found, verdict) = recover(&disk, origin(), true);
    assert_eq!(found.last(), Some(&next.end));
    assert_eq!(verdict.unwrap().bytes(), 0);
}

#[test]
fn what_a_torn_record_contains_proves_nothing() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    wal.insert(&mut record(1, 100)).unwrap();
    let end = wal.flush_all().unwrap();
    let begin = record_start(end, SIZE);
    wal.insert(&mut record(2, 50_000)).unwrap();
    wal.flush_all().unwrap();
    // All that it contains reads as commits that were made when it was durable up to there.
    let file = disk.open(&path_of(begin), OpenMode::ReadWrite).unwrap();
    let first_page = begin.page_start();
    let mut at = (begin + 40).aligned();
    while at < first_page + 6 * PAGE_SIZE as u64 {
        let stated = XactEnd { proven_flush: Some(at), ..XactEnd::default() };
        let mut forged = XactRecord::Commit(stated).encode(7, 0).unwrap();
        let bytes = forged.finish(begin).to_vec();
        let next = (at + bytes.len() as u64).aligned();
        if next.page_start() == at.page_start() {
            file.write_all_at(&bytes, SIZE.offset_of(at)).unwrap();
            at = next;
        } else {
            at = record_start(at.page_start() + PAGE_SIZE as u64, SIZE);
        }
    }
    // Up to a page, or but for one, of the first ones.
    for (lost, pages) in [(1, 6), (1, 1), (3, 4), (3, 1), (5, 1)] {
        let image = disk.fork();
        let file = image.open(&path_of(begin), OpenMode::ReadWrite).unwrap();
        let lost = SIZE.offset_of(first_page) + lost * PAGE_SIZE as u64;
        file.write_all_at(&vec![0; pages * PAGE_SIZE], lost).unwrap();
        let (found, verdict) = recover(&image, origin(), true);
        assert_eq!(found, [end]);
        assert_eq!(verdict.unwrap_or_else(|error| panic!("{lost}, {pages}: {error}")).from, end);
    }
}

/// A log over three segments: two end in the middle of a record, and commits follow in the last.
fn three_segments() -> (VirtualDisk, Lsn) {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    let third = SIZE.start_of(SIZE.segment_of(origin()).next().next());
    for xid in 1.. {
        wal.insert(&mut record(u64::from(xid), 9000)).unwrap();
        commit(&wal, xid);
        let end = wal.flush_all().unwrap();
        if end > third + 40_000 {
            return (disk, end);
        }
    }
    unreachable!()
}

#[test]
fn every_flip_in_the_first_page_header_of_a_segment_is_damage_wherever_the_segment_lies() {
    let (disk, end) = three_segments();
    let (whole, _) = recover(&disk, origin(), true);
    let (mut damage, mut harmless) = (0, Vec::new());
    for segment in [1, 2].map(|number| origin() + number * SIZE.bytes()) {
        for bit in 0..wal::page::LONG_HEADER_SIZE * 8 {
            let flip =
                || assert!(disk.flip_bit(&path_of(segment), (bit / 8) as u64, (bit % 8) as u8).unwrap());
            flip();
            let (found, verdict) = recover(&disk, origin(), true);
            flip();
            match verdict {
                Err(ReadError::Corrupt { at, proven_flush, .. }) => {
                    assert!(at < segment && proven_flush > at && found.len() < whole.len());
                    damage += 1;
                }
                Ok(cut) if found == whole && cut.from == end => harmless.push(bit),
                other => panic!("bit {bit} of the page at {segment}: {other:?}"),
            }
        }
    }
    // XLP_BKP_REMOVABLE means nothing here.
    assert_eq!((damage, harmless), (638, vec![18, 18]));
}

#[test]
fn a_segment_of_zeros_or_with_a_torn_begin_is_damage_if_a_later_one_has_begun() {
    let (disk, _) = three_segments();
    let second = origin() + SIZE.bytes();
    for lost in [PAGE_SIZE as u64, 5 * PAGE_SIZE as u64, SIZE.bytes()] {
        let image = disk.fork();
        let file = image.open(&path_of(second), OpenMode::ReadWrite).unwrap();
        file.write_all_at(&vec![0; lost as usize], 0).unwrap();
        let (_, verdict) = recover(&image, origin(), true);
        let error = verdict.unwrap_err();
        assert!(
            matches!(error, ReadError::Corrupt { at, .. } if at < second && at > second - 20_000),
            "{lost} bytes: {error}"
        );
        // The first pages of what follows lost too: the rest of it is looked at nevertheless.
        let file = image.open(&path_of(second + SIZE.bytes()), OpenMode::ReadWrite).unwrap();
        file.write_all_at(&[0; PAGE_SIZE], 0).unwrap();
        assert!(recover(&image, origin(), true).1.is_err(), "{lost} bytes and the next page");
    }
}

#[test]
fn segments_made_ahead_from_old_ones_and_of_another_timeline_prove_nothing() {
    let (disk, end) = three_segments();
    let last = SIZE.segment_of(end);
    // A power cut in the last commit; ahead lie old segments, renamed, and one of a branch that has ended.
    let (whole, _) = recover(&disk, origin(), true);
    let bad = whole[whole.len() - 2] + 30;
    assert!(disk.flip_bit(&path_of(bad), SIZE.offset_of(bad), 2).unwrap());
    let old = disk.read(&path_of(origin()), SIZE.bytes()).unwrap();
    let mut branch = disk.read(&path_of(end), SIZE.bytes()).unwrap();
    for page in (0_u64..).step_by(PAGE_SIZE).zip(branch.chunks_exact_mut(PAGE_SIZE)) {
        page.1[4..8].copy_from_slice(&2_u32.to_le_bytes());
        page.1[8..16]
            .copy_from_slice(&(SIZE.start_of(last.next()) + SIZE.bytes() + page.0).get().to_le_bytes());
    }
    let (next, behind) = (SIZE.start_of(last.next()), SIZE.start_of(last.next().next()));
    write_file_durably(&disk, &path_of(next), &old).unwrap();
    write_file_durably(&disk, &path_of(behind), &branch).unwrap();
    let (_, verdict) = recover(&disk, origin(), true);
    assert_eq!(verdict.unwrap().from, whole[whole.len() - 2]);
    // The control: pages of this timeline there do prove it.
    for page in branch.chunks_exact_mut(PAGE_SIZE) {
        page[4..8].copy_from_slice(&1_u32.to_le_bytes());
    }
    write_file_durably(&disk, &path_of(behind), &branch).unwrap();
    assert!(recover(&disk, origin(), true).1.is_err());
}

#[test]
fn no_power_cut_is_ever_taken_for_damage() {
    let mut images = HashSet::new();
    let mut torn = 0;
    for seed in 0..if cfg!(debug_assertions) { 12 } else { 60 } {
        let disk = new_disk();
        let wal = fresh(&disk, quiet());
        let states: Arc<Mutex<Vec<VirtualDisk>>> = Arc::default();
        let sink = Arc::clone(&states);
        disk.observe(Box::new(move |_, moment| sink.lock().push(moment.fork())));
        work(&wal, &mut fastrand::Rng::with_seed(seed), 40, |_| {});
        disk.stop_observing();
        for (number, state) in (0_u64..).zip(std::mem::take(&mut *states.lock())) {
            for variant in 0..6 {
                let image = state.crash(CrashPolicy::Anything { seed: seed * 1000 + number * 6 + variant });
                if !images.insert(image.image_hash()) {
                    continue;
                }
                let (_, verdict) = recover(&image, origin(), true);
                let cut = verdict.unwrap_or_else(|error| panic!("seed {seed}, call {number}: {error}"));
                torn += u32::from(cut.bytes() > 0);
            }
        }
    }
    assert!(torn > 50, "only {torn} of {} images had a torn tail", images.len());
}

#[test]
fn no_row_of_power_cuts_is_ever_taken_for_damage_whatever_former_lives_left() {
    let (mut torn, mut given_up) = (0, 0);
    for seed in 0..if cfg!(debug_assertions) { 40 } else { 400 } {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut disk = new_disk();
        let (mut start, mut overwritten) = (at(origin(), Lsn::INVALID), None);
        for life in 0..6 {
            let states: Arc<Mutex<Vec<VirtualDisk>>> = Arc::default();
            let sink = Arc::clone(&states);
            let watched = disk.clone();
            watched.observe(Box::new(move |_, moment| sink.lock().push(moment.fork())));
            let wal = open(&disk, quiet(), start);
            if let Some(overwritten) = overwritten {
                let given_up = XlogRecord::OverwriteContrecord { overwritten, time: Default::default() };
                wal.insert(&mut given_up.encode().unwrap()).unwrap();
            }
            for xid in 0..12 {
                wal.insert(&mut record(xid, random.usize(..150_000))).unwrap();
                commit(&wal, 1);
                match random.u8(..3) {
                    0 => drop(wal.flush_all().unwrap()),
                    1 => drop(wal.write(wal.positions().inserted()).unwrap()),
                    _ => {}
                }
            }
            watched.stop_observing();
            let states = std::mem::take(&mut *states.lock());
            disk = random.choice(&states).unwrap().crash(CrashPolicy::Anything { seed: random.u64(..) });
            let (records, end) = read_all(&disk, origin(), TimelineHistory::root(TLI));
            let (_, verdict) = recover(&disk, origin(), true);
            let cut = verdict.unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            torn += u32::from(cut.bytes() > 0);
            let previous = records.last().map_or(Lsn::INVALID, wal::Record::start);
            overwritten = end.broken.map(|broken| broken.start);
            given_up += u32::from(overwritten.is_some());
            start = wal::WriteStart {
                overwrites_contrecord: overwritten.is_some(),
                ..at(end.broken.map_or(end.at, |broken| broken.missing_at), previous)
            };
        }
    }
    println!("{torn} torn tails, {given_up} records given up");
    assert!(torn > 60 && given_up > 40, "{torn} torn tails, {given_up} records given up");
}
