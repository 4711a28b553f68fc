//! Large transactions, whose rows go into pages before their commit: what is told of one that began before
//! the last common checkpoint.

use super::gone_log::{ONES_LOG, common, size};
use super::{copy_one, copy_tree, create_one, host_on, new_tree, open, promote_copy, to_two, write};
use crate::{DiscardedCommit, Need, Rewind, Version};
use host::Disk;
use simulation::VirtualDisk;
use std::path::Path;
use storage::tree::Unpaced;
use storage::{
    CheckpointInfo, CheckpointKind, Database, Isolation, LockMode, LockWait, SweepCause, SyncLevel,
    Transaction, TreeId,
};
use wal::{KEPT_DIR, Lsn, SegmentNumber};

/// What becomes of the log before the last common checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Kept,
    Gone,
}

/// /one: a tree with rows 0 to 9, and a checkpoint behind them.
pub(super) async fn ground() -> (VirtualDisk, Database, TreeId) {
    let disk = VirtualDisk::new();
    let one = create_one(&disk);
    let tree = new_tree(&one).await;
    write(&one, tree, 0..10, "common").await;
    one.checkpoint(CheckpointKind::Immediate).await.unwrap();
    // Every row of a transaction goes into a page at once.
    one.set_write_set_limit(1);
    (disk, one, tree)
}

async fn begin(db: &Database) -> Transaction {
    let mut transaction = db.begin(Isolation::ReadCommitted);
    transaction.begin_statement().await.unwrap();
    transaction
}

/// Writes a row as a statement of its own.
async fn put(transaction: &mut Transaction, tree: TreeId, key: u32, value: &str) {
    transaction.begin_statement().await.unwrap();
    let key = format!("row {key:05}");
    transaction.lock(tree, key.as_bytes(), LockMode::Exclusive, LockWait::Forever).await.unwrap();
    transaction.put(tree, key, value.to_owned()).unwrap();
    transaction.make_room().await.unwrap();
}

/// Some segments of log, and a checkpoint. /log has all log before.
pub(super) async fn checkpoint(disk: &VirtualDisk, one: &Database) -> CheckpointInfo {
    one.set_write_set_limit(64 << 20);
    let other = new_tree(one).await;
    write(one, other, 0..4000, &"other ".repeat(100)).await;
    copy_tree(disk, Path::new(ONES_LOG), Path::new("/log"));
    one.checkpoint(CheckpointKind::Immediate).await.unwrap()
}

/// The same, and the copy that is promoted from there. Gives the checkpoint's redo point.
pub(super) async fn fork(disk: &VirtualDisk, one: &Database) -> Lsn {
    let redo = checkpoint(disk, one).await.redo;
    copy_one(disk, "/two");
    promote_copy(disk, "/two").await;
    one.set_write_set_limit(1);
    redo
}

/// What a rewind of /one to /two discards whose last common checkpoint has this redo point.
pub(super) async fn discarded(disk: &VirtualDisk, redo: Lsn, before: Before) -> Vec<DiscardedCommit> {
    let kept = Path::new(ONES_LOG).join(KEPT_DIR);
    disk.create_dir_all(&kept).unwrap();
    let mut moved = 0;
    for name in common(disk, "/log") {
        let is_before = SegmentNumber::parse_file_name(&name, size()).unwrap().1 < size().segment_of(redo);
        let here = Path::new(ONES_LOG).join(&name);
        let is_here = disk.exists(&here).unwrap();
        if is_before && is_here {
            disk.remove_file(&here).unwrap();
        }
        if is_before && before == Before::Kept || !is_before && !is_here {
            let bytes = disk.read(&Path::new("/log").join(&name), 1 << 20).unwrap();
            host::write_file_durably(disk, &kept.join(&name), &bytes).unwrap();
        }
        moved += u32::from(is_before);
    }
    assert!(moved > 1, "{moved} segments lie before the checkpoint");
    let rewind = Rewind::prepare(&host_on(disk), to_two()).await.unwrap();
    let Need::Diverged(divergence) = rewind.need() else { panic!("they have diverged") };
    let mut commits = Vec::new();
    rewind
        .target()
        .discarded(divergence, &|_| true, &mut |commit| {
            commits.push(commit);
            Ok(())
        })
        .unwrap();
    commits
}

/// What a commit found in a row, and what it left.
fn row(commit: &DiscardedCommit, key: u32) -> Option<[String; 2]> {
    let text = |version: &Version| match version {
        Version::Row(bytes) => String::from_utf8_lossy(bytes).chars().take(20).collect(),
        other => format!("{other:?}"),
    };
    let key = format!("row {key:05}").into_bytes();
    let mut changes = commit.changes.iter().filter(|change| change.key.as_ref() == Some(&key));
    let change = changes.next()?;
    assert!(changes.next().is_none(), "one change a row");
    Some([text(&change.old), text(&change.new)])
}

fn told(old: &str, new: &str) -> Option<[String; 2]> {
    Some([old.to_owned(), new.to_owned()])
}

