//! A rewind that was broken off goes on with another source.

use super::{
    Always, assert_is_equal, copy_one, create_one, diverged, follow, host_on, new_tree, open, policy_of,
    promote_copy, promoted, relations, rewind, rewind_with, stop_standby, to_two, write,
};
use crate::marker::Marker;
use crate::plan::Touched;
use crate::{Need, Rewind, RewindError, RewindOptions, SourceName};
use basebackup::send::exclude::relation_of;
use host::Disk;
use simulation::{Fault, VirtualDisk};
use std::path::Path;
use std::sync::Arc;
use storage::{Feed, REWIND_MARKER};
use wal::control::ControlFile;
use wal::history::{BranchId, TimelineHistory};
use wal::{LogBranch, Lsn, RelFile, TimelineId};

/// /three: a copy of /one that was promoted to this timeline behind a checkpoint that /two does not have.
/// /one went on.
async fn diverged_twice(timeline: u32) -> VirtualDisk {
    let disk = diverged().await;
    copy_one(&disk, "/three");
    let three = promoted(&disk, "/three", timeline).await;
    let made = new_tree(&three).await;
    write(&three, made, 0..50, "made at the third").await;
    three.shutdown().await.unwrap();
    drop(three);

    let one = open(&disk, "/one");
    let made = new_tree(&one).await;
    write(&one, made, 0..20, "made here at last").await;
    drop(one);
    disk.fork()
}

fn root() -> TimelineHistory {
    TimelineHistory::root(TimelineId::FIRST)
}

fn to_three() -> RewindOptions {
    RewindOptions { source: SourceName::Directory("/three".into()), ..to_two() }
}

/// A standby that was promoted, and one that had not come so far when it was stopped.
#[tokio::test]
async fn a_source_that_has_not_come_to_the_fork_is_none_yet() {
    let disk = VirtualDisk::new();
    let one = create_one(&disk);
    let tree = new_tree(&one).await;
    copy_one(&disk, "/behind");
    write(&one, tree, 0..50, "had by one of both alone").await;
    copy_one(&disk, "/ahead");
    drop(one);
    stop_standby(&disk, "/behind").await;
    let ahead = promoted(&disk, "/ahead", 2).await;
    write(&ahead, tree, 0..20, "behind the fork").await;
    ahead.shutdown().await.unwrap();
    drop(ahead);

    let source = SourceName::Directory("/behind".into());
    let options = RewindOptions { source, target: "/ahead".into(), ..to_two() };
    let error = rewind_with(&disk.fork(), options).await.unwrap_err();
    let RewindError::SourceBehind { at, needed, is_at_rest: true } = error else { panic!("{error}") };
    assert!(!error.may_pass() && error.to_string().contains("start the source's server"), "{error}");
    let running = RewindError::SourceBehind { at, needed, is_at_rest: false };
    assert!(running.may_pass() && running.to_string().contains("wait until"), "{running}");

    // Nor does it go on with a rewind that was broken off.
    let marker = Marker { is_untouched: false, ..Marker::untouched("ahead".to_owned(), root()) };
    marker.store(&disk, Path::new("/one")).unwrap();
    let options = RewindOptions { source: SourceName::Directory("/behind".into()), ..to_two() };
    let error = rewind_with(&disk.fork(), options).await.unwrap_err();
    let RewindError::NoFork { timeline: TimelineId::FIRST, is_at_rest: true } = error else {
        panic!("{error}")
    };
    assert!(!error.may_pass() && error.to_string().contains("start the source's server"), "{error}");
}

/// A crash may have left pages torn that its log makes whole only further on.
#[tokio::test]
async fn a_standby_that_was_stopped_before_it_was_consistent_is_not_at_rest() {
    let disk = diverged().await;
    copy_one(&disk, "/three");
    let path = Path::new("/three");
    stop_standby(&disk, "/three").await;
    let control = ControlFile::load(&disk, path).unwrap();
    assert!(control.state.is_at_rest());
    let later = control.min_recovery_point + (1 << 20);
    ControlFile { min_recovery_point: later, ..control }.store(&disk, path).unwrap();
    stop_standby(&disk, "/three").await;

    let source = SourceName::Directory("/three".into());
    let options = RewindOptions { source, target: "/two".into(), ..to_two() };
    let error = Rewind::prepare(&host_on(&disk), options).await.unwrap_err();
    assert!(matches!(error, RewindError::SourceRuns(_)), "{error}");
}

/// A standby that chose a branch, by its history alone, and whose upstream was promoted beside that.
#[tokio::test]
async fn a_standby_whose_log_does_not_come_to_the_branch_that_it_chose_leaves_it() {
    let disk = VirtualDisk::new();
    let one = create_one(&disk);
    let tree = new_tree(&one).await;
    write(&one, tree, 0..50, "common").await;
    ["/two", "/three"].iter().for_each(|to| copy_one(&disk, to));
    drop(one);
    stop_standby(&disk, "/three").await;
    let (path, control) = (Path::new("/three"), ControlFile::load(&disk, Path::new("/three")).unwrap());
    let chosen = root().fork(TimelineId::new(3), Lsn::new(1 << 30), "test", BranchId::new(7)).unwrap();
    chosen.store(&disk, &path.join("pg_wal")).unwrap();
    let branch = LogBranch::open(Arc::new(disk.clone()), path, &control).unwrap();
    branch.begin(&chosen, TimelineId::INVALID, None).unwrap();
    promote_copy(&disk, "/two").await;

    let rewound = rewind_with(&disk, RewindOptions { target: "/three".into(), ..to_two() }).await.unwrap();
    assert_eq!(rewound.map(|rewound| rewound.timeline), Some(TimelineId::new(2)));
    let (three, mut redo) = follow(&disk, "/three");
    redo.run(&Always(Feed::Stop)).unwrap();
    assert_eq!(three.timeline(), TimelineId::new(2));
    assert!(!disk.exists(&path.join("pg_wal/00000003.history")).unwrap());
}

