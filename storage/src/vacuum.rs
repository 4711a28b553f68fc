//! Sweeps over whole trees: VACUUM, and what runs by itself.
//!
//! A sweep takes the write lock for one leaf at a time and only where it has something to do, so commits go on between two leaves; it
//! rests as its [`Pace`] says. Standbys redo one leaf's records at a time as well.

use crate::engine::Engine;
use crate::tree::{Pace, SweepReport};
use crate::{Error, TreeId};
use std::sync::atomic::Ordering;
use wal::Xid;

/// Stops when the engine does.
struct WhileOpen<'a> {
    engine: &'a Engine,
    inner: &'a mut dyn Pace,
}

impl Pace for WhileOpen<'_> {
    fn after_leaf(&mut self, changed: bool, read_pages: u64) -> bool {
        !self.engine.closed.load(Ordering::Acquire) && self.inner.after_leaf(changed, read_pages)
    }
}

/// Removes what is dead from a tree, and the versions of `aborted`, and gives the free end of its file back. Blocks.
pub(crate) fn sweep_tree(
    engine: &Engine,
    id: TreeId,
    aborted: &[Xid],
    pace: &mut dyn Pace,
) -> Result<SweepReport, Error> {
    let store = &engine.store;
    let tree = store.tree(id)?;
    let mut pace = WhileOpen { engine, inner: pace };
    let mut report = tree.sweep(&|| engine.visibility.horizon(), aborted, &mut pace)?;
    report.cut = store.run_blocking(|| store.writer().cut_end(&tree, false))?;
    if report.cut > 0 {
        store.finish_cut(tree.relation())?;
    }
    report.pages = tree.page_count();
    Ok(report)
}
