//! A process that is killed leaves its changes to the kernel, and a later power cut takes those that nobody
//! has synced.

use super::{Always, assert_is_twos, diverged, follow, host_on, open, policy_of, relations, rewind, to_two};
use crate::{Need, Rewind, Stage};
use host::{Disk, OpenMode};
use simulation::{CrashPolicy, Fault, VirtualDisk};
use std::path::{Path, PathBuf};
use storage::{Feed, REWIND_MARKER};
use wal::control::{ClusterState, ControlFile, control_file_path};
use wal::{SegmentSize, TimelineId};

const FILE_MAX: u64 = 1 << 30;

/// Has a file its bytes, as programs see them, while a power cut would leave these in their place.
fn leave_to_the_kernel(disk: &VirtualDisk, path: &Path, durable: &[u8]) -> Vec<u8> {
    let bytes = disk.read(path, FILE_MAX).unwrap();
    host::write_file_durably(disk, path, durable).unwrap();
    disk.open(path, OpenMode::ReadWrite).unwrap().write_all_at(&bytes, 0).unwrap();
    bytes
}

/// The segment in which the log of /one ends, and how much of it is written.
async fn last_segment(disk: &VirtualDisk) -> (PathBuf, usize) {
    let size = SegmentSize::new(1 << 20).unwrap();
    let dry = Rewind::prepare(&host_on(disk), to_two()).await.unwrap();
    let Need::Diverged(divergence) = dry.need() else { panic!("they have diverged") };
    let name = size.segment_of(divergence.end).file_name(TimelineId::FIRST, size);
    let written = usize::try_from(size.offset_of(divergence.end)).unwrap();
    (Path::new("/one/pg_wal").join(name), written)
}

#[tokio::test]
async fn what_a_rewind_was_decided_by_stays_once_it_has_begun() {
    let disk = diverged().await;
    let (segment, written) = last_segment(&disk).await;
    let mut shorter = disk.read(&segment, FILE_MAX).unwrap();
    shorter[written / 2..].fill(0);
    let log = leave_to_the_kernel(&disk, &segment, &shorter);
    let control = control_file_path(Path::new("/one"));
    let older = disk.read(&control_file_path(Path::new("/two")), FILE_MAX).unwrap();
    let newer = leave_to_the_kernel(&disk, &control, &older);

    let mut begun = 0;
    for call in 1.. {
        let failing = disk.fork();
        failing.inject(Fault::power_off(call));
        if rewind(&failing).await.is_ok() {
            break;
        }
        let after = failing.crash(CrashPolicy::LoseUnsynced);
        let marker = after.read(&Path::new("/one").join(REWIND_MARKER), FILE_MAX).unwrap_or_default();
        if String::from_utf8_lossy(&marker).contains("phase=copying") {
            begun += 1;
            assert_eq!(after.read(&control, FILE_MAX).unwrap(), newer, "call {call}");
            assert!(after.read(&segment, FILE_MAX).unwrap() == log, "call {call}");
        }
    }
    assert!(begun > 3, "{begun}");
}

/// A folder with a file in it that only one of both has.
fn make_folder(disk: &VirtualDisk, path: &str) {
    let folder = Path::new(path);
    disk.create_dir_all(folder).unwrap();
    host::write_file_durably(disk, &folder.join("PG_VERSION"), b"15\n").unwrap();
    disk.sync_dir(folder.parent().unwrap()).unwrap();
}

