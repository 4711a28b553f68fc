//! The end of a log that came from an archive: bit flips in its last file, whether that is finished or of a
//! server that was killed.

use crate::proof::commit;
use crate::support::*;
use host::{Disk, OpenMode, write_file_durably};
use simulation::VirtualDisk;
use std::io;
use std::sync::Arc;
use wal::history::TimelineHistory;
use wal::page::PAGE_SIZE;
use wal::reader::{ArchivedEnd, SegmentSupply};
use wal::{
    Lsn, Next, ReaderOptions, SegmentFiles, SegmentNumber, SystemId, TimelineId, WalReader, WalWriter,
};

/// An archive that has what is on a disk, where it is read.
struct AllOf(VirtualDisk);

impl SegmentSupply for AllOf {
    fn fetch(
        &self,
        _: &TimelineHistory,
        timeline: TimelineId,
        segment: SegmentNumber,
        _: Lsn,
    ) -> io::Result<bool> {
        self.0.exists(&dir().join(segment.file_name(timeline, SIZE)))
    }
}

/// Where recovery finds the end, and what that is.
fn recover(disk: &VirtualDisk) -> (Lsn, ArchivedEnd) {
    let mut source = SegmentFiles::new(Arc::new(disk.clone()), dir(), SIZE, TimelineHistory::root(TLI));
    source.set_supply(Arc::new(AllOf(disk.clone())));
    source.let_gaps_end_the_log(true);
    let options = ReaderOptions { system_id: Some(SystemId::new(77)), ..ReaderOptions::new(SIZE) };
    let mut reader = WalReader::new(source, options, origin());
    loop {
        if let Next::End(end) = reader.next().unwrap() {
            return (end.at, reader.archived_end(&end, true).unwrap());
        }
    }
}

/// Flips each 13th bit from `from` to `upto`: those that say damage, and the ends of those that do not.
fn flips(disk: &VirtualDisk, from: Lsn, upto: Lsn) -> (u32, Vec<Lsn>) {
    let (mut damage, mut ends) = (0, Vec::new());
    for bit in (0..upto.bytes_since(from) * 8).step_by(13) {
        let at = from + bit / 8;
        let flip = || assert!(disk.flip_bit(&path_of(at), SIZE.offset_of(at), (bit % 8) as u8).unwrap());
        flip();
        match recover(disk) {
            (_, ArchivedEnd::Damaged(_)) => damage += 1,
            (end, ArchivedEnd::Ends) => ends.push(end),
            other => panic!("bit {bit}: {other:?}"),
        }
        flip();
    }
    (damage, ends)
}

/// Four transactions of four kB and a commit, of which nothing states that it is durable; where they begin.
fn transactions(wal: &WalWriter) -> Lsn {
    let begin = wal.flush_all().unwrap();
    for xid in 1..=4 {
        wal.insert(&mut record(u64::from(xid), 4000)).unwrap();
        commit(wal, xid);
    }
    begin
}

/// A log whose last transactions begin behind `before` bytes and end `left` bytes before a page does, if that
/// is given.
fn log(before: u64, left: Option<usize>) -> (VirtualDisk, WalWriter, Lsn) {
    let mut filler = 300;
    loop {
        let disk = new_disk();
        let wal = fresh(&disk, quiet());
        while SIZE.offset_of(wal.positions().inserted()) < before {
            wal.insert(&mut record(9, 4000)).unwrap();
        }
        wal.insert(&mut record(9, filler)).unwrap();
        let begin = transactions(&wal);
        let over = wal.positions().inserted().page_offset();
        match left.map(|left| (2 * PAGE_SIZE - left - over) % PAGE_SIZE) {
            None | Some(0) => return (disk, wal, begin),
            Some(missing) => filler += if missing > 64 { missing - 48 } else { 8 },
        }
    }
}

/// Takes away the file that begins at `at`, which no archive has.
fn remove(disk: &VirtualDisk, at: Lsn) {
    if disk.exists(&path_of(at)).unwrap() {
        disk.remove_file(&path_of(at)).unwrap();
    }
}