/// What a rewind to /two leaves that loses power at one of its calls, for every third of them, and which.
async fn broken_off(disk: &VirtualDisk) -> Vec<(VirtualDisk, String)> {
    let mut left = Vec::new();
    for (turn, call) in (0..).zip((1..).step_by(3)) {
        let failing = disk.fork();
        failing.inject(Fault::power_off(call));
        if rewind(&failing).await.is_ok() {
            break;
        }
        let policy = policy_of(turn);
        left.push((failing.crash(policy), format!("call {call}, {policy:?}")));
    }
    left
}

/// The first source parted earlier: blocks that only the rewind to it reads are the second's in the end.
#[tokio::test]
async fn a_rewind_goes_on_with_a_source_that_parted_later() {
    let disk = diverged_twice(3).await;
    let mut gone_on = 0;
    for (after, what) in broken_off(&disk).await {
        let is_begun = after.exists(&Path::new("/one").join(REWIND_MARKER)).unwrap();
        match rewind_with(&after, to_three()).await {
            Ok(_) => assert_is_equal(&after, "/three", &what).await,
            // All files were the first source's already.
            Err(RewindError::OtherSource { .. } | RewindError::TargetNotStarted(_)) => continue,
            Err(error) => panic!("{what}: {error}"),
        }
        gone_on += u32::from(is_begun);
    }
    assert!(gone_on > 3, "{gone_on}");
}

/// The second source's timeline has the number of the first's, and is another branch: what was copied of the
/// first is not made whole by the second.
#[tokio::test]
async fn a_rewind_does_not_go_on_with_a_twin_of_its_source() {
    let disk = diverged_twice(2).await;
    let mut refused = 0;
    for (after, what) in broken_off(&disk).await {
        match rewind_with(&after, to_three()).await {
            Ok(_) => assert_is_equal(&after, "/three", &what).await,
            Err(error @ RewindError::OtherSource { begun, .. }) => {
                assert!(!error.may_pass(), "{what}: a directory at rest");
                assert!(RewindError::OtherSource { begun, is_at_rest: false }.may_pass());
                refused += 1;
            }
            Err(RewindError::TargetNotStarted(_)) => refused += 1,
            Err(error) => panic!("{what}: {error}"),
        }
    }
    assert!(refused > 3, "{refused}");
}

#[tokio::test]
async fn rows_that_a_rewind_which_was_broken_off_brought_are_not_told_as_old_ones() {
    let disk = diverged_twice(3).await;
    let is_row_file = |name: &String| name.starts_with("base/5/") && relation_of(name).is_some();
    let (_, theirs) = relations(&disk, "/two").into_iter().rfind(|(name, _)| is_row_file(name)).unwrap();
    let brought = b"made there";
    assert!(theirs.windows(brought.len()).any(|part| part == brought));
    let ours = relations(&disk, "/one").into_keys().filter(is_row_file);
    let touched: Touched = ours.map(|name| (name, 0)).collect();
    for name in touched.keys() {
        host::write_file_durably(&disk, &Path::new("/one").join(name), &theirs).unwrap();
    }
    let trees: Vec<RelFile> = touched.keys().filter_map(|name| Some(relation_of(name)?.0)).collect();
    let source = "two".to_owned();
    let marker = Marker { touched, is_untouched: false, ..Marker::untouched(source, root()) };
    marker.store(&disk, Path::new("/one")).unwrap();

    let rewind = Rewind::prepare(&host_on(&disk), to_three()).await.unwrap();
    let Need::Diverged(divergence) = rewind.need() else { panic!("they have diverged") };
    let [before, after] = rewind.target().rows_before_and_after(divergence, &trees).unwrap();
    assert!(after.iter().any(|rows| !rows.is_empty()), "the log tells of some");
    for (_, value) in before.iter().chain(&after).flatten() {
        assert!(value != brought, "another branch's row");
    }
}

/// Who goes on by itself asks whether the source's branch is that for which the rewind was begun, or one that
/// continues that or the target's own.
#[tokio::test]
async fn a_rewind_that_was_broken_off_knows_what_it_was_begun_for() {
    let disk = diverged_twice(3).await;
    let history = |dir: &str, timeline| {
        TimelineHistory::load(&disk, &Path::new(dir).join("pg_wal"), TimelineId::new(timeline)).unwrap()
    };
    let later =
        |from: &TimelineHistory| from.fork(TimelineId::new(4), Lsn::MAX - 1, "test", BranchId::new(9));
    let (two, three) = (history("/two", 2), history("/three", 3));
    // One that continues the source's is not continued by it.
    let cases = [
        (Some(two.clone()), true),
        (Some(three.clone()), false),
        (Some(root()), false),
        (Some(later(&two).unwrap()), false),
        (None, false),
    ];
    for (begun, is_for_this) in cases {
        for is_untouched in [true, false] {
            let marker =
                Marker { is_untouched, history: begun.clone(), ..Marker::untouched("it".to_owned(), root()) };
            marker.store(&disk, Path::new("/one")).unwrap();
            let rewind = Rewind::prepare(&host_on(&disk), to_two()).await.unwrap();
            assert_eq!(rewind.was_begun_for_this(), is_for_this, "{begun:?}");
            assert!(rewind.is_continued(), "/two continues the only timeline of /one");
            assert_eq!(rewind.begun_for(), begun.as_ref().map(TimelineHistory::target));
        }
    }
}
