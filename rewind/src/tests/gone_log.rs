//! Log from before the fork that pg_wal has no more: wherever it comes from, at no moment does it lie there
//! without its mark, so that no archiver takes it for new.

use super::{assert_is_twos, diverged_after, host_on, new_tree, open, rewind, rewind_with, to_two, write};
use crate::beside::BROUGHT_DIR;
use crate::{LogArchive, Need, Rewind, RewindError, RewindOptions, Rewound, Stage};
use host::{Disk, OpenMode};
use simulation::{CrashPolicy, Fault, VirtualDisk};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use storage::{DISCARD_PREFIX, REWIND_MARKER};
use wal::control::{ClusterState, ControlFile};
use wal::history::TimelineHistory;
use wal::{
    ArchiveStatus, Archived, KEPT_DIR, Lsn, ReadError, SegmentNumber, SegmentSize, SourceError, TimelineId,
};

pub(super) const ONES_LOG: &str = "/one/pg_wal";
pub(super) const TWOS_LOG: &str = "/two/pg_wal";
const SEGMENT_MAX: u64 = 1 << 20;

/// Where the log is that pg_wal lacks.
#[derive(Clone, Copy, Debug)]
enum Lies {
    Kept,
    AtTheSource,
    KeptAtTheSource,
    InTheArchive,
}

/// An archive: a folder on the same disk.
struct Folder(VirtualDisk);

impl LogArchive for Folder {
    fn bring(
        &self,
        _history: &TimelineHistory,
        timeline: TimelineId,
        segment: SegmentNumber,
        to: &str,
    ) -> io::Result<bool> {
        let name = segment.file_name(timeline, size());
        let bytes = match self.0.read(&Path::new("/archive").join(name), SEGMENT_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            bytes => bytes?,
        };
        self.0.open(&Path::new("/one").join(to), OpenMode::CreateNew)?.write_all_at(&bytes, 0)?;
        Ok(true)
    }
}

pub(super) fn size() -> SegmentSize {
    SegmentSize::new(SEGMENT_MAX).unwrap()
}

/// The names of segments of the first timeline.
pub(super) fn common(disk: &VirtualDisk, folder: &str) -> BTreeSet<String> {
    let names = disk.list(Path::new(folder)).unwrap().into_iter().map(|entry| entry.name);
    let is_common = |name: &String| {
        SegmentNumber::parse_file_name(name, size()).is_some_and(|(of, _)| of == TimelineId::FIRST)
    };
    names.filter(is_common).collect()
}

/// Has all whole segments before the fork lie in this place alone.
async fn diverged(lies: Lies) -> VirtualDisk {
    let disk = diverged_after(20).await;
    let folder = match lies {
        Lies::Kept => format!("{ONES_LOG}/{KEPT_DIR}"),
        Lies::AtTheSource => TWOS_LOG.to_owned(),
        Lies::KeptAtTheSource => format!("{TWOS_LOG}/{KEPT_DIR}"),
        Lies::InTheArchive => "/archive".to_owned(),
    };
    disk.create_dir_all(Path::new(&folder)).unwrap();
    let history = TimelineHistory::load(&disk, Path::new(TWOS_LOG), TimelineId::new(2)).unwrap();
    let fork = size().segment_of(history.end_of(TimelineId::FIRST).unwrap().unwrap());
    let is_before = |name: &&String| SegmentNumber::parse_file_name(name, size()).unwrap().1 < fork;
    let all = common(&disk, "/log");
    let before: Vec<_> = all.iter().filter(is_before).collect();
    assert!(before.len() > 1, "{before:?}");
    for name in before {
        for log in [ONES_LOG, TWOS_LOG] {
            let _ = disk.remove_file(&Path::new(log).join(name));
        }
        let bytes = disk.read(&Path::new("/log").join(name), SEGMENT_MAX).unwrap();
        host::write_file_durably(&disk, &Path::new(&folder).join(name), &bytes).unwrap();
    }
    for folder in ["/", ONES_LOG, TWOS_LOG] {
        disk.sync_dir(Path::new(folder)).unwrap();
    }
    disk
}

fn options(disk: &VirtualDisk) -> RewindOptions {
    RewindOptions { supply: Some(Arc::new(Folder(disk.clone()))), ..to_two() }
}

