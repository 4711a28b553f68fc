//! xids that have versions in pages without ever having committed.
//!
//! They come from a crash in the middle of a transaction's log, and from a log that filled up there. Nobody sees
//! them: they stand in the excluded set of every snapshot, in the state page, and hold the pruning horizon back, until
//! a sweep over all trees has removed their versions.

use crate::Error;
use crate::TreeId;
use crate::engine::Engine;
use crate::state::STATE_FILE;
use wal::Xid;

/// Removes the versions of all aborted xids, then the xids from the set. Blocks; the write lock is taken a leaf at a time.
pub(crate) fn sweep(engine: &Engine) -> Result<usize, Error> {
    let pipeline = engine.pipeline()?;
    let aborted: Vec<Xid> = engine.visibility.excluded().iter().collect();
    if aborted.is_empty() {
        return Ok(0);
    }
    let (mut removed, mut left) = (0, 0);
    for relation in engine.store.relations().all() {
        let Ok(tree) = TreeId::try_from(relation.id()) else { continue };
        if tree == STATE_FILE {
            continue;
        }
        match crate::vacuum::sweep_tree(engine, tree, &aborted, &mut crate::tree::Unpaced) {
            Ok(report) => {
                removed += report.removed as usize;
                left += report.aborted;
            }
            // Dropped meanwhile.
            Err(Error::NoSuchTree(_)) => {}
            Err(error) => return Err(error),
        }
    }
    if left == 0 {
        pipeline.forget_aborted(&aborted)?;
    }
    Ok(removed)
}
