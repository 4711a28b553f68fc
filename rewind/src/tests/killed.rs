//! A process that is killed leaves its changes to the kernel, and a later power cut takes those that nobody
//! has synced.

use super::{diverged, host_on, rewind, to_two};
use crate::{Need, Rewind};
use host::{Disk, OpenMode};
use simulation::{CrashPolicy, Fault, VirtualDisk};
use std::path::{Path, PathBuf};
use storage::REWIND_MARKER;
use wal::control::control_file_path;
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
