//! A promotion writes on in the file of the ended timeline's last segment. Nothing of that segment is lost,
//! wherever the promotion ends, and no start leaves two timelines with one file.

use super::standby::{backup, follow, primary};
use super::*;
use crate::{PromoteOptions, RedoEnd};
use host::sync::Mutex;
use host::{Disk, OpenMode, SharedDisk};
use simulation::{Call, Fault, FaultKind};
use std::path::PathBuf;
use wal::control::ControlFile;
use wal::log_branch::settle_promotion;
use wal::{SegmentNumber, TimelineId};

/// What lies behind the switch, where a test wants something there, and how far behind.
const TAIL: [u8; 100] = [7; 100];
const TAIL_AFTER: usize = 8;

/// A standby whose redo has ended for a promotion.
struct Bench {
    disk: VirtualDisk,
    db: Database,
    tree: TreeId,
    end: RedoEnd,
    ended: Ended,
}

/// The segment in which its timeline ends.
struct Ended {
    segment: SegmentNumber,
    size: SegmentSize,
    /// What it has up to the switch.
    bytes: Vec<u8>,
}

impl Bench {
    async fn new(has_tail: bool) -> Self {
        let (disk, db, tree) = primary().await;
        let copy = backup(&disk, &db, async {}).await;
        let standby = follow(&copy);
        write(&db, tree, &[("row 000", "z")], SyncLevel::Local).await;
        standby.catch_up(&disk, &db);
        let (at, size) = (db.positions().unwrap().flushed(), db.control().segment_size);
        let mut ended = Ended { segment: size.segment_of(at), size, bytes: Vec::new() };
        ended.bytes = ended.read(&copy, 1);
        ended.bytes.truncate(usize::try_from(size.offset_of(at)).unwrap());
        assert!(!ended.bytes.is_empty(), "the log ends in the middle of a segment");
        if has_tail {
            let file = copy.open(&ended.path(1), OpenMode::ReadWrite).unwrap();
            file.write_all_at(&TAIL, (ended.bytes.len() + TAIL_AFTER) as u64).unwrap();
            file.sync().unwrap();
        }
        let (db, end) = standby.end_for_promotion();
        assert!(matches!(end, RedoEnd::Promote { at: found, .. } if found == at), "{end:?}");
        Self { disk: copy, db, tree, end, ended }
    }

    /// Promotes it, with a first write, up to the end of recovery. Gives the disk after each call that
    /// changed it, and whether the two timelines shared a file at the first write.
    async fn promote(&self) -> (Vec<VirtualDisk>, bool) {
        let states = watch(&self.disk);
        let how = PromoteOptions { new_timeline: TimelineId::new(2), reason: "test".to_owned() };
        let promotion = self.db.promote(self.end, how).await.unwrap();
        promotion.take_writes();
        write(&self.db, self.tree, &[("row 000", "promoted")], SyncLevel::Local).await;
        let shared = self.ended.is_shared(&self.disk);
        promotion.end_recovery().await.unwrap();
        self.disk.stop_observing();
        (std::mem::take(&mut *states.lock()), shared)
    }
}

impl Ended {
    fn path(&self, timeline: u32) -> PathBuf {
        let name = self.segment.file_name(TimelineId::new(timeline), self.size);
        Path::new(DIR).join("pg_wal").join(name)
    }
    fn read(&self, disk: &VirtualDisk, timeline: u32) -> Vec<u8> {
        disk.read(&self.path(timeline), self.size.bytes()).unwrap()
    }
    fn is_shared(&self, disk: &VirtualDisk) -> bool {
        disk.exists(&self.path(2)).unwrap() && disk.is_one_file(&self.path(1), &self.path(2)).unwrap()
    }
    /// The ended timeline's file is its own, with its bytes and nothing behind.
    fn check(&self, disk: &VirtualDisk, place: &str) {
        let (own, behind) = (self.read(disk, 1), self.bytes.len());
        assert!(own.len() as u64 == self.size.bytes() && own[..behind] == self.bytes, "{place}");
        assert!(own[behind..].iter().all(|byte| *byte == 0), "{place}: something lies behind the switch");
        assert!(!self.is_shared(disk), "{place}");
    }
    /// A crash of the settling is settled by the one of the next start.
    fn crash_while_settled(&self, image: &VirtualDisk, seed: u64, place: &str) {
        let states = watch(image);
        settle(image);
        image.stop_observing();
        for (number, state) in (0_u64..).zip(&std::mem::take(&mut *states.lock())) {
            let again = state.crash(CrashPolicy::Anything { seed: seed * 1009 + number });
            settle(&again);
            self.check(&again, &format!("{place}, then call {number}"));
        }
    }
}

