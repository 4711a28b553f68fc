//! What proves that the log was durable: bit flips in its live part, and power cuts, which must never be
//! taken for damage.

use crate::support::*;
use host::sync::Mutex;
use simulation::{CrashPolicy, VirtualDisk};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use wal::history::TimelineHistory;
use wal::page::record_start;
use wal::reader::{CutTail, ReadError};
use wal::xact::{XactEnd, XactRecord};
use wal::{Lsn, Next, ReaderOptions, SegmentFiles, SystemId, WalReader, WalWriter};

/// A commit that states what its writer knows to be durable.
fn commit(wal: &WalWriter, xid: u32) -> Lsn {
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

fn path_of(at: Lsn) -> PathBuf {
    dir().join(SIZE.segment_of(at).file_name(TLI, SIZE))
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
