//! Segment files on a disk: what is not there yet, what is gone, and bounds that move.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod support;

use host::{Disk, OpenMode, RealDisk};
use std::path::Path;
use std::sync::Arc;
use support::{Log, SIZE};
use wal::history::{BranchId, TimelineHistory};
use wal::reader::{Compared, SegmentCopy, Sought};
use wal::{
    EndReason, Lsn, Next, ReadError, ReaderOptions, SegmentFiles, SegmentNumber, SourceError, TimelineId,
    WalReader, WalSource,
};

fn store(folder: &Path, log: &Log, timeline: TimelineId) {
    let segment = SIZE.segment_of(log.start);
    for (at, bytes) in log.bytes.chunks(1 << 20).enumerate() {
        let name = SegmentNumber::new(segment.get() + at as u64).file_name(timeline, SIZE);
        let mut bytes = bytes.to_vec();
        bytes.resize(1 << 20, 0);
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

fn files(folder: &Path, history: TimelineHistory) -> SegmentFiles {
    SegmentFiles::new(Arc::new(RealDisk), folder, SIZE, history)
}

fn root() -> TimelineHistory {
    TimelineHistory::root(TimelineId::FIRST)
}

/// Three segments of records.
fn log() -> Log {
    let mut log = Log::new(Lsn::new(1 << 20));
    while log.end < Lsn::new((3 << 20) + 5000) {
        log.push_bytes(7, 30_000);
    }
    log
}

fn read_to_end(reader: &mut WalReader<SegmentFiles>) -> (usize, wal::EndOfWal) {
    let mut count = 0;
    loop {
        match reader.next().unwrap() {
            Next::Record(_) => count += 1,
            Next::End(end) => return (count, end),
        }
    }
}

#[test]
fn a_raised_limit_lets_the_reader_go_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let log = log();
    store(folder.path(), &log, TimelineId::FIRST);
    let mut source = files(folder.path(), root());
    source.set_limit(log.start);
    let mut reader = WalReader::new(source, ReaderOptions::new(SIZE), log.start);
    let mut read = 0;
    let mut limit = log.start;
    while limit < log.end {
        limit = (limit + 100_003).min(log.end);
        reader.source_mut().set_limit(limit);
        let (count, end) = read_to_end(&mut reader);
        read += count;
        assert!(end.at <= limit);
        assert!(matches!(end.reason, EndReason::NotYet { at } if at >= limit.page_start()), "{end:?}");
    }
    assert_eq!(read, log.starts.len());
}

#[test]
fn a_missing_segment_is_an_error_below_the_limit_or_a_later_segment_and_an_end_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let log = log();
    store(folder.path(), &log, TimelineId::FIRST);
    let third = folder.path().join(SegmentNumber::new(3).file_name(TimelineId::FIRST, SIZE));
    let second = folder.path().join(SegmentNumber::new(2).file_name(TimelineId::FIRST, SIZE));
    std::fs::remove_file(&third).unwrap();
    let mut reader = WalReader::new(files(folder.path(), root()), ReaderOptions::new(SIZE), log.start);
    let (_, end) = read_to_end(&mut reader);
    assert!(matches!(end.reason, EndReason::NotYet { at } if at == Lsn::new(3 << 20)), "{end:?}");
    assert!(end.torn, "a record crosses into the missing segment");
    reader.source_mut().set_limit(log.end);
    assert!(matches!(reader.next(), Err(ReadError::Source(SourceError::Missing { .. }))));
    // With a hole in the middle no limit is needed to know.
    std::fs::copy(&second, &third).unwrap();
    std::fs::remove_file(&second).unwrap();
    let mut reader = WalReader::new(files(folder.path(), root()), ReaderOptions::new(SIZE), log.start);
    let error = loop {
        match reader.next() {
            Ok(Next::Record(_)) => {}
            Ok(Next::End(end)) => panic!("{end:?}"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("000000010000000000000002 has already been removed"), "{error}");
}

#[test]
fn an_ancestors_file_serves_up_to_the_fork_and_no_further() {
    let folder = tempfile::tempdir().unwrap();
    let log = log();
    store(folder.path(), &log, TimelineId::FIRST);
    let fork = log.starts[log.starts.len() / 2];
    let history = root().fork(TimelineId::new(2), fork, "", BranchId::new(1)).unwrap();
    let mut source = files(folder.path(), history);
    // Timeline 2's own segment is not there yet: the old one is read, up to the fork.
    let mut buffer = vec![0; 1 << 20];
    let before = fork - 100;
    assert_eq!(source.read(before, &mut buffer).unwrap(), 100);
    let offset = usize::try_from(before.bytes_since(log.start)).unwrap();
    assert_eq!(buffer[..100], log.bytes[offset..offset + 100]);
    // What lies behind the fork in the old timeline's files is of no interest, however many there are.
    assert_eq!(source.read(fork, &mut buffer).unwrap(), 0);
    // Now the new timeline's segment appears.
    let mut new = log.clone();
    new.timeline = TimelineId::new(2);
    store(folder.path(), &new, TimelineId::new(2));
    assert!(source.read(fork, &mut buffer).unwrap() > 100);
}

#[test]
fn what_can_be_read_here_stays_and_the_rest_is_taken_from_another_copy_of_the_same_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = log();
    store(folder.path(), &log, TimelineId::FIRST);
    let files = files(folder.path(), root());
    let (at, len) = (log.start, 100_000);
    let compare = |at, theirs: &[u8]| files.compare(at, theirs).unwrap();
    let theirs = &log.bytes[..len];
    assert_eq!(compare(at, theirs), Compared::Same);
    assert_eq!(compare(Lsn::new(100 << 20), theirs), Compared::Gone);
    // A page header in the middle of a record, and padding, that are bad in the other copy.
    let mut bad = theirs.to_vec();
    bad[3 * 8192 + 16] ^= 1;
    bad[5 * 8192 + 22] ^= 1;
    let kept = Compared::Alike { bytes: theirs.to_vec(), taken: None };
    assert_eq!(compare(at, &bad), kept);
    // A record that cannot be read here, beside such a header.
    let name = SIZE.segment_of(at).file_name(TimelineId::FIRST, SIZE);
    let mut here = std::fs::read(folder.path().join(&name)).unwrap();
    here[70_000] ^= 1;
    std::fs::write(folder.path().join(&name), here).unwrap();
    let taken = Some(at + 70_000..at + 70_001);
    assert_eq!(compare(at, &bad), Compared::Alike { bytes: theirs.to_vec(), taken });
    // Another log is another one beside that, too.
    let mut another = Log::new(at);
    another.push_bytes(7, 30_000);
    let fork = another.end;
    another.push_bytes(8, 90_000);
    assert_eq!(compare(at, &another.bytes[..len]), Compared::Another(fork));
}

/// A folder with the log, and the file of its second segment elsewhere, with another content.
fn beside(log: &Log, other: &Log, bad: &[usize]) -> (tempfile::TempDir, SegmentFiles, SegmentCopy, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path(), log, TimelineId::FIRST);
    let (segment, path) = (SegmentNumber::new(2), folder.path().join("copy"));
    let mut bytes = other.bytes[1 << 20..2 << 20].to_vec();
    bad.iter().for_each(|at| bytes[*at] ^= 1);
    std::fs::write(&path, &bytes).unwrap();
    let file = RealDisk.open(&path, OpenMode::Read).unwrap();
    let files = files(folder.path(), root());
    (folder, files, SegmentCopy { file, segment, name: "copy".to_owned() }, bytes)
}