/// Looks at the disk after each call that changes it.
fn watch(disk: &VirtualDisk) -> Arc<Mutex<Vec<VirtualDisk>>> {
    let seen: Arc<Mutex<Vec<VirtualDisk>>> = Arc::default();
    let sink = Arc::clone(&seen);
    disk.observe(Box::new(move |_, moment| sink.lock().push(moment.fork())));
    seen
}

/// What a start does first. Whether the promotion stands.
fn settle(disk: &VirtualDisk) -> bool {
    let control = ControlFile::load(disk, Path::new(DIR)).unwrap();
    let shared: SharedDisk = Arc::new(disk.clone());
    settle_promotion(&shared, Path::new(DIR), &control).unwrap();
    control.checkpoint_copy.timeline.max(control.min_recovery_point_timeline) == TimelineId::new(2)
}

#[tokio::test]
async fn the_ended_timelines_segment_has_a_file_of_its_own_when_recovery_has_ended() {
    let bench = Bench::new(false).await;
    let (_, shared) = bench.promote().await;
    assert!(shared, "the first write waits for no copy");
    let cut = power_cut(&bench.disk);
    bench.ended.check(&cut, "after a power cut");
    let (new, behind) = (bench.ended.read(&cut, 2), bench.ended.bytes.len());
    assert!(new[..behind] == bench.ended.bytes && new[behind..].iter().any(|byte| *byte != 0));
    let (again, _) = try_open(&cut, options()).unwrap();
    assert_eq!(read(&again, bench.tree, "row 000").await.as_deref(), Some("promoted"));
}

#[tokio::test]
async fn no_crash_of_a_promotion_takes_from_the_ended_timelines_segment_or_leaves_it_shared() {
    let bench = Bench::new(false).await;
    let (states, _) = bench.promote().await;
    let (mut undone, mut finished) = (0, 0);
    for (number, state) in (0_u64..).zip(&states) {
        let mut policies = vec![CrashPolicy::LoseUnsynced, CrashPolicy::KeepAll];
        policies.push(CrashPolicy::InOrder { seed: number });
        policies.extend((0..3).map(|seed| CrashPolicy::Anything { seed: seed * 7919 + number }));
        let mut images: Vec<_> =
            policies.iter().map(|policy| (state.crash(*policy), Some(*policy))).collect();
        // A kill of the process: the kernel has what was not synced.
        images.push((state.fork(), None));
        for (image, policy) in images {
            let place = format!("call {number}, {policy:?}");
            let was_shared = bench.ended.is_shared(&image);
            let stands = settle(&image);
            bench.ended.check(&image, &place);
            assert_eq!(image.exists(&bench.ended.path(2)).unwrap(), stands, "{place}");
            let cut = power_cut(&image);
            settle(&cut);
            bench.ended.check(&cut, &format!("{place}, and a power cut"));
            if was_shared {
                *(if stands { &mut finished } else { &mut undone }) += 1;
            }
        }
        for policy in [CrashPolicy::KeepAll, CrashPolicy::Anything { seed: number }] {
            let place = format!("call {number}, {policy:?}");
            bench.ended.crash_while_settled(&state.crash(policy), number, &place);
        }
    }
    assert!(undone > 0 && finished > 0, "{undone} undone, {finished} finished");
}

#[tokio::test]
async fn what_lies_behind_the_switch_stays_the_ended_timelines_and_the_beginning_is_copied() {
    let bench = Bench::new(true).await;
    let (states, shared) = bench.promote().await;
    assert!(!shared);
    let (ended, at) = (&bench.ended, bench.ended.bytes.len());
    let keeps_tail = |disk: &VirtualDisk| {
        let own = ended.read(disk, 1);
        own[..at] == ended.bytes && own[at + TAIL_AFTER..][..TAIL.len()] == TAIL
    };
    assert!(keeps_tail(&bench.disk) && ended.read(&bench.disk, 2)[..at] == ended.bytes);
    for (number, state) in states.iter().enumerate() {
        for policy in [CrashPolicy::LoseUnsynced, CrashPolicy::KeepAll] {
            let image = state.crash(policy);
            settle(&image);
            assert!(keeps_tail(&image), "call {number}, {policy:?}");
        }
    }
}

#[tokio::test]
async fn where_a_file_can_have_no_second_name_the_beginning_is_copied() {
    let bench = Bench::new(false).await;
    bench.disk.inject(Fault::always(Call::Link, "", FaultKind::Io));
    let (_, shared) = bench.promote().await;
    assert!(!shared);
    bench.ended.check(&bench.disk, "a copy");
    assert!(bench.ended.read(&bench.disk, 2).starts_with(&bench.ended.bytes));
    let names = bench.disk.list(&Path::new(DIR).join("pg_wal")).unwrap();
    let left: Vec<_> = names.iter().filter(|entry| entry.name.starts_with("xlogtemp")).collect();
    assert!(left.is_empty(), "{left:?}");
}
