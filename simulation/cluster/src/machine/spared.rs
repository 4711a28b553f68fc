//! Log that nobody needs any more goes: what lay before the redo point of a checkpoint, and before what slots
//! ask for, and does not wait for the archive, is gone when the next one ends.

use crate::cluster::SEGMENT_BYTES;
use crate::machine::slot_files;
use host::Disk;
use parking_lot::Mutex;
use simulated::{NodeId, fiber};
use simulation::VirtualDisk;
use std::collections::BTreeSet;
use std::path::Path;
use tokio::time::Instant;
use wal::control::ControlFile;
use wal::{Lsn, SegmentNumber, SegmentSize};

/// No file of settings is larger.
const FILE_MAX: u64 = 1 << 20;
/// What is kept beyond that stands in this setting; nobody of the simulation sets it.
const KEEP: &str = "wal_keep_size";

/// Log that is still there.
#[derive(Clone, Debug)]
pub struct Left {
    /// On whose disk.
    pub node: NodeId,
    /// Since when nobody needs it.
    pub since: Instant,
    /// What is wrong.
    pub text: String,
}

/// What was left, in this process, since this was last asked.
static LEFT: Mutex<Vec<Left>> = Mutex::new(Vec::new());

/// What servers have left of their log since this was last asked.
pub fn take_left() -> Vec<Left> {
    std::mem::take(&mut *LEFT.lock())
}

/// What the last checkpoint of a server's life has to remove.
#[derive(Debug, Default)]
pub(super) struct Spared(Mutex<Option<Last>>);

#[derive(Debug)]
struct Last {
    redo: Lsn,
    at: Instant,
    names: BTreeSet<String>,
}

impl Spared {
    /// A life that began with a rewind goes on from another server's checkpoint.
    pub(super) fn is_rewound(&self) {
        *self.0.lock() = None;
    }

    /// A server's control file says something else: that is before its checkpoint removes anything.
    pub(super) fn control_changed(&self, files: &VirtualDisk, data: &Path) {
        let (Ok(control), Some(node)) = (ControlFile::load(files, data), fiber::current_node()) else {
            return;
        };
        let redo = control.checkpoint_copy.redo;
        let mut last = self.0.lock();
        if last.as_ref().is_some_and(|last| last.redo == redo) {
            return;
        }
        let names = unneeded(files, data, redo);
        // What the first redo point of a life was for is done, or was broken off.
        let before = last.replace(Last { redo, at: Instant::now(), names: BTreeSet::new() });
        let Some((before, last)) = before.zip(last.as_mut()) else { return };
        let left: Vec<&String> = before.names.intersection(&names).collect();
        if !left.is_empty() {
            let text = format!("has {left:?}, which nobody needs since the checkpoint of {}", before.redo);
            LEFT.lock().push(Left { node, since: before.at, text });
        }
        last.names = names;
    }

    /// A file of a slot was replaced: what that asks for by now, and may not have asked for when the
    /// checkpoint's control file came, is needed.
    pub(super) fn slot_changed(&self, files: &VirtualDisk, path: &Path) {
        let all = path.ancestors().find(|above| above.ends_with("pg_replslot"));
        let Some(data) = all.and_then(Path::parent) else { return };
        if let Some(last) = self.0.lock().as_mut() {
            let names = unneeded(files, data, last.redo);
            last.names.retain(|name| names.contains(name));
        }
    }
}