#[test]
fn no_finished_file_of_an_archive_ends_the_log_at_a_flipped_bit() {
    let near = SIZE.bytes() - 26_000;
    // None: a switch of segments finishes it; else a record of so many bytes, after `left` bytes of the page.
    let finished = [
        (0, None, None),
        (0, Some(16), None),
        (0, Some(8), None),
        (near, None, Some(20_000)),
        (SIZE.bytes() / 2, Some(16), Some(700_000)),
        (SIZE.bytes() / 2, Some(24), Some(700_000)),
    ];
    for (before, left, len) in finished {
        let (disk, wal, begin) = log(before, left);
        let last = wal.positions().inserted();
        match len {
            None => drop(wal.switch_segment().unwrap()),
            Some(len) => drop(wal.insert(&mut record(10, len)).unwrap()),
        }
        wal.flush_all().unwrap();
        let behind = SIZE.start_of(SIZE.segment_of(begin).next());
        assert!(last < behind);
        remove(&disk, behind);
        let (end, verdict) = recover(&disk);
        assert!(matches!(verdict, ArchivedEnd::Ends) && end >= last, "{end}: {verdict:?}");

        let (damage, ends) = flips(&disk, begin, last);
        // The others are in what aligns records, and what a page's header does not use.
        let lost: Vec<_> = ends.iter().filter(|found| **found < last).collect();
        assert!(damage > 9000 && lost.is_empty(), "{left:?} {len:?}: {damage}, lost {lost:?}");
    }
}

#[test]
fn a_file_of_a_killed_server_in_an_archive_ends_the_log_where_it_is_torn() {
    // Written up to its last page, up to its end with one behind that was made ahead, or only begun.
    let near = SIZE.bytes() - 22_000;
    for (before, len, is_full) in [(0, None, false), (near, None, false), (near, Some(20_000), true)] {
        let (disk, wal, begin) = log(before, None);
        let last = wal.positions().inserted();
        if let Some(len) = len {
            wal.insert(&mut record(10, len)).unwrap();
        }
        wal.flush_all().unwrap();
        let behind = SIZE.start_of(SIZE.segment_of(begin).next());
        assert!(SIZE.segment_of(last) == SIZE.segment_of(begin));
        let torn = begin.page_start() + PAGE_SIZE as u64;
        assert!(torn + (PAGE_SIZE as u64) < last);
        let file = disk.open(&path_of(torn), OpenMode::ReadWrite).unwrap();
        file.write_all_at(&[0; 512], SIZE.offset_of(torn) + 512).unwrap();
        remove(&disk, behind);
        if is_full {
            write_file_durably(&disk, &path_of(behind), &vec![0; SIZE.bytes() as usize]).unwrap();
        }
        let (end, verdict) = recover(&disk);
        assert!(matches!(verdict, ArchivedEnd::Ends) && end < last, "{before} {is_full}: {end}: {verdict:?}");
    }
}

#[test]
fn a_record_of_which_a_power_cut_left_the_begin_does_not_finish_the_file_that_it_would_fill() {
    let (disk, wal, begin) = log(0, None);
    let last = wal.flush_all().unwrap();
    wal.insert(&mut record(10, 1_500_000)).unwrap();
    wal.flush_all().unwrap();
    for number in 1..3 {
        remove(&disk, SIZE.start_of(SIZE.segment_of(begin)) + number * SIZE.bytes());
    }
    let file = disk.open(&path_of(begin), OpenMode::ReadWrite).unwrap();
    let lost = SIZE.offset_of(last.page_start()) + PAGE_SIZE as u64;
    file.write_all_at(&vec![0; (SIZE.bytes() - lost) as usize], lost).unwrap();
    let torn = SIZE.offset_of(begin.page_start()) + PAGE_SIZE as u64 + 512;
    file.write_all_at(&[0; 512], torn).unwrap();
    let (end, verdict) = recover(&disk);
    assert!(matches!(verdict, ArchivedEnd::Ends) && end < last, "{end}: {verdict:?}");
}
