//! Sweeps over whole trees: VACUUM, and what runs by itself.
//!
//! A sweep takes the write lock for one leaf at a time and only where it has something to do, so commits go on between two leaves; it
//! rests as its [`Pace`] says. Standbys redo one leaf's records at a time as well.

use crate::engine::Engine;
use crate::state::STATE_FILE;
use crate::stats::{SweepCause, TreeStatistics};
use crate::tree::{Owner, Pace, SweepReport};
use crate::{Database, Error, TreeId};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wal::Xid;

/// What a sweep's work costs, and when it rests (PostgreSQL's cost-based vacuum delay).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepCosts {
    /// A rest is due when the cost has reached this.
    pub limit: u64,
    /// How long it is; zero is none.
    pub delay: Duration,
    /// Cost of a page that was in the pool.
    pub hit: u64,
    /// Cost of a page that came from disk.
    pub miss: u64,
    /// Cost of a page that was changed.
    pub dirty: u64,
}

/// Rests as costs say, until it is told to stop.
pub struct CostPace<F> {
    costs: SweepCosts,
    balance: u64,
    stops: F,
}

impl<F: FnMut() -> bool> CostPace<F> {
    /// A sweep at these costs, which ends when `stops` says so.
    pub fn new(costs: SweepCosts, stops: F) -> Self {
        Self { costs, balance: 0, stops }
    }
}

impl<F: FnMut() -> bool> Pace for CostPace<F> {
    fn after_piece(&mut self, changed: bool, read_pages: u64) -> bool {
        let SweepCosts { limit, delay, hit, miss, dirty } = self.costs;
        self.balance += hit + miss * read_pages + if changed { dirty } else { 0 };
        if self.balance >= limit && !delay.is_zero() {
            // Longer for work that came in one piece, within bounds.
            let share = (self.balance as f64 / limit.max(1) as f64).min(4.0);
            std::thread::sleep(delay.mul_f64(share));
            self.balance = 0;
        }
        !(self.stops)()
    }
}

impl<F> std::fmt::Debug for CostPace<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CostPace").field("costs", &self.costs).finish_non_exhaustive()
    }
}

/// Stops when the engine does.
struct WhileOpen<'a> {
    engine: &'a Engine,
    inner: &'a mut dyn Pace,
}

impl Pace for WhileOpen<'_> {
    fn after_piece(&mut self, changed: bool, read_pages: u64) -> bool {
        !self.engine.closed.load(Ordering::Acquire) && self.inner.after_piece(changed, read_pages)
    }
}

impl Owner for Engine {
    fn horizon(&self) -> Xid {
        self.visibility.horizon()
    }
    fn hold_horizon(&self) -> (Xid, Box<dyn Any>) {
        let held = self.visibility.hold_horizon();
        (held.horizon(), Box::new(held))
    }
    fn check_open(&self) -> Result<(), Error> {
        // After the redo point of a shutdown nothing is written.
        if self.closed.load(Ordering::Acquire) { Err(Error::Shutdown) } else { Ok(()) }
    }
}

/// Removes what is dead from a tree, and the versions of `aborted`, and gives the free end of its file back; with `finds_lost` also pages
/// that nothing leads to. Blocks.
pub(crate) fn sweep_tree(
    engine: &Engine,
    id: TreeId,
    aborted: &[Xid],
    finds_lost: bool,
    pace: &mut dyn Pace,
) -> Result<SweepReport, Error> {
    let store = &engine.store;
    let tree = store.tree(id)?;
    let mut pace = WhileOpen { engine, inner: pace };
    let mut report = tree.sweep(engine, aborted, finds_lost, &mut pace)?;
    report.cut = store.run_blocking(|| {
        let mut writer = store.writer();
        engine.check_open()?;
        writer.cut_end(&tree, false)
    })?;
    if report.cut > 0 {
        store.finish_cut(tree.relation())?;
    }
    report.pages = tree.page_count();
    Ok(report)
}

impl Database {
    /// Removes the versions of a tree that nobody can need any more, frees the pages that this empties, and gives the free end of its
    /// file back. Commits go on meanwhile. [`Error::Cancelled`] when `pace` says stop; what was done stays done.
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

    /// All trees, in order of their numbers.
    pub fn trees(&self) -> Vec<TreeId> {
        let relations = self.0.store.relations().all();
        let ids = relations.iter().filter_map(|relation| TreeId::try_from(relation.id()).ok());
        let mut trees: Vec<TreeId> = ids.filter(|tree| *tree != STATE_FILE).collect();
        trees.sort_unstable();
        trees
    }
}