/// What came into pg_wal has its mark, and came there only where no primary starts.
fn check(after: &VirtualDisk, before: &BTreeSet<String>, what: &str) {
    let marks = ArchiveStatus::new(Arc::new(after.clone()), Path::new(ONES_LOG));
    let has = |name: &str| after.exists(&Path::new("/one").join(name)).unwrap();
    // The signal file is the last before the marker goes.
    let is_out_of_reach = has(REWIND_MARKER) || has("standby.signal");
    for name in common(after, ONES_LOG).difference(before) {
        assert!(is_out_of_reach, "{what}: {name} lies there, and a primary may start");
        assert_eq!(marks.of(name).unwrap(), Archived::Done, "{what}: {name}");
    }
}

async fn power_fails_at_any_call(lies: Lies) {
    let disk = diverged(lies).await;
    let before = common(&disk, ONES_LOG);
    let mut begun = 0;
    for call in 1.. {
        let failing = disk.fork();
        failing.inject(Fault::power_off(call));
        let done = rewind_with(&failing, options(&failing)).await.is_ok();
        for (seed, policy) in
            [CrashPolicy::KeepAll, CrashPolicy::Anything { seed: call }].into_iter().enumerate()
        {
            let after = failing.crash(policy);
            let what = format!("{lies:?}, call {call}, {policy:?}");
            check(&after, &before, &what);
            let stands = after.exists(&Path::new("/one").join(REWIND_MARKER)).unwrap();
            begun += u32::from(stands && seed == 0);
            if done || (stands && call % 16 == 0) {
                rewind_with(&after, options(&after)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                check(&after, &before, &what);
                assert_is_twos(&after, &what).await;
            }
        }
        if done {
            break;
        }
    }
    assert!(begun > 30, "{begun}");
}

#[tokio::test]
async fn log_that_was_kept_for_it_never_waits_for_the_archive() {
    power_fails_at_any_call(Lies::Kept).await;
}

#[tokio::test]
async fn log_that_the_source_gives_never_waits_for_the_archive() {
    power_fails_at_any_call(Lies::AtTheSource).await;
}

#[tokio::test]
async fn log_that_the_archive_gives_never_waits_for_it() {
    power_fails_at_any_call(Lies::InTheArchive).await;
}

#[tokio::test]
async fn a_dry_run_leaves_pg_wal_as_it_was_and_a_killed_one_what_the_next_removes() {
    for lies in [Lies::Kept, Lies::AtTheSource, Lies::KeptAtTheSource, Lies::InTheArchive] {
        let disk = diverged(lies).await;
        let names = |disk: &VirtualDisk| -> Vec<String> {
            disk.list(Path::new(ONES_LOG)).unwrap().into_iter().map(|entry| entry.name).collect()
        };
        let before = names(&disk);
        let mut dry = Rewind::prepare(&host_on(&disk), options(&disk)).await.unwrap();
        assert!(dry.plan().await.unwrap().is_some() && matches!(dry.need(), Need::Diverged(_)));
        // As it stands now a kill would leave it.
        let killed = disk.fork();
        drop(dry);
        assert_eq!(names(&disk), before, "{lies:?}");
        let brought = Path::new("/one").join(BROUGHT_DIR);
        assert_eq!(killed.exists(&brought).unwrap(), !matches!(lies, Lies::Kept), "{lies:?}");
        assert_eq!(common(&killed, ONES_LOG), common(&disk, ONES_LOG), "{lies:?}");
        crate::remove_leftovers(&killed, Path::new("/one")).unwrap();
        assert_eq!(names(&killed), before, "{lies:?}");
    }
}

#[tokio::test]
async fn a_report_that_was_broken_off_goes_and_a_whole_one_stays() {
    let disk = diverged(Lies::Kept).await;
    let own = |name: &str| Path::new("/one/plimsoll").join(name);
    let [whole, begun] = ["1-a.json", "1-b.json.tmp"].map(|end| own(&format!("{DISCARD_PREFIX}{end}")));
    for path in [&whole, &begun] {
        host::write_file_durably(&disk, path, b"{}\n").unwrap();
    }
    let removed = disk.fork();
    crate::remove_leftovers(&removed, Path::new("/one")).unwrap();
    storage::remove_own_files(&host_on(&disk), Path::new("/one"), true).unwrap();
    for disk in [&removed, &disk] {
        assert!(disk.exists(&whole).unwrap() && !disk.exists(&begun).unwrap());
    }
}

#[tokio::test]
async fn log_that_the_source_keeps_aside_is_taken_from_there() {
    let disk = diverged(Lies::KeptAtTheSource).await;
    rewind(&disk).await.unwrap().unwrap();
    assert_is_twos(&disk, "log from pg_wal/kept of the source").await;
}

#[test]
fn log_that_is_nowhere_is_told_once_and_with_what_to_do() {
    let name = SegmentNumber::new(3).file_name(TimelineId::FIRST, size());
    let missing =
        || SourceError::Missing { name: name.clone(), folder: ONES_LOG.to_owned(), at: Lsn::new(3 << 20) };
    for error in [RewindError::from(missing()), RewindError::from(ReadError::Source(missing()))] {
        assert!(std::error::Error::source(&error).is_none(), "it would be told once more: {error}");
        let told = error.of_gone_log(name.clone(), false).to_string();
        assert!(told.contains(&name) && told.contains("(-c)") && told.contains("clone"), "{told}");
    }
    let told = RewindError::from(missing()).of_gone_log(name.clone(), true).to_string();
    assert!(told.contains("does not find it either: clone") && !told.contains("-c"), "{told}");
}

/// Has the segments of a folder lie in another one.
fn move_segments(disk: &VirtualDisk, from: &str, to: &str) {
    disk.create_dir_all(Path::new(to)).unwrap();
    for entry in disk.list(Path::new(from)).unwrap() {
        if SegmentNumber::parse_file_name(&entry.name, size()).is_some() {
            disk.rename(&Path::new(from).join(&entry.name), &Path::new(to).join(&entry.name)).unwrap();
        }
    }
}

/// A rewind whose source moves its log away when it was listed, before the first segment comes.
async fn rewind_while_log_moves(disk: &VirtualDisk, to: &str) -> Result<Rewound, RewindError> {
    let begun = Rewind::prepare(&host_on(disk), to_two()).await.unwrap();
    let mut moves = 0;
    let done = begun
        .run(&mut |progress| {
            if progress.stage == Stage::Log && moves == 0 {
                move_segments(disk, TWOS_LOG, to);
                moves += 1;
            }
        })
        .await;
    assert_eq!(moves, 1);
    done
}

#[tokio::test]
async fn a_checkpoint_that_puts_the_sources_log_aside_meanwhile_breaks_nothing_off() {
    let disk = diverged_after(0).await;
    rewind_while_log_moves(&disk, &format!("{TWOS_LOG}/{KEPT_DIR}")).await.unwrap();
    assert_is_twos(&disk, "log that was put aside").await;
}

#[tokio::test]
async fn log_that_vanishes_from_the_source_meanwhile_is_looked_for_anew() {
    let disk = diverged_after(0).await;
    let error = rewind_while_log_moves(&disk, "/aside").await.unwrap_err();
    assert!(matches!(error, RewindError::VanishedWal(_)) && error.may_pass(), "{error}");
    assert!(disk.exists(&Path::new("/one").join(REWIND_MARKER)).unwrap());
    let error = rewind(&disk).await.unwrap_err();
    assert!(matches!(error, RewindError::MissingWal(_)) && !error.may_pass(), "{error}");
    move_segments(&disk, "/aside", &format!("{TWOS_LOG}/{KEPT_DIR}"));
    rewind(&disk).await.unwrap().unwrap();
    assert_is_twos(&disk, "log that came back").await;
}

#[tokio::test]
async fn a_kept_segment_of_the_branch_that_is_given_up_goes_also_where_pg_wal_has_one_of_its_name() {
    let disk = diverged_after(0).await;
    let name = common(&disk, ONES_LOG).pop_last().unwrap();
    let bytes = disk.read(&Path::new(ONES_LOG).join(&name), SEGMENT_MAX).unwrap();
    let kept = Path::new(ONES_LOG).join(KEPT_DIR);
    disk.create_dir_all(&kept).unwrap();
    host::write_file_durably(&disk, &kept.join(&name), &bytes).unwrap();
    rewind(&disk).await.unwrap().unwrap();
    assert!(!disk.exists(&kept.join(&name)).unwrap());
}

/// Has both have all of the log up to the fork again.
fn bring_common(disk: &VirtualDisk) {
    for name in common(disk, "/log") {
        let bytes = disk.read(&Path::new("/log").join(&name), SEGMENT_MAX).unwrap();
        for log in [ONES_LOG, TWOS_LOG] {
            let path = Path::new(log).join(&name);
            if !disk.exists(&path).unwrap() {
                host::write_file_durably(disk, &path, &bytes).unwrap();
            }
        }
    }
}

/// A primary with all of its log, which fills some segments behind the fork, and how far that was durable
/// when it was killed.
pub(super) async fn killed_with_much_to_give_up(common_rounds: u32) -> (VirtualDisk, Lsn) {
    let disk = diverged_after(common_rounds).await;
    let one = open(&disk, "/one");
    let made = new_tree(&one).await;
    for round in 0..8 {
        write(&one, made, 0..1000, &format!("{round} {}", "given up ".repeat(75))).await;
    }
    let end = one.positions().unwrap().flushed();
    drop(one);
    let disk = disk.fork();
    bring_common(&disk);
    (disk, end)
}

/// A gap ends a standby's log like any other end: most records that it cuts begin in the segment before.
#[tokio::test]
async fn a_standby_whose_log_has_a_gap_gets_what_is_common_and_is_told_what_else_is_gone() {
    let (disk, _) = killed_with_much_to_give_up(20).await;
    let fork = Rewind::prepare(&host_on(&disk), to_two()).await.unwrap();
    let Need::Diverged(divergence) = fork.need() else { panic!("they have diverged") };
    let (fork_at, end) = (divergence.fork.at, divergence.end);
    drop(fork);
    let control = ControlFile::load(&disk, Path::new("/one")).unwrap();
    let (state, timeline) = (ClusterState::InArchiveRecovery, TimelineId::FIRST);
    let received =
        ControlFile { state, min_recovery_point: end, min_recovery_point_timeline: timeline, ..control };
    received.store(&disk, Path::new("/one")).unwrap();
    let (mut brought, mut told) = (0, 0);
    for name in common(&disk, ONES_LOG) {
        let segment = SegmentNumber::parse_file_name(&name, size()).unwrap().1;
        if segment > size().segment_of(end - 1) {
            // It is made ahead.
            continue;
        }
        let after = disk.fork();
        after.remove_file(&Path::new(ONES_LOG).join(&name)).unwrap();
        match rewind(&after).await {
            Ok(_) => {
                assert!(segment < size().segment_of(fork_at), "{name} is not common");
                assert_is_twos(&after, &name).await;
                brought += 1;
            }
            Err(RewindError::GoneWal { name: gone, was_asked: false }) => {
                assert!(gone == name && segment >= size().segment_of(fork_at), "{name}: {gone}");
                told += 1;
            }
            // It has the end of the common log.
            Err(RewindError::NoCheckpoint { at, .. }) => assert_eq!(size().segment_of(at), segment),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    assert!(brought > 1 && told > 1, "{brought} {told}");
}

/// What a killed primary gave up is in no log any more, and its pages are changed nevertheless: a rewind that
/// does not know which would leave them.
#[tokio::test]
async fn a_killed_primary_whose_last_log_is_gone_is_not_rewound() {
    let (disk, end) = killed_with_much_to_give_up(0).await;
    let size = size();
    let last = size.segment_of(end - 1);
    for is_gone in [true, false] {
        let after = disk.fork();
        for segment in [SegmentNumber::new(last.get() - 1), last, last.next()] {
            let path = Path::new(ONES_LOG).join(segment.file_name(TimelineId::FIRST, size));
            if !after.exists(&path).unwrap() {
                continue;
            }
            if is_gone {
                after.remove_file(&path).unwrap();
            } else {
                let file = after.open(&path, OpenMode::ReadWrite).unwrap();
                file.write_all_at(&vec![0; SEGMENT_MAX as usize], 0).unwrap();
            }
        }
        match rewind(&after).await.unwrap_err() {
            RewindError::GoneWal { name, was_asked: false } if is_gone => {
                let first = SegmentNumber::new(last.get() - 1).file_name(TimelineId::FIRST, size);
                assert_eq!(name, first);
            }
            RewindError::LogTooShort { expected, .. } if !is_gone => assert_eq!(expected, end),
            error => panic!("{error}"),
        }
        assert!(!after.exists(&Path::new("/one").join(REWIND_MARKER)).unwrap());
    }
    rewind(&disk).await.unwrap().unwrap();
    assert_is_twos(&disk, "with all of its log").await;
}