#[test]
fn a_bad_record_of_the_other_copy_is_no_other_log() {
    let log = log();
    let (folder, files, copy, theirs) = beside(&log, &log, &[700_000]);
    let at = Lsn::new(2 << 20);
    let ours = log.bytes[1 << 20..2 << 20].to_vec();
    let kept = Compared::Alike { bytes: ours.clone(), taken: None };
    assert_eq!(files.compare_copy(&copy, at, &theirs).unwrap(), kept);
    assert_eq!(files.compare(at, &theirs).unwrap(), kept, "the same without the rest of the segment");
    // Each of both has what the other cannot read.
    let name = folder.path().join(copy.segment.file_name(TimelineId::FIRST, SIZE));
    let mut here = ours.clone();
    here[400_000] ^= 1;
    std::fs::write(name, here).unwrap();
    let both = Compared::Alike { bytes: ours, taken: Some(at + 400_000..at + 400_001) };
    assert_eq!(files.compare_copy(&copy, at, &theirs).unwrap(), both);
    // Another log's record is whole.
    let mut another = log.clone();
    let record = log.starts.iter().copied().find(|start| *start > at + 600_000).unwrap();
    let mut twin = Log::new(log.start);
    while twin.end < Lsn::new((3 << 20) + 5000) {
        let is_it = wal::page::record_start(twin.end, SIZE) == record;
        twin.push_bytes(if is_it { 8 } else { 7 }, 30_000);
    }
    another.bytes = twin.bytes;
    let (_folder, files, copy, theirs) = beside(&log, &another, &[]);
    assert_eq!(files.compare_copy(&copy, at, &theirs).unwrap(), Compared::Another(record));
}

