//! A standby's log that was received and cannot be read: damage, unless its last record has not come whole.

use super::own_log::{path_of, record};
use super::standby::{Standby, backup, follow, primary, ship};
use super::*;
use crate::{Feed, RedoEnd};
use host::{Disk, OpenMode};
use simulation::CrashPolicy;
use wal::control::ControlFile;
use wal::page::record_start;
use wal::{Lsn, TimelineId};

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
