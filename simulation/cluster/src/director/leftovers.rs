//! What a promotion ends: large transactions of the branch before that have no outcome. No line tells of
//! them, so the new timeline's beginning is read.

use super::{Shared, disks, facts, machine_of};
use crate::rare::Rare;
use simulation::VirtualDisk;
use wal::reader::Next;
use wal::{Rmgr, TimelineId, xact};

/// Their ends are among so many records.
const BEGINNING: usize = 64;

/// A node takes writes: counts if it ended some.
pub(super) fn count(shared: &Shared, node: usize) {
    let cluster = shared.cluster.lock();
    if cluster.node(machine_of(node)).is_some_and(|node| ends_some(node.files()).is_some()) {
        shared.hit(Rare::LargeAtPromotion);
    }
}

fn ends_some(files: &VirtualDisk) -> Option<()> {
    let timeline = facts::accepted(files);
    let history = disks::history(files, timeline).filter(|_| timeline != TimelineId::FIRST)?;
    let (_, fork, _) = history.newest_first().next()?;
    let mut reader = disks::reader(files, &history, fork)?;
    for _ in 0..BEGINNING {
        let Ok(Next::Record(record)) = reader.next() else { return None };
        match record.rmgr_info() & xact::OPERATION_MASK {
            _ if record.rmgr() != Rmgr::XACT => {}
            xact::ABORT => return Some(()),
            // Clients are at work.
            _ => return None,
        }
    }
    None
}
