//! Versions of aborted xids leave the trees.

use crate::engine::Engine;
use crate::state::STATE_FILE;
use crate::tree::Pace;
use crate::{Error, Interrupt, TreeId, vacuum};
use std::sync::atomic::Ordering;
use wal::Xid;

/// As fast as it goes, until it is interrupted.
struct UntilInterrupted<'a>(&'a Interrupt);

impl Pace for UntilInterrupted<'_> {
    fn after_piece(&mut self, _changed: bool, _read_pages: u64) -> bool {
        !self.0.is_cancelled()
    }
}

/// Removes the versions of all aborted xids, then the xids from the list. Blocks; the write lock is taken a leaf at a time.
/// [`Error::Cancelled`] if `interrupt` ended it.
pub(crate) fn sweep(engine: &Engine, interrupt: &Interrupt) -> Result<usize, Error> {
    let pipeline = engine.pipeline()?;
    let entries = pipeline.aborted();
    if entries.is_empty() {
        return Ok(0);
    }
    let (mut removed, mut left) = (0, 0);
    for relation in engine.store.relations().all() {
        let Ok(tree) = TreeId::try_from(relation.id()) else { continue };
        if tree == STATE_FILE {
            continue;
        }
        let here = entries.iter().filter(|entry| entry.touched.has(tree));
        let mut aborted: Vec<Xid> = here.flat_map(|entry| entry.xids.iter().copied()).collect();
        aborted.sort_unstable();
        if aborted.is_empty() {
            continue;
        }
        match vacuum::sweep_tree(engine, tree, &aborted, false, &mut UntilInterrupted(interrupt)) {
            Ok(report) => {
                removed += report.removed as usize;
                left += report.aborted;
            }
            // Dropped meanwhile.
            Err(Error::NoSuchTree(_)) => {}
            Err(error) => return Err(error),
        }
    }
    // A sweep that the engine's end has cut short has not seen all.
    if left == 0 && !engine.closed.load(Ordering::Acquire) {
        let all: Vec<Xid> = entries.iter().flat_map(|entry| entry.xids.iter().copied()).collect();
        pipeline.forget_aborted(&all)?;
    }
    Ok(removed)
}
