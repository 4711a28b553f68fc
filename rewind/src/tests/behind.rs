//! Sources at rest that have received log which they have not replayed.

use super::{
    Always, copy_one, create_one, follow, host_on, new_tree, policy_of, promoted, rewind_with, stop_standby,
    to_two, write,
};
use crate::{Need, Rewind, RewindOptions, SourceName, Stage};
use host::Disk;
use simulation::{Call, Fault, FaultKind, Operation, VirtualDisk};
use std::path::Path;
use std::sync::Arc;
use storage::{Feed, REWIND_MARKER};
use wal::control::ControlFile;
use wal::history::{BranchId, TimelineHistory};
use wal::{LogBranch, Lsn, SegmentNumber, SegmentSize, TimelineId};

const FILE_MAX: u64 = 1 << 30;
const SEGMENT: u64 = 1 << 20;

/// /one: a primary that was killed; /two: a primary of timeline 2 with some segments of log; each of `dirs`:
/// a standby that was stopped at the fork when it had received so many of these segments.
async fn stopped_behind(dirs: &[(&str, usize)]) -> VirtualDisk {
    let disk = VirtualDisk::new();
    let one = create_one(&disk);
    let tree = new_tree(&one).await;
    write(&one, tree, 0..50, "common").await;
    copy_one(&disk, "/two");
    dirs.iter().for_each(|(dir, _)| copy_one(&disk, dir));
    write(&one, tree, 0..20, "here").await;
    drop(one);
    for (dir, _) in dirs {
        stop_standby(&disk, dir).await;
    }
    let two = promoted(&disk, "/two", 2).await;
    for round in 0..4 {
        write(&two, tree, 0..1000, &format!("{round} {}", "there ".repeat(100))).await;
    }
    dirs.iter().for_each(|(dir, segments)| receive(&disk, Path::new(dir), *segments));
    two.shutdown().await.unwrap();
    drop(two);
    disk.fork()
}

/// The log of /two's timeline comes, and its history.
fn receive(disk: &VirtualDisk, dir: &Path, segments: usize) {
    let (size, two) = (SegmentSize::new(SEGMENT).unwrap(), TimelineId::new(2));
    let from = Path::new("/two/pg_wal");
    let history = TimelineHistory::load(disk, from, two).unwrap();
    history.store(disk, &dir.join("pg_wal")).unwrap();
    let names = disk.list(from).unwrap().into_iter().map(|entry| entry.name);
    let is_twos = |name: &String| {
        SegmentNumber::parse_file_name(name, size).is_some_and(|(timeline, _)| timeline == two)
    };
    let mut names: Vec<_> = names.filter(is_twos).collect();
    names.sort();
    assert!(names.len() >= segments, "{names:?}");
    for name in &names[..segments] {
        let bytes = disk.read(&from.join(name), FILE_MAX).unwrap();
        host::write_file_durably(disk, &dir.join("pg_wal").join(name), &bytes).unwrap();
    }
    let control = ControlFile::load(disk, dir).unwrap();
    let branch = LogBranch::open(Arc::new(disk.clone()), dir, &control).unwrap();
    branch.begin(&history, TimelineId::INVALID, None).unwrap();
}

fn to(source: &str) -> RewindOptions {
    RewindOptions { source: SourceName::Directory(source.into()), ..to_two() }
}

/// Whether /one must come to timeline 2 before anybody reads it.
fn is_on_two(disk: &VirtualDisk) -> bool {
    let control = ControlFile::load(disk, Path::new("/one")).unwrap();
    control.min_recovery_point_timeline == TimelineId::new(2)
}

#[tokio::test]
async fn what_a_source_has_not_replayed_comes_too() {
    let disk = stopped_behind(&[("/three", 2)]).await;
    let three = ControlFile::load(&disk, Path::new("/three")).unwrap();
    assert_eq!(three.min_recovery_point_timeline, TimelineId::FIRST);
    let mut begun = Rewind::prepare(&host_on(&disk), to("/three")).await.unwrap();
    let plan = begun.plan().await.unwrap().unwrap();
    let mut last = None;
    let rewound = begun.run(&mut |progress| last = Some(progress.total_bytes)).await.unwrap();
    assert_eq!((plan.bytes(), last), (rewound.bytes, Some(rewound.bytes)));
    assert!(is_on_two(&disk) && plan.log_files >= 2, "{plan:?}");
    let (one, mut redo) = follow(&disk, "/one");
    redo.run(&Always(Feed::Stop)).unwrap();
    assert!(one.is_consistent() && one.timeline() == TimelineId::new(2));
    assert!(one.replayed().get() > rewound.end.get() + SEGMENT / 2, "{} of {rewound:?}", one.replayed());
}

