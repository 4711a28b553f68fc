//! A standby's log that was received and cannot be read: damage, unless its last record has not come whole.

use super::own_log::{Copies, path_of, record};
use super::standby::{Standby, backup, follow, follow_with, primary, ship};
use super::*;
use crate::{Feed, RedoEnd};
use host::sync::Mutex;
use host::{Disk, OpenMode};
use simulation::CrashPolicy;
use wal::control::ControlFile;
use wal::history::TimelineHistory;
use wal::page::record_start;
use wal::reader::SegmentSupply;
use wal::{Lsn, SegmentNumber, TimelineId};

const ONE: TimelineId = TimelineId::FIRST;

/// A standby's directory that has received `records` after what is replayed, and where those begin and end.
async fn received(values: &[&str]) -> (VirtualDisk, VirtualDisk, Lsn, Lsn) {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    standby.stop();
    let begin = db.positions().unwrap().flushed();
    for value in values {
        write(&db, tree, &[("row 000", value)], SyncLevel::Local).await;
    }
    let end = db.wal_writer_tick().unwrap();
    ship(&disk, &copy);
    (disk, copy, begin, end)
}

/// Spoils the record at `at`.
fn flip(disk: &VirtualDisk, at: Lsn) {
    let size = ControlFile::load(disk, Path::new(DIR)).unwrap().segment_size;
    let (path, offset) = path_of(disk, record_start(at, size));
    assert!(disk.flip_bit(&path, offset + 30, 1).unwrap());
}

