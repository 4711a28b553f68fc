//! Sweeps over whole trees: VACUUM, and what runs by itself.
//!
//! A sweep takes the write lock for one leaf at a time and only where it has something to do, so commits go
//! on between two leaves; it rests as its [`Pace`] says. Standbys redo one leaf's records at a time as well.

use super::Engine;
use crate::changes::state_page::STATE_FILE;
use crate::tree::{Owner, Pace, SweepReport};
use crate::{Error, Interrupt, TreeId};
use std::any::Any;
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
            host::thread::sleep(delay.mul_f64(share));
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

/// Removes what is dead from a tree, and the versions of `aborted`, and gives the free end of its file back;
/// with `finds_lost` also pages that nothing leads to. Blocks.
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
    if let Ok(pipeline) = engine.pipeline() {
        pipeline.note_confirmed_after_sweep();
    }
    Ok(report)
}

/// As fast as it goes, until it is interrupted.
struct UntilInterrupted<'a>(&'a Interrupt);

impl Pace for UntilInterrupted<'_> {
    fn after_piece(&mut self, _changed: bool, _read_pages: u64) -> bool {
        !self.0.is_cancelled()
    }
}

/// Removes the versions of all aborted xids, then the xids from the list. Blocks; the write lock is taken a
/// leaf at a time. [`Error::Cancelled`] if `interrupt` ended it.
pub(crate) fn sweep_aborted(engine: &Engine, interrupt: &Interrupt) -> Result<usize, Error> {
    let pipeline = engine.pipeline()?;
    let entries = pipeline.aborted();
    if entries.is_empty() {
        return Ok(0);
    }
    let (mut removed, mut left, mut closed) = (0, 0, Vec::new());
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
        match sweep_tree(engine, tree, &aborted, false, &mut UntilInterrupted(interrupt)) {
            Ok(report) => {
                removed += report.removed as usize;
                left += report.aborted;
            }
            // Dropped. While old snapshots read it, what was aborted in it is not forgotten.
            Err(Error::NoSuchTree(_)) if engine.store.tree(tree).is_ok() => closed.push(tree),
            Err(Error::NoSuchTree(_)) => {}
            Err(error) => return Err(error),
        }
    }
    // A sweep that the engine's end has cut short has not seen all.
    if left == 0 && !engine.closed.load(Ordering::Acquire) {
        let gone = entries.iter().filter(|entry| !closed.iter().any(|tree| entry.touched.has(*tree)));
        let gone: Vec<Xid> = gone.flat_map(|entry| entry.xids.iter().copied()).collect();
        if !gone.is_empty() {
            pipeline.forget_aborted(&gone)?;
        }
    }
    Ok(removed)
}
