//! A directory whose promotion broke off before it was decided has nothing that its next start would not take
//! back.

use super::{Always, copy_one, create_one, follow, new_tree, rewind_with, to_two, write};
use crate::RewindOptions;
use host::{Mutex, SharedDisk};
use simulation::VirtualDisk;
use std::path::Path;
use std::sync::Arc;
use storage::{Database, Feed, PromoteOptions};
use wal::control::ControlFile;
use wal::log_branch::shared_end;
use wal::{SegmentSize, TimelineId};

const SIZE: SegmentSize = SegmentSize::new(1 << 20).unwrap();
const THREE: TimelineId = TimelineId::new(3);

/// Promotes a directory, up to the end of recovery. Gives the disk after each call that changed it.
async fn promote(disk: &VirtualDisk, dir: &str, new_timeline: TimelineId) -> (Database, Vec<VirtualDisk>) {
    let (db, mut redo) = follow(disk, dir);
    let end = redo.run(&Always(Feed::Promote { timeline: TimelineId::FIRST })).unwrap();
    let states: Arc<Mutex<Vec<VirtualDisk>>> = Arc::default();
    let sink = Arc::clone(&states);
    disk.observe(Box::new(move |_, moment| sink.lock().push(moment.fork())));
    let how = PromoteOptions { new_timeline, reason: "test".into() };
    db.promote(end, how).await.unwrap().end_recovery().await.unwrap();
    disk.stop_observing();
    let states = std::mem::take(&mut *states.lock());
    (db, states)
}

#[tokio::test]
async fn a_promotion_that_was_not_decided_leaves_nothing_to_rewind() {
    let disk = VirtualDisk::new();
    let one = create_one(&disk);
    let tree = new_tree(&one).await;
    write(&one, tree, 0..100, "common").await;
    ["/two", "/three"].iter().for_each(|to| copy_one(&disk, to));
    let (two, _) = promote(&disk, "/two", TimelineId::new(2)).await;
    two.shutdown().await.unwrap();
    drop(two);

    let (_three, states) = promote(&disk, "/three", THREE).await;
    let three = Path::new("/three");
    let named = |state: &VirtualDisk| ControlFile::load(state, three).unwrap().min_recovery_point_timeline;
    let mut shared = 0;
    for (call, state) in states.iter().take_while(|state| named(state) < THREE).enumerate() {
        let disk: SharedDisk = Arc::new(state.clone());
        shared += usize::from(shared_end(&disk, three, SIZE).unwrap().is_some());
        let rewound = rewind_with(state, RewindOptions { target: three.into(), ..to_two() }).await;
        assert!(matches!(rewound, Ok(None)), "call {call}: {rewound:?}");
    }
    // The first writes of it, and what makes them durable.
    assert!(shared > 2, "{shared} of {}", states.len());
}