#[tokio::test]
async fn a_transaction_that_began_before_the_checkpoint_is_told_whole_where_its_log_is() {
    for before in [Before::Kept, Before::Gone] {
        let (disk, one, tree) = ground().await;
        let mut transaction = begin(&one).await;
        put(&mut transaction, tree, 1, "early").await;
        put(&mut transaction, tree, 2, "early").await;
        put(&mut transaction, tree, 20, "early").await;
        let redo = fork(&disk, &one).await;
        let savepoint = transaction.savepoint();
        put(&mut transaction, tree, 2, "late").await;
        put(&mut transaction, tree, 3, "late").await;
        transaction.release(&savepoint);
        transaction.commit(SyncLevel::Local).await.unwrap();
        drop(one);
        let commits = discarded(&disk, redo, before).await;
        let [commit] = commits.as_slice() else { panic!("{commits:?}") };
        assert_eq!(commit.is_partial, before == Before::Gone);
        assert_eq!(row(commit, 2), told("common", "late"), "{before:?}: nobody else ever saw the early one");
        assert_eq!(row(commit, 3), told("common", "late"));
        if before == Before::Kept {
            assert_eq!(row(commit, 1), told("common", "early"));
            assert_eq!(row(commit, 20), told("None", "early"));
        }
    }
}

#[tokio::test]
async fn log_is_read_from_further_back_only_for_what_commits_behind_the_fork() {
    let (disk, one, tree) = ground().await;
    let mut open = begin(&one).await;
    put(&mut open, tree, 1, "early").await;
    let redo = fork(&disk, &one).await;
    write(&one, tree, 2..3, "late").await;
    put(&mut open, tree, 4, "late").await;
    drop((open, one));
    let commits = discarded(&disk, redo, Before::Gone).await;
    let [commit] = commits.as_slice() else { panic!("{commits:?}") };
    assert!(!commit.is_partial);
    assert_eq!(row(commit, 2), told("common", "late"));
}

#[tokio::test]
async fn log_without_an_older_checkpoint_is_read_as_far_as_it_is_there() {
    let (disk, one, tree) = ground().await;
    let other = new_tree(&one).await;
    one.set_write_set_limit(64 << 20);
    write(&one, other, 0..4000, &"other ".repeat(100)).await;
    one.set_write_set_limit(1);
    let mut transaction = begin(&one).await;
    put(&mut transaction, tree, 1, "early").await;
    let redo = fork(&disk, &one).await;
    put(&mut transaction, tree, 2, "late").await;
    transaction.commit(SyncLevel::Local).await.unwrap();
    drop(one);
    // Of the checkpoint before it nothing is left, but of the transaction all.
    let oldest = common(&disk, "/log").pop_first().unwrap();
    disk.remove_file(&Path::new("/log").join(&oldest)).unwrap();
    let _ = disk.remove_file(&Path::new(ONES_LOG).join(&oldest));
    let commits = discarded(&disk, redo, Before::Kept).await;
    let [commit] = commits.as_slice() else { panic!("{commits:?}") };
    assert!(!commit.is_partial);
    assert_eq!(row(commit, 1).map(|[_, new]| new), Some("early".to_owned()));
    assert_eq!(row(commit, 2), told("common", "late"));
}

#[tokio::test]
async fn what_was_rolled_back_before_the_checkpoint_is_no_old_row() {
    for before in [Before::Kept, Before::Gone] {
        let (disk, one, tree) = ground().await;
        let mut transaction = begin(&one).await;
        put(&mut transaction, tree, 1, "early").await;
        let savepoint = transaction.savepoint();
        put(&mut transaction, tree, 2, "undone").await;
        put(&mut transaction, tree, 3, "undone").await;
        transaction.rollback_to(&savepoint).unwrap();
        let redo = fork(&disk, &one).await;
        put(&mut transaction, tree, 2, "late").await;
        transaction.commit(SyncLevel::Local).await.unwrap();
        write(&one, tree, 3..4, "late").await;
        drop(one);
        let commits = discarded(&disk, redo, before).await;
        let [large, small] = commits.as_slice() else { panic!("{commits:?}") };
        assert_eq!(row(large, 2), told("common", "late"), "{before:?}");
        assert_eq!(row(small, 3), told("common", "late"), "{before:?}");
    }
}

#[tokio::test]
async fn versions_of_the_transaction_itself_are_passed_over_where_they_fill_a_chain() {
    let (disk, one, tree) = ground().await;
    let mut transaction = begin(&one).await;
    for round in 0..30 {
        transaction.savepoint();
        put(&mut transaction, tree, 2, &format!("{round} {}", "early ".repeat(100))).await;
    }
    let redo = fork(&disk, &one).await;
    put(&mut transaction, tree, 2, "late").await;
    transaction.commit(SyncLevel::Local).await.unwrap();
    drop(one);
    let commits = discarded(&disk, redo, Before::Gone).await;
    let [commit] = commits.as_slice() else { panic!("{commits:?}") };
    assert!(commit.is_partial);
    assert_eq!(row(commit, 2), told("common", "late"));
}

