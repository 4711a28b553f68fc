//! Versions of aborted xids leave the trees.

use crate::engine::Engine;
use crate::state::STATE_FILE;
use crate::tree::Unpaced;
use crate::{Error, TreeId, vacuum};
use std::sync::atomic::Ordering;
use wal::Xid;

/// Removes the versions of all aborted xids, then the xids from the list. Blocks; the write lock is taken a leaf at a time.
pub(crate) fn sweep(engine: &Engine) -> Result<usize, Error> {
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
        let aborted: Vec<Xid> = here.map(|entry| entry.xid).collect();
        if aborted.is_empty() {
            continue;
        }
        match vacuum::sweep_tree(engine, tree, &aborted, &mut Unpaced) {
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
        let all: Vec<Xid> = entries.iter().map(|entry| entry.xid).collect();
        pipeline.forget_aborted(&all)?;
    }
    Ok(removed)
}