fn promotion(standby: Standby) -> Result<RedoEnd, String> {
    standby.feed.set(Feed::Promote { timeline: ONE });
    standby.thread.join().unwrap().map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_was_received_and_cannot_be_read_is_told_refused_and_mended_by_what_comes_again() {
    let (disk, copy, begin, end) = received(&["damaged", "behind it"]).await;
    flip(&copy, begin);
    // Nobody knows that it was durable: it may have been cut off by a loss of power.
    let unknown = follow(&copy.fork());
    unknown.feed.settle();
    assert_eq!(unknown.feed.damage(), []);
    assert!(matches!(promotion(unknown), Ok(RedoEnd::Promote { at, .. }) if at == begin));
    record(&copy).flushed(ONE, end);
    let seen = copy.fork();
    let standby = follow(&seen);
    standby.feed.settle();
    let damage = standby.feed.damage();
    let left = record(&seen.crash(CrashPolicy::LoseUnsynced)).received();
    assert_eq!(left.map(|left| left.lsn), Some(end), "what was seen is known after a power cut");
    assert!(matches!(&damage[..], [(at, what)] if *at == begin && what.contains("incorrect checksum")));
    let refused = promotion(standby).unwrap_err();
    assert!(refused.contains("cannot be promoted: WAL is damaged"), "{refused}");
    assert!(refused.contains("a start without plimsoll/received gives up"), "{refused}");
    let refused = try_open(&copy.fork(), options()).err().unwrap().to_string();
    assert!(refused.contains("WAL is damaged") && refused.contains(&end.to_string()), "{refused}");
    let standby = follow(&copy);
    standby.feed.settle();
    ship(&disk, &copy);
    standby.feed.damage();
    standby.feed.set(Feed::Again { timeline: ONE });
    standby.feed.settle();
    assert_eq!(standby.feed.damage(), []);
    assert!(matches!(promotion(standby), Ok(RedoEnd::Promote { at, .. }) if at == end));
}

#[tokio::test]
async fn what_a_receiver_has_just_written_and_cannot_be_read_is_told() {
    let (_disk, copy, begin, end) = received(&["whole"]).await;
    let standby = follow(&copy);
    standby.feed.settle();
    flip(&copy, begin);
    // What was read before is not read again: the end has moved on.
    standby.feed.give(end + 8);
    assert_eq!(standby.feed.damage(), []);
    standby.stop();
    let standby = follow(&copy);
    standby.feed.settle();
    assert_eq!(standby.feed.damage(), [], "it is no more than written");
    standby.feed.give(end);
    assert!(matches!(&standby.feed.damage()[..], [(at, _)] if *at == begin));
    standby.stop();
}

#[tokio::test]
async fn a_record_that_has_not_come_whole_is_no_damage() {
    let large: String = (0..12_000_u32).map(|byte| char::from(b'a' + (byte * byte % 23) as u8)).collect();
    let (_disk, copy, begin, end) = received(&["small", &large]).await;
    let size = ControlFile::load(&copy, Path::new(DIR)).unwrap().segment_size;
    let mut upto = begin + 1;
    while upto < end {
        let cut = copy.fork();
        let (path, offset) = path_of(&cut, upto);
        let file = cut.open(&path, OpenMode::ReadWrite).unwrap();
        file.write_all_at(&vec![0; usize::try_from(size.bytes() - offset).unwrap()], offset).unwrap();
        record(&cut).flushed(ONE, upto);
        let standby = follow(&cut);
        standby.feed.settle();
        assert_eq!(standby.feed.damage(), [], "of {begin} to {end} up to {upto} came");
        promotion(standby).unwrap();
        let is_small = upto.bytes_since(begin) < 400 || upto.page_offset() < 60;
        upto = upto + if is_small { 1 } else { 57 };
    }
}

/// An archive that gets a segment late: it has it once it was asked for it so often.
struct Late {
    copies: Copies,
    segment: SegmentNumber,
    refusals: Mutex<usize>,
}

impl SegmentSupply for Late {
    fn fetch(
        &self,
        history: &TimelineHistory,
        timeline: TimelineId,
        segment: SegmentNumber,
        own_upto: Lsn,
    ) -> std::io::Result<bool> {
        let mut left = self.refusals.lock();
        if segment == self.segment && *left > 0 {
            *left -= 1;
            return Ok(false);
        }
        self.copies.fetch(history, timeline, segment, own_upto)
    }
}

/// Options by which segments come from such an archive, the one behind a border late.
fn late(archive: &VirtualDisk, disk: &VirtualDisk, border: Lsn, refusals: usize) -> DatabaseOptions {
    let size = ControlFile::load(disk, Path::new(DIR)).unwrap().segment_size;
    let (copies, segment) = (Copies::new(archive, disk), size.segment_of(border));
    let mut options = options();
    options.recovery.supply = Some(Arc::new(Late { copies, segment, refusals: Mutex::new(refusals) }));
    options
}

/// A disk with log that goes on behind a segment's border, and a standby's directory that has it up to there.
async fn up_to_a_border() -> (VirtualDisk, VirtualDisk, TreeId, Lsn) {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    standby.stop();
    let size = db.control().segment_size;
    let border = size.start_of(size.segment_of(db.positions().unwrap().flushed()).next());
    let filler = "x".repeat(2000);
    for row in 0_u64.. {
        if db.positions().unwrap().flushed() > border + 20_000 {
            break;
        }
        write(&db, tree, &[(&format!("row {row:06}"), &filler)], SyncLevel::Local).await;
    }
    write(&db, tree, &[("row 000", "the last")], SyncLevel::Local).await;
    db.wal_writer_tick().unwrap();
    ship(&disk, &copy);
    for behind in [border, border + size.bytes()] {
        let (path, _) = path_of(&copy, behind);
        if copy.exists(&path).unwrap() {
            copy.remove_file(&path).unwrap();
        }
    }
    (disk, copy, tree, border)
}

#[tokio::test]
async fn a_segment_that_an_archive_gets_while_an_end_is_judged_comes_with_the_next_look() {
    let (archive, copy, tree, border) = up_to_a_border().await;
    record(&copy).flushed(ONE, border);
    let standby = follow_with(&copy, late(&archive, &copy, border, 1));
    standby.feed.settle();
    assert_eq!(standby.feed.damage(), []);
    assert!(!copy.exists(&path_of(&copy, border).0).unwrap(), "a stream would cut it, whole");
    standby.feed.set(Feed::Again { timeline: ONE });
    standby.feed.settle();
    assert_eq!(read(&standby.db, tree, "row 000").await.as_deref(), Some("the last"));
    standby.stop();
}

#[tokio::test]
async fn a_segment_that_an_archive_gets_once_redo_is_over_is_not_cut_by_the_promotion() {
    let (archive, copy, _, border) = up_to_a_border().await;
    // Redo asks for it at its first look, again for the promotion, and when it judges the end.
    let standby = follow_with(&copy, late(&archive, &copy, border, 3));
    standby.feed.settle();
    let (db, end) = standby.end_for_promotion();
    assert!(matches!(end, RedoEnd::Promote { at, .. } if at < border), "a record goes over the border");
    assert_eq!(db.tail_behind_redo().unwrap().whole_records, 0);
    assert!(!copy.exists(&path_of(&copy, border).0).unwrap());
}