#[test]
fn a_copy_fills_a_hole_only_if_the_log_links_over_it() {
    let log = log();
    let mut longer = Log::new(log.start);
    longer.push_bytes(7, 20_000);
    while longer.end < Lsn::new((3 << 20) + 5000) {
        longer.push_bytes(7, 30_000);
    }
    let (start, end) = (Lsn::new(2 << 20), Lsn::new(3 << 20));
    for (other, goes_on) in [(&log, true), (&longer, false)] {
        for is_gone in [true, false] {
            let (folder, files, copy, _) = beside(&log, other, &[]);
            let name = folder.path().join(copy.segment.file_name(TimelineId::FIRST, SIZE));
            let tells = || files.can_tell(start..end, &|| true).unwrap();
            assert_eq!(tells(), Sought::Yes);
            match is_gone {
                true => std::fs::remove_file(name).unwrap(),
                false => std::fs::write(name, vec![0; 1 << 20]).unwrap(),
            }
            assert_eq!(tells(), Sought::No);
            let found = files.goes_on_with(&copy, start..end, &|| true).unwrap();
            assert_eq!(found, Sought::from(goes_on), "gone: {is_gone}");
        }
    }
    // It has something bad itself.
    let (_folder, files, copy, _) = beside(&log, &log, &[500_000]);
    let goes_on = |part| files.goes_on_with(&copy, part, &|| true).unwrap();
    assert_eq!(goes_on(start + 450_000..start + 600_000), Sought::No);
    assert_eq!(goes_on(start + 700_000..start + 800_000), Sought::Yes);
}

#[test]
fn a_search_of_another_copy_is_over_at_once_where_nothing_is_here_and_when_it_is_told_to_end() {
    let log = log();
    let (folder, files, copy, _) = beside(&log, &log, &[]);
    let (start, end) = (Lsn::new(2 << 20), Lsn::new(3 << 20));
    let asked = std::cell::Cell::new(0);
    let goes_on = || {
        asked.set(asked.get() + 1);
        true
    };
    // A segment that is not here is not looked for page by page.
    let gone = Lsn::new(70 << 20);
    assert_eq!(files.can_tell(gone..gone + (1 << 20), &goes_on).unwrap(), Sought::No);
    assert_eq!(asked.get(), 0);
    assert_eq!(files.can_tell(start..end, &|| false).unwrap(), Sought::BrokenOff);
    assert_eq!(files.goes_on_with(&copy, start..end, &|| false).unwrap(), Sought::BrokenOff);
    // Of one without a record each page is looked at once.
    let name = folder.path().join(copy.segment.file_name(TimelineId::FIRST, SIZE));
    std::fs::write(name, vec![0; 1 << 20]).unwrap();
    assert_eq!(files.can_tell(start..end, &goes_on).unwrap(), Sought::No);
    assert_eq!(asked.get(), 8);
}