#[tokio::test]
async fn the_last_write_of_a_row_counts_whatever_part_of_the_transaction_it_is_of() {
    let (disk, one, tree) = ground().await;
    let redo = fork(&disk, &one).await;
    let mut transaction = begin(&one).await;
    put(&mut transaction, tree, 1, "first").await;
    let savepoint = transaction.savepoint();
    put(&mut transaction, tree, 1, "second").await;
    transaction.release(&savepoint);
    put(&mut transaction, tree, 1, "third").await;
    transaction.commit(SyncLevel::Local).await.unwrap();
    drop(one);
    let commits = discarded(&disk, redo, Before::Kept).await;
    let [commit] = commits.as_slice() else { panic!("{commits:?}") };
    assert_eq!(row(commit, 1), told("common", "third"));
}

/// Without page images the pages are as at the end, unless the source has them yet, and a version that was
/// logged as like the one below it may be of any row that has been on its page.
#[tokio::test]
async fn what_a_row_became_is_in_doubt_only_where_a_later_change_may_be_of_it() {
    for source_has_it in [true, false] {
        doubt_what_a_row_became(source_has_it).await;
    }
}

async fn doubt_what_a_row_became(source_has_it: bool) {
    let (disk, one, tree) = ground().await;
    one.set_write_set_limit(64 << 20);
    let common = "common ".repeat(20);
    write(&one, tree, (0..800).step_by(2), &common).await;
    let redo = fork(&disk, &one).await;
    one.set_full_page_writes(false).unwrap();
    let mut transaction = begin(&one).await;
    put(&mut transaction, tree, 11, "near").await;
    put(&mut transaction, tree, 801, "far").await;
    put(&mut transaction, tree, 12, &format!("{common}!")).await;
    put(&mut transaction, tree, 13, "after").await;
    transaction.commit(SyncLevel::Local).await.unwrap();
    one.checkpoint(CheckpointKind::Immediate).await.unwrap();
    drop(one);
    if !source_has_it {
        let two = open(&disk, "/two");
        write(&two, tree, (0..800).step_by(2), &"there ".repeat(20)).await;
        two.shutdown().await.unwrap();
    }
    let commits = discarded(&disk, redo, Before::Kept).await;
    let [commit] = commits.as_slice() else { panic!("{commits:?}") };
    let is_in_doubt = commit.changes.iter().any(|change| change.key.is_none());
    assert_eq!(is_in_doubt, !source_has_it, "{commit:?}");
    assert_eq!(row(commit, 11), told("None", if source_has_it { "near" } else { "Unknown" }));
    assert_eq!(row(commit, 801), told("None", "far"));
    assert_eq!(row(commit, 13), told("None", "after"));
}

/// The sweep takes its xid off the list, and with that the last that the log tells of it.
#[tokio::test]
async fn what_was_swept_since_the_checkpoint_is_unknown_where_nothing_tells_of_it() {
    for (before, old) in [(Before::Kept, "common"), (Before::Gone, "Unknown")] {
        let (disk, one, tree) = ground().await;
        let mut transaction = begin(&one).await;
        put(&mut transaction, tree, 3, "undone").await;
        drop(transaction);
        let redo = fork(&disk, &one).await;
        write(&one, tree, 3..4, "late").await;
        one.sweep().await.unwrap();
        write(&one, tree, 4..5, "later").await;
        drop(one);
        let commits = discarded(&disk, redo, before).await;
        let [first, second] = commits.as_slice() else { panic!("{commits:?}") };
        assert_eq!(row(first, 3), told(old, "late"));
        assert_eq!(row(second, 4), told("common", "later"));
    }
}

#[tokio::test]
async fn a_large_value_whose_pages_are_anothers_by_now_is_told_as_long_as_the_source_has_it() {
    for source_has_it in [true, false] {
        let (disk, one, tree) = ground().await;
        one.set_write_set_limit(64 << 20);
        let large = |value: &str| value.repeat(600);
        write(&one, tree, 1..2, &large("first")).await;
        let redo = fork(&disk, &one).await;
        let two = (!source_has_it).then(|| open(&disk, "/two"));
        for branch in [Some(&one), two.as_ref()].into_iter().flatten() {
            branch.set_write_set_limit(64 << 20);
            write(branch, tree, 1..2, "small").await;
            branch.vacuum(tree, SweepCause::Asked, Box::new(Unpaced)).await.unwrap();
            write(branch, tree, 2..3, &large("other")).await;
            branch.checkpoint(CheckpointKind::Immediate).await.unwrap();
        }
        if let Some(two) = two {
            two.shutdown().await.unwrap();
        }
        drop(one);
        let commits = discarded(&disk, redo, Before::Kept).await;
        let old = if source_has_it { "firstfirstfirstfirst" } else { "Unknown" };
        assert_eq!(row(&commits[0], 1), told(old, "small"));
        assert_eq!(row(&commits[1], 2), told("common", "otherotherotherother"));
    }
}