/// Killed at any call, run again, and without power once all is said to be copied.
#[tokio::test]
async fn what_a_killed_rewind_has_made_and_removed_is_durable_with_the_next_ones() {
    let disk = diverged().await;
    make_folder(&disk, "/two/base/7");
    make_folder(&disk, "/one/base/8");
    let disk = disk.fork();
    for call in (1..).step_by(4) {
        let killed = disk.fork();
        killed.inject(Fault::power_off(call));
        if rewind(&killed).await.is_ok() {
            assert!(call > 50, "only {call} calls");
            break;
        }
        killed.clear_faults();
        let killed = killed.fork();
        let again = Rewind::prepare(&host_on(&killed), to_two()).await.unwrap();
        if matches!(again.need(), Need::Nothing) {
            // The marker was gone.
            continue;
        }
        let mut without_power = None;
        let done = again
            .run(&mut |progress| {
                if progress.stage == Stage::Log && without_power.is_none() {
                    without_power = Some(killed.crash(CrashPolicy::LoseUnsynced));
                }
            })
            .await;
        let (what, after) = (format!("call {call}: {done:?}"), without_power.unwrap());
        rewind(&after).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(after.exists(Path::new("/one/base/7/PG_VERSION")).unwrap(), "{what}: base/7 is gone");
        assert!(!after.exists(Path::new("/one/base/8")).unwrap(), "{what}: base/8 is there again");
        assert_is_twos(&after, &what).await;
    }
}

/// Whether the marker says that all is copied.
fn is_copied(disk: &VirtualDisk) -> bool {
    let marker = disk.read(&Path::new("/one").join(REWIND_MARKER), FILE_MAX).unwrap_or_default();
    String::from_utf8_lossy(&marker).contains("phase=copied")
}

#[tokio::test]
async fn the_log_stays_until_it_is_durable_that_all_is_copied() {
    let disk = diverged().await;
    let mut found = 0;
    for call in 1.. {
        let killed = disk.fork();
        killed.inject(Fault::power_off(call));
        if rewind(&killed).await.is_ok() {
            break;
        }
        let killed = killed.fork();
        if !is_copied(&killed) || is_copied(&killed.crash(CrashPolicy::LoseUnsynced)) {
            continue;
        }
        found += 1;
        let mut without_power = None;
        let again = Rewind::prepare(&host_on(&killed), to_two()).await.unwrap();
        let done = again
            .run(&mut |progress| {
                if progress.stage == Stage::Finishing {
                    without_power = Some(killed.crash(CrashPolicy::LoseUnsynced));
                }
            })
            .await;
        done.unwrap();
        let (what, after) = (format!("call {call}"), without_power.unwrap());
        rewind(&after).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_is_twos(&after, &what).await;
    }
    assert!(found > 0);
}

/// /one is killed after any call of its rewind. Where its control file says that its server was stopped, no
/// page of it is another's yet: PostgreSQL's pg_rewind would take it, and take the marker away.
async fn check_not_stopped_once_changed(stopped: &VirtualDisk, state: ClusterState) {
    let disk = stopped.crash(CrashPolicy::LoseUnsynced);
    let state_of = |disk: &VirtualDisk| ControlFile::load(disk, Path::new("/one")).unwrap().state;
    assert_eq!(state_of(&disk), state);
    let before = relations(&disk, "/one");
    let (mut untouched, mut changed) = (0, 0);
    for call in 1.. {
        let killed = disk.fork();
        killed.inject(Fault::power_off(call));
        if rewind(&killed).await.is_ok() {
            break;
        }
        let policy = policy_of(call);
        let (after, what) = (killed.crash(policy), format!("{state:?}, call {call}, {policy:?}"));
        if state_of(&after) == state {
            untouched += 1;
            assert!(relations(&after, "/one") == before, "{what}: it is changed");
        } else {
            changed += 1;
        }
        rewind(&after).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_is_twos(&after, &what).await;
    }
    assert!(untouched > 3 && changed > 30, "{untouched} {changed}");
}

#[tokio::test]
async fn a_directory_that_was_stopped_says_so_no_more_before_its_first_page_is_changed() {
    let disk = diverged().await;
    let primary = disk.fork();
    let one = open(&primary, "/one");
    one.shutdown().await.unwrap();
    drop(one);
    check_not_stopped_once_changed(&primary, ClusterState::ShutDown).await;

    let (one, mut redo) = follow(&disk, "/one");
    redo.run(&Always(Feed::Stop)).unwrap();
    one.shutdown().await.unwrap();
    drop(one);
    check_not_stopped_once_changed(&disk, ClusterState::ShutDownInRecovery).await;
}
