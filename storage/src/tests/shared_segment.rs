//! A promotion writes on in the file of the ended timeline's last segment. Nothing of that segment is lost,
//! wherever the promotion ends, and no start leaves two timelines with one file.

use super::standby::{backup, follow, primary};
use super::*;
use crate::{CheckpointKind, PromoteOptions, RedoEnd, WalRetention};
use host::sync::Mutex;
use host::{Disk, OpenMode, SECTOR_SIZE, SharedDisk};
use simulation::{Call, Fault, FaultKind};
use std::path::PathBuf;
use wal::control::ControlFile;
use wal::log_branch::{settle_promotion, shared_end};
use wal::{LogPosition, Lsn, SegmentNumber, TimelineId};

/// What lies behind the switch, where a test wants something there, and how far behind.
const TAIL: [u8; 100] = [7; 100];
const TAIL_AFTER: usize = 8;
/// The end-of-recovery record with what aligns it, at most.
const FIRST_BYTES_MAX: usize = 50;

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
    /// Where the timeline ends.
    fn switch(&self) -> Lsn {
        self.size.start_of(self.segment) + self.bytes.len() as u64
    }
    /// The ended timeline's file is its own, with its bytes and nothing behind. What a power cut left of a
    /// record that lies in two sectors may stay, which nobody can take for log.
    fn check(&self, disk: &VirtualDisk, place: &str) {
        let (own, behind) = (self.read(disk, 1), self.bytes.len());
        assert!(own.len() as u64 == self.size.bytes() && own[..behind] == self.bytes, "{place}");
        let is_torn = behind % SECTOR_SIZE + FIRST_BYTES_MAX > SECTOR_SIZE;
        let left = own[behind..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let left_max = if is_torn { FIRST_BYTES_MAX } else { 0 };
        assert!(left <= left_max, "{place}: {left} bytes lie behind the switch");
        let shared: SharedDisk = Arc::new(disk.clone());
        assert_eq!(shared_end(&shared, Path::new(DIR), self.size).unwrap(), None, "{place}");
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
    let settled = settle_promotion(&shared, Path::new(DIR), &control).unwrap();
    assert!(settled.still_shared.is_none(), "{settled:?}");
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
async fn where_a_file_can_have_no_second_name_or_no_space_is_promised_the_beginning_is_copied() {
    let lacks = [(Call::Link, "", FaultKind::Io), (Call::Allocate, "xlogtemp", FaultKind::Unsupported)];
    for (call, path, kind) in lacks {
        let bench = Bench::new(false).await;
        bench.disk.inject(Fault::always(call, path, kind));
        let (_, shared) = bench.promote().await;
        assert!(!shared, "{call:?}");
        bench.ended.check(&bench.disk, "a copy");
        assert!(bench.ended.read(&bench.disk, 2).starts_with(&bench.ended.bytes));
        let names = bench.disk.list(&Path::new(DIR).join("pg_wal")).unwrap();
        let left: Vec<_> = names.iter().filter(|entry| entry.name.starts_with("xlogtemp")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_file_that_an_archive_has_too_is_not_written_on() {
    let bench = Bench::new(false).await;
    let archived = Path::new("/archived");
    bench.disk.link_file(&bench.ended.path(1), archived).unwrap();
    let before = bench.ended.read(&bench.disk, 1);
    let (_, shared) = bench.promote().await;
    assert!(!shared);
    assert!(bench.disk.read(archived, bench.ended.size.bytes()).unwrap() == before);
}

/// Which segment it was told of.
#[derive(Default)]
struct Told(Mutex<Option<LogPosition>>);

impl WalRetention for Told {
    fn needed_from(&self, redo: Lsn) -> Lsn {
        redo
    }
    fn separated(&self, ended: LogPosition) {
        *self.0.lock() = Some(ended);
    }
}

#[tokio::test]
async fn without_space_for_the_ended_timelines_file_the_server_goes_on_until_a_checkpoint_makes_it() {
    let bench = Bench::new(false).await;
    let name = bench.ended.segment.file_name(TimelineId::FIRST, bench.ended.size);
    let full = Fault::always(Call::Write, &format!("xlogtemp.{name}"), FaultKind::NoSpace);
    bench.disk.inject(full.clone());
    let (_, shared) = bench.promote().await;
    assert!(shared && bench.db.shares_ended(), "the promotion stands");
    let image = bench.disk.crash(CrashPolicy::KeepAll);
    image.inject(full);
    let control = ControlFile::load(&image, Path::new(DIR)).unwrap();
    let disk: SharedDisk = Arc::new(image.clone());
    let settled = settle_promotion(&disk, Path::new(DIR), &control).unwrap();
    assert!(settled.still_shared.is_some() && settled.separated.is_none(), "{settled:?}");
    let (db, _) = try_open(&image, options()).unwrap();
    let told = Arc::new(Told::default());
    db.set_retention(told.clone());
    // Enough that the segment is not needed any more.
    for round in 0..4 {
        write(&db, bench.tree, &[("row 001", &"x".repeat(400 << 10))], SyncLevel::Local).await;
        db.checkpoint(CheckpointKind::Immediate).await.unwrap();
        assert!(db.shares_ended() && bench.ended.is_shared(&image), "{round}");
    }
    assert_eq!(*told.0.lock(), None);
    image.clear_faults();
    // The segment may go right then.
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    assert!(!db.shares_ended() && !image.exists(&bench.ended.path(1)).unwrap());
    let ended = LogPosition { timeline: TimelineId::FIRST, lsn: bench.ended.switch() };
    assert_eq!(*told.0.lock(), Some(ended));
}