/// The segments that nobody needs once recovery begins there.
fn unneeded(files: &VirtualDisk, data: &Path, redo: Lsn) -> BTreeSet<String> {
    let Some(size) = SegmentSize::new(SEGMENT_BYTES) else { return BTreeSet::new() };
    let folder = data.join("pg_wal");
    let settings = files.read(&data.join("postgresql.auto.conf"), FILE_MAX).unwrap_or_default();
    let settings = String::from_utf8_lossy(&settings).into_owned();
    if settings.contains(KEEP) {
        return BTreeSet::new();
    }
    let archives = settings.contains("archive_mode");
    let kept = slot_files::oldest_kept(files, data);
    let horizon = size.segment_of(kept.unwrap_or(redo).min(redo));
    let names = files.list(&folder).unwrap_or_default().into_iter().map(|entry| entry.name);
    let is_old = |name: &String| {
        SegmentNumber::parse_file_name(name, size).is_some_and(|(_, segment)| segment < horizon)
    };
    let is_archived = |name: &String| {
        let done = folder.join("archive_status").join(format!("{name}.done"));
        !archives || files.exists(&done).unwrap_or(false)
    };
    names.filter(|name| is_old(name) && is_archived(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{DATA, Image};
    use crate::machine::{DiskSpeed, NodeDisk, simulate};
    use host::OpenMode;
    use simulated::Schedule;
    use std::time::Duration;

    #[test]
    fn what_lies_before_the_redo_point_and_is_archived_is_not_needed() {
        let (files, data) = (VirtualDisk::new(), Path::new(DATA));
        files.create_dir_all(&data.join("pg_wal/archive_status")).unwrap();
        let make = |name: &str| drop(files.open(&data.join(name), OpenMode::Create).unwrap());
        let segment = |number: u64| format!("00000001{:08X}{:08X}", number >> 12, number & 0xFFF);
        (1..6).for_each(|number| make(&format!("pg_wal/{}", segment(number))));
        let unneeded = |redo: u64| unneeded(&files, data, Lsn::new(redo * SEGMENT_BYTES + 40));
        assert_eq!(unneeded(3), [segment(1), segment(2)].into());
        host::write_file_durably(&files, &data.join("postgresql.auto.conf"), b"archive_mode = 'on'\n")
            .unwrap();
        assert_eq!(unneeded(3), BTreeSet::new());
        make(&format!("pg_wal/archive_status/{}.done", segment(2)));
        assert_eq!(unneeded(3), [segment(2)].into());
        host::write_file_durably(&files, &data.join("postgresql.auto.conf"), b"wal_keep_size = '9MB'\n")
            .unwrap();
        assert_eq!(unneeded(3), BTreeSet::new());
    }

    #[test]
    fn a_checkpoint_whose_control_file_a_full_disk_had_overwritten_has_ended_then() {
        let look = |world: simulated::World, _| async move {
            let image = Image::make(world, NodeId(1), 7).await.unwrap();
            let life = world.start(NodeId(1));
            fiber::run_in(life, "server", async move { three_checkpoints(&image.primary()).await })
                .await
                .unwrap()
        };
        let ((full_at, left), _) = simulate(1, Schedule::default(), look).unwrap();
        let [Left { since, text, .. }] = &left[..] else { panic!("{left:?}") };
        assert!(text.contains("000000010000000000000003") && text.contains("0/400028"), "{text}");
        assert_eq!(*since, full_at);
    }

    /// Ends checkpoints, none of which removes anything, the second of them on a full disk: when that was,
    /// and what is wrong.
    async fn three_checkpoints(files: &VirtualDisk) -> (Instant, Vec<Left>) {
        let data = Path::new(DATA);
        drop(files.open(&data.join("postmaster.pid"), OpenMode::Create).unwrap());
        drop(files.open(&data.join("pg_wal/000000010000000000000003"), OpenMode::Create).unwrap());
        let disk = NodeDisk::new(files.clone(), DiskSpeed { sync_us: 0..=0, write_us: 0..=0 }, 1);
        let end = |segment: u64| {
            let mut control = ControlFile::load(&disk, data).unwrap();
            control.checkpoint_copy.redo = Lsn::new(segment * SEGMENT_BYTES + 40);
            control.store(&disk, data).unwrap();
        };
        end(2);
        tokio::time::sleep(Duration::from_secs(1)).await;
        files.set_capacity(0);
        end(4);
        let full_at = Instant::now();
        files.set_capacity(u64::MAX);
        tokio::time::sleep(Duration::from_secs(1)).await;
        end(5);
        (full_at, take_left())
    }
}