/// Its history goes on to a timeline of which no log has come, and a segment of its log is the beginning of
/// one.
#[tokio::test]
async fn a_source_counts_as_far_as_its_log_goes() {
    let (size, three) = (SegmentSize::new(SEGMENT).unwrap(), Path::new("/three"));
    let disk = stopped_behind(&[("/three", 2)]).await;
    let two = TimelineHistory::load(&disk, &three.join("pg_wal"), TimelineId::new(2)).unwrap();
    let later = two.fork(TimelineId::new(3), Lsn::new(1 << 30), "test", BranchId::new(9)).unwrap();
    later.store(&disk, &three.join("pg_wal")).unwrap();
    let control = ControlFile::load(&disk, three).unwrap();
    let branch = LogBranch::open(Arc::new(disk.clone()), three, &control).unwrap();
    branch.begin(&later, TimelineId::INVALID, None).unwrap();

    let whole = disk.fork();
    let rewound = rewind_with(&whole, to("/three")).await.unwrap().unwrap();
    assert_eq!(rewound.timeline, TimelineId::new(3));
    assert!(is_on_two(&whole), "{rewound:?}");

    let last = disk.list(&three.join("pg_wal")).unwrap().into_iter().map(|entry| entry.name);
    let last = last.filter(|name| SegmentNumber::parse_file_name(name, size).is_some()).max().unwrap();
    // What the first timeline has left of it nobody reads.
    let (_, segment) = SegmentNumber::parse_file_name(&last, size).unwrap();
    let (left, beside) = (segment.file_name(TimelineId::FIRST, size), disk.fork());
    host::write_file_durably(&beside, &three.join("pg_wal").join(left), b"short").unwrap();
    assert_eq!(rewind_with(&beside, to("/three")).await.unwrap().unwrap().bytes, rewound.bytes);

    let (path, one) = (three.join("pg_wal").join(&last), Path::new("/one/pg_wal").join(&last));
    let half = disk.read(&path, FILE_MAX).unwrap()[..(SEGMENT / 2) as usize].to_vec();
    host::write_file_durably(&disk, &path, &half).unwrap();
    let shorter = rewind_with(&disk, to("/three")).await.unwrap().unwrap();
    assert!(shorter.bytes < rewound.bytes && is_on_two(&disk), "{shorter:?}");
    let came = disk.read(&one, FILE_MAX).unwrap();
    assert!(came.len() as u64 == SEGMENT && came.starts_with(&half[..half.len() / 2]));
}

/// What cannot be read is not the end of the log.
#[tokio::test]
async fn a_source_whose_log_cannot_be_read_is_refused() {
    let disk = stopped_behind(&[("/three", 2)]).await;
    let reads = {
        let reading = disk.fork();
        reading.start_trace();
        drop(Rewind::prepare(&host_on(&reading), to("/three")).await.unwrap());
        let is_of_log = |made: &Operation| made.call == Call::Read && made.path.starts_with("/three/pg_wal");
        reading.take_trace().into_iter().filter(is_of_log).count()
    };
    assert!(reads > 2);
    for nth in 1..=reads as u64 {
        let failing = disk.fork();
        failing.inject(Fault::once(Call::Read, "/three/pg_wal", nth, FaultKind::Io));
        assert!(Rewind::prepare(&host_on(&failing), to("/three")).await.is_err(), "{nth} of {reads}");
    }
}

/// The second source has less log than the first, and all that the pages need.
#[tokio::test]
async fn a_rewind_whose_files_are_copied_goes_on_with_a_source_of_less_log() {
    let disk = stopped_behind(&[("/three", 2), ("/four", 1)]).await;
    let mut gone_on = 0;
    for call in 1.. {
        let failing = disk.fork();
        failing.inject(Fault::power_off(call));
        if rewind_with(&failing, to("/three")).await.is_ok() {
            break;
        }
        let after = failing.crash(policy_of(call));
        let marker = after.read(&Path::new("/one").join(REWIND_MARKER), FILE_MAX).unwrap_or_default();
        if !String::from_utf8_lossy(&marker).contains("phase=copied") {
            continue;
        }
        gone_on += 1;
        let mut stages = Vec::new();
        let rest = Rewind::prepare(&host_on(&after), to("/four")).await.unwrap();
        assert!(matches!(rest.need(), Need::Rest), "call {call}");
        rest.run(&mut |progress| stages.push(progress.stage)).await.unwrap();
        assert!(!stages.contains(&Stage::Copying), "call {call}: {stages:?}");
        assert!(is_on_two(&after), "call {call}");
        let (one, mut redo) = follow(&after, "/one");
        redo.run(&Always(Feed::Stop)).unwrap();
        assert!(one.is_consistent() && one.timeline() == TimelineId::new(2), "call {call}");
    }
    assert!(gone_on > 3, "{gone_on}");
}
