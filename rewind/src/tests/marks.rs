//! What the archive is said to have of the branch that is given up is said of no file that comes after it.

use super::gone_log::{ONES_LOG, TWOS_LOG, common, killed_with_much_to_give_up, size};
use super::rewind;
use host::Disk;
use simulation::{CrashPolicy, Fault, VirtualDisk};
use std::path::Path;
use std::sync::Arc;
use wal::control::ControlFile;
use wal::history::TimelineHistory;
use wal::{ArchiveStatus, Archived, SegmentNumber, TimelineId};

fn marks(disk: &VirtualDisk) -> ArchiveStatus {
    ArchiveStatus::new(Arc::new(disk.clone()), Path::new(ONES_LOG))
}

#[tokio::test]
async fn a_mark_goes_before_its_segment_and_none_is_there_for_a_segment_that_came_in_part() {
    let (disk, end) = killed_with_much_to_give_up(0).await;
    let history = TimelineHistory::load(&disk, Path::new(TWOS_LOG), TimelineId::new(2)).unwrap();
    let fork = size().segment_of(history.end_of(TimelineId::FIRST).unwrap().unwrap());
    let mut given_up = common(&disk, ONES_LOG);
    // The one in which the log ends is none that was archived.
    let given_up_in = fork..size().segment_of(end);
    given_up.retain(|name| given_up_in.contains(&SegmentNumber::parse_file_name(name, size()).unwrap().1));
    assert!(!given_up.is_empty());
    // As if another branch of that number had been here, too.
    let end = ControlFile::load(&disk, Path::new("/two")).unwrap().checkpoint;
    let last = size().segment_of(end).file_name(TimelineId::new(2), size());
    for name in given_up.iter().chain([&last]) {
        marks(&disk).force_done(name).unwrap();
    }
    let disk = disk.fork();
    rewind(&disk.fork()).await.unwrap().unwrap();
    for call in (1..).step_by(2) {
        let failing = disk.fork();
        failing.inject(Fault::power_off(call));
        let done = rewind(&failing).await.is_ok();
        let after = failing.crash(CrashPolicy::LoseUnsynced);
        let has = |name: &str| after.exists(&Path::new(ONES_LOG).join(name)).unwrap();
        let is_marked = |name: &str| marks(&after).of(name).unwrap() != Archived::Unknown;
        for name in &given_up {
            assert!(has(name) || !is_marked(name), "call {call}: {name} is gone, and its mark is not");
        }
        assert!(!has(&last) || !is_marked(&last), "call {call}: a mark vouches for a part of {last}");
        if done {
            assert!(has(&last) && !given_up.iter().any(|name| has(name)));
            break;
        }
    }
}
