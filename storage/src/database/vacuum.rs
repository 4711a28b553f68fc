//! Sweeps of single trees, and what is known of trees.

use super::Database;
use crate::changes::state_page::STATE_FILE;
use crate::engine::sweep::sweep_tree;
use crate::pages::counts::{SweepCause, TreeStatistics};
use crate::tree::{Pace, SweepReport};
use crate::{Error, TreeId};
use std::sync::Arc;

impl Database {
    /// Removes the versions of a tree that nobody can need any more, frees the pages that this empties, and
    /// gives the free end of its file back. Commits go on meanwhile. [`Error::Cancelled`] when `pace` says
    /// stop; what was done stays done.
    ///
    /// # Errors
    /// Fails in recovery, if there is no such tree, if a page cannot be read or changed, or when `pace` says
    /// stop.
    pub async fn vacuum(
        &self,
        tree: TreeId,
        cause: SweepCause,
        mut pace: Box<dyn Pace + Send>,
    ) -> Result<SweepReport, Error> {
        if self.is_in_recovery() {
            return Err(Error::ReadOnly);
        }
        let engine = Arc::clone(&self.0);
        let swept = crate::blocking::run(move || {
            let report = sweep_tree(&engine, tree, &[], true, &mut *pace)?;
            let tree = engine.store.tree(tree)?;
            let now = engine.host.clock.now();
            tree.relation().counts.swept(report.live, report.dead, cause, now);
            Ok(report)
        });
        swept.await.map_err(|_| Error::Shutdown)?
    }

    /// What is known of a tree's rows; None if there is no such tree.
    pub fn tree_statistics(&self, tree: TreeId) -> Option<TreeStatistics> {
        let tree = self.0.store.tree(tree).ok()?;
        Some(tree.relation().counts.read())
    }

    /// All trees that may be changed, in order of their numbers: without those that are dropped, and that old
    /// snapshots still read.
    pub fn trees(&self) -> Vec<TreeId> {
        let relations = self.0.store.relations().all();
        let changeable = relations.iter().filter(|relation| !relation.is_closed());
        let ids = changeable.filter_map(|relation| TreeId::try_from(relation.id()).ok());
        let mut trees: Vec<TreeId> = ids.filter(|tree| *tree != STATE_FILE).collect();
        trees.sort_unstable();
        trees
    }
}
